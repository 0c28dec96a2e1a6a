"""The JAX engine against plain Python, in every number and after every step of random play, in every scenario."""

import dataclasses

import jax
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs.football._scenarios import SCENARIOS

from tests.envs.football_reference import ENDS, Game
from tests.envs.football_tools import play, row, with_numbers

TOGETHER = 20
"""Steps that both play without being set to the same state."""
CLOSE = 1e-5
"""Comparisons nearer to their threshold than this may turn out differently."""


def differences(game, state):
    """Names of fields in which the reference differs."""
    found = []
    for name, expected in game.dump().items():
        value = getattr(state, name)
        if value.dtype == np.float32:
            same = np.allclose(value, expected, rtol=0, atol=1e-4)
        else:
            same = np.array_equal(value, np.array(expected, value.dtype))
        if not same:
            found.append(f"{name}: {value} instead of {np.array(expected)}")
    return found


def check(env, params, num_steps, num_envs, seed=0):
    """Compares states, masks, observations and rewards; returns how episodes ended, what happened in them, and who owned
    the ball.
    """
    states, shown, actions, lucks = play(env, params, num_steps, num_envs, seed)
    numbers = jax.tree.map(np.asarray, params)
    steps = excused = 0
    for e in range(num_envs):
        game = Game(env.plan, numbers)
        game.load(row(states[0], e))
        for t, action in enumerate(actions):
            if t >= TOGETHER:
                game.load(row(states[t], e))
            game.close = 1.0
            luck = 0.5 + float(numbers.noise) * (lucks[t][e] - 0.5)
            reward = game.step(action[e], luck)
            state, timestep = row(states[t + 1], e), row(shown[t + 1], e)
            steps += 1
            wrong = differences(game, state)
            if wrong:
                if game.close < CLOSE:
                    excused += 1
                    game.load(state)
                    continue
                raise AssertionError(f"instance {e}, step {t + 1}, closest {game.close:.2g}:\n" + "\n".join(wrong))
            np.testing.assert_allclose(timestep.reward, reward, atol=1e-5, err_msg=f"reward of step {t + 1}")
            assert bool(timestep.terminated) == (game.over not in ("", "time"))
            assert bool(timestep.truncated) == (game.over == "time")
            for q in game.agents:
                legal = [env.plan.mask == "none" or a in game.legal(q) for a in range(19)]
                np.testing.assert_array_equal(timestep.action_mask[q.agent], legal)
                if env.plan.obs != "simple115":
                    expected = game.observation(q, env.plan.obs == "rich")
                    np.testing.assert_allclose(timestep.obs[q.agent], expected, atol=1e-4)
            if game.over:
                break
    assert excused <= 0.01 * steps
    last = states[-1]
    names = {code: name for name, code in ENDS.items()}
    owners = {int(number) for state in states for number in state.owner[:, 0]}
    return {names[int(code)] for code in last.over[:, 0]}, last.counts.sum(0), owners


QUICK = ("3_vs_1_with_keeper",)
SCENARIO_IDS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS]


@pytest.mark.parametrize("name", SCENARIO_IDS)
def test_every_scenario(name):
    env = jaxmarl_envs.make(f"football/{name}", limit=40)
    params = with_numbers(env.default_params, start_jitter=0.5)
    if name == "corner":  # otherwise random play does not find the ball
        params = dataclasses.replace(params, ball=params.start[env.plan.first_agent] - np.float32(0.4))
    _, _, owners = check(env, params, 40, 8)
    assert len(owners) > 1


def test_matches():
    """Restarts, scripted owners, offside."""
    env = jaxmarl_envs.make("football/3_vs_3", limit=150, difficulty=1.0)
    params = with_numbers(env.default_params, start_jitter=2.0, offside=1.0)
    ends, counts, owners = check(env, params, 150, 6)
    assert ends == {"time"} and counts[2] > 0 and counts[3] > 0 and len(owners) > 6


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_many_episodes(name):
    env = jaxmarl_envs.make(f"football/{name}", limit=100)
    params = with_numbers(env.default_params, start_jitter=0.5)
    check(env, params, 100, 200, seed=1)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"rules": "grf", "reward": "scoring", "obs": "cds", "difficulty": 1.0, "noise": 0.3}, {"shot_sigma": 0.2}),
        ({"reward": "cds", "mask": "none"}, {"keeper_hold": 0.3, "tackle_rate": 8.0, "reach_foe": 2.0, "head": 2.4}),
    ],
)
def test_options_and_numbers(options, numbers):
    env = jaxmarl_envs.make("football/3_vs_1_with_keeper", limit=40, **options)
    params = with_numbers(env.default_params, **numbers)
    check(env, params, 40, 8, seed=2)
