"""The rules of `football/` by themselves: the ball, kicks, runs, mirrored games, what is conserved, layouts, bad input."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import Frame, record_episode, render_frames
from jaxmarl_envs.football import _physics
from jaxmarl_envs.football._kicks import angle_between, kick, shot_target
from jaxmarl_envs.football._physics import Ball, _flown, _lines, substep
from jaxmarl_envs.football._plan import CONCEDED, DIRECTIONS, GOAL, LOST, OUT, RUNNING, SHORT, TIME
from jaxmarl_envs.football._state import Wishes
from jaxmarl_envs.football._viewer import _verdict

from tests.envs.football_tools import compiled, play, row, with_numbers

NUM_ENVS = 64
"""One size for all tests of a scenario: one program."""
MIRRORED = np.array([0, 1, 8, 7, 6, 5, 4, 3, 2, *range(9, 19)])
RIGHT, SPRINT, DRIBBLE, SHOT = 5, 13, 17, 12


@pytest.fixture(scope="module")
def attack():
    """`football/3_vs_1_with_keeper` and its params."""
    env = jaxmarl_envs.make("football/3_vs_1_with_keeper")
    return env, env.default_params


def first(attack):
    """A first state and time step, from the program of all tests."""
    env, params = attack
    batch = compiled(env)[0](jax.random.split(jax.random.key(0), NUM_ENVS), params)
    return jax.tree.map(lambda x: np.asarray(x[0]), batch)


def rows(tree):
    """A state or params of one instance, as the rules want it."""
    return jax.tree.map(lambda x: jnp.asarray(x)[None, None] if jnp.ndim(x) == 0 else jnp.asarray(x)[..., None], tree)


def ball_of(x, y, z, vx=0.0, vy=0.0, vz=0.0):
    return Ball(*(jnp.full((1, 1), v, jnp.float32) for v in (x, y, z, vx, vy, vz)))


def test_a_rolling_ball_stops_where_the_formula_says(attack):
    plan, ball = attack[0].plan, ball_of(-40, 30, 0.11, 20.0)
    for _ in range(200):
        ball = _flown(plan, ball)
    assert float(ball.vx[0, 0]) == 0.0
    expected = math.log(1 + 0.055 * 20**2 / 1.6) / 0.11  # 24.5 m
    assert float(ball.x[0, 0]) + 40 == pytest.approx(expected, rel=0.02)


def test_a_bounce(attack):
    """Falling at 5 m/s, 5.49 after a substep's gravity, less the drag of the air."""
    ball = _flown(attack[0].plan, ball_of(0, 30, 0.2, vz=-5.0))
    fall = 5 * (1 - 0.015 * 5 * 0.05) + 9.81 * 0.05
    assert float(ball.vz[0, 0]) == pytest.approx(0.62 * fall - 0.06, abs=1e-5) and float(ball.z[0, 0]) == pytest.approx(
        0.11
    )
    assert float(_flown(attack[0].plan, ball_of(0, 30, 0.11)).vz[0, 0]) == 0.0  # too slow to leave the ground


def test_a_short_pass_over_16_meters(attack):
    env, params = attack
    state, _ = first(attack)
    x = np.array([-55, 20, 36.42, 20, 55, 55], np.float32)
    state = state.replace(
        x=x, y=np.array([0, 0, 0, 30, 5, -5], np.float32), ball=np.array([20.42, 0, 0.11, 0, 0, 0], np.float32)
    )
    owner = jnp.arange(6)[:, None] == 1
    aim = jnp.ones((1, 1), jnp.float32), jnp.zeros((1, 1), jnp.float32)
    made = kick(env.plan, rows(state), owner, jnp.full((1, 1), SHORT), aim, jnp.full((4, 1), 0.5), rows(params))
    assert float(made.vx[0, 0]) == pytest.approx(21.0, abs=0.05)  # 36 (1.8 (16/60)^1.4 + 0.3)
    assert float(made.vy[0, 0]) == pytest.approx(0.0, abs=1e-5) and float(made.vz[0, 0]) == pytest.approx(
        0.11 * 20.98, abs=0.01
    )


def test_the_held_direction_chooses_the_corner():
    x, y = np.full(8, 43.0, np.float32), np.zeros(8, np.float32)
    aims = np.asarray(shot_target(jnp.asarray(x), jnp.asarray(y), jnp.ones(8), tuple(jnp.asarray(DIRECTIONS.T))))
    by_action = dict(zip(range(1, 9), aims))
    assert by_action[1] == by_action[5] == 0.0
    for action, expected in ((4, -2.05), (6, 2.05), (3, -3.33), (7, 3.33), (2, -3.33), (8, 3.33)):
        assert by_action[action] == pytest.approx(expected, abs=0.005)


def test_angles():
    at = np.linspace(0, np.pi, 181)
    found = angle_between(
        jnp.ones(181),
        jnp.zeros(181),
        jnp.asarray(2 * np.cos(at), jnp.float32),
        jnp.asarray(3e-7 + 2 * np.sin(at), jnp.float32),
    )
    np.testing.assert_allclose(found, at, atol=1e-6)


@pytest.mark.parametrize(
    ("y", "z", "side", "event"),
    [
        (3.69, 1.0, 1, GOAL), (3.71, 1.0, 1, RUNNING), (4.0, 1.0, 1, OUT), (0.0, 2.49, 1, GOAL), (0.0, 2.51, 1, RUNNING),
        (0.0, 2.7, 1, OUT), (-3.69, 0.11, -1, CONCEDED), (36.2, 0.11, 0, OUT), (36.1, 0.11, 0, RUNNING),
    ],
)  # fmt: skip
def test_lines(y, z, side, event):
    """Goals, woodwork (play goes on, the ball returns), and out."""
    start = ball_of(side * 54.17, y, z, side * 40.0)
    ball = ball_of(side * 56.17, y, z, side * 40.0)
    no = jnp.zeros((1, 1), bool)
    after, found = _lines(ball, start, no, no)
    assert int(found[0, 0]) == event
    if side and event == RUNNING:
        assert float(after.vx[0, 0]) == -32.0 and float(after.x[0, 0]) == pytest.approx(55.17)
        assert int(_lines(ball, start, ~no, no)[1][0, 0]) == OUT  # nobody carries the ball into a post
    assert int(_lines(ball, start, no, ~no)[1][0, 0]) == RUNNING  # stopped before the line


def run(env, params, action_of, num_steps, states=None, seed=0):
    """[T + 1] states of `NUM_ENVS` games; `action_of(t, timestep) -> [E, N]`."""
    reset, step, _ = compiled(env)
    key = jax.random.key(seed)
    state, shown = reset(jax.random.split(key, NUM_ENVS), params)
    state = state if states is None else states
    found = [jax.tree.map(np.asarray, state)]
    for t in range(num_steps):
        keys = jax.random.split(jax.random.fold_in(key, t), NUM_ENVS)
        state, shown = step(keys, state, jnp.asarray(action_of(t, shown), jnp.int32), params)
        found.append(jax.tree.map(np.asarray, state))
        if found[-1].over.all():
            break
    return found


def test_runs_with_the_ball_from_the_middle_to_the_goal():
    """As long as in the original, where they take 109, 77 and 136 steps; the ball is carried over the line."""
    env = jaxmarl_envs.make("football/empty_goal")
    second = np.resize([0, SPRINT, DRIBBLE], NUM_ENVS)

    def action_of(t, _):
        return np.full((NUM_ENVS, 1), RIGHT) if t == 0 else second[:, None] * (t == 1)

    last = run(env, env.default_params, action_of, 160)[-1]
    assert (last.over == GOAL).all() and (last.counts[:, 0] == 1).all() and (last.counts[:, 3] == 0).all()
    for k, steps in enumerate((109, 77, 136)):
        assert abs(last.t[k, 0] - steps) <= 3


def mirrored(state):
    ball = state.ball * np.array([1, -1, 1, 1, -1, 1], np.float32)
    direction = MIRRORED[np.asarray(state.direction)].astype(np.int32)
    return dataclasses.replace(state, y=-state.y, vy=-state.vy, hy=-state.hy, ball=ball, direction=direction)


def test_mirrored_games_stay_mirrored_bit_for_bit(attack):
    env, params = attack
    params = with_numbers(params, noise=0.0, start_jitter=0.5)
    states, _, actions, _ = play(env, params, 60, NUM_ENVS, seed=3)
    other = run(env, params, lambda t, _: MIRRORED[actions[t]], len(actions), mirrored(states[0]))
    assert (states[-1].over[:, 0] > 0).sum() > 20 and states[-1].counts[:, 3].sum() > 5
    for a, b in zip(states, other):
        jax.tree.map(np.testing.assert_array_equal, a, mirrored(b))


def test_without_noise_keys_do_not_matter_and_with_it_they_do(attack):
    env, params = attack
    rng = np.random.default_rng(1)
    actions = rng.choice([0, RIGHT, SHOT, 11, 4, 6], (40, 1, 3), p=[0.2, 0.3, 0.2, 0.1, 0.1, 0.1])
    for noise, same in ((0.0, True), (1.0, False)):
        last = run(env, with_numbers(params, noise=noise), lambda t, _: np.repeat(actions[t], NUM_ENVS, 0), 40)[-1]
        assert all((x == x[:1]).all() for x in jax.tree.leaves(last)) == same


@pytest.fixture(scope="module")
def played(attack):
    env, params = attack
    return env, params, play(env, params, 150, NUM_ENVS, seed=4)


def test_what_is_conserved(played):
    env, params, (states, _shown, _, _) = played
    assert (states[-1].over > 0).all()
    for before, after in itertools.pairwise(states):
        was_over, owns = before.over[:, 0] > 0, after.owner[:, 0] >= 0
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
            np.testing.assert_array_equal(a[was_over], b[was_over])
        speed = np.hypot(after.vx, after.vy)
        assert speed.max() <= params.sprint + 0.03
        at, owner = np.nonzero(owns)[0], after.owner[owns, 0]
        reach = 0.34 + 0.08 * speed[at, owner]
        for axis, (place, way) in enumerate(((after.x, after.hx), (after.y, after.hy))):
            touch = place[at, owner] + reach * way[at, owner]
            is_keeper = np.isin(owner, (0, env.plan.n_left))
            np.testing.assert_allclose(after.ball[at, axis][~is_keeper], touch[~is_keeper], atol=1e-5)
        is_flying = ~owns & (before.owner[:, 0] < 0) & (before.last == after.last)[:, 0]
        energy = [0.5 * (s.ball[:, 3:] ** 2).sum(1) + 9.81 * s.ball[:, 2] for s in (before, after)]
        assert (energy[1] - energy[0])[is_flying & (before.last[:, 0] >= 0)].max(initial=0) < 0.5
        square = (after.x[:, :, None] - after.x[:, None]) ** 2 + (after.y[:, :, None] - after.y[:, None]) ** 2
        assert np.sqrt(square[:, ~np.eye(env.plan.n_players, dtype=bool)].min()) > params.body_foe


def test_rewards_add_up(played):
    _, _, (states, shown, _, _) = played
    total = sum(timestep.reward[:, 0] for timestep in shown)
    last = states[-1]
    expected = last.counts[:, 0] - last.counts[:, 1] + 0.1 * last.checks.sum(1)
    np.testing.assert_allclose(total, expected, atol=1e-5)
    assert (last.checks <= 10).all() and total.max() > 0.3
    for name, value in zip(("goal", "conceded", "passes", "shots"), last.counts.T):
        np.testing.assert_array_equal(shown[-1].metrics[name], value)


def test_masks_are_what_the_decoder_accepts(played):
    """An illegal action is idle: the next state is that of idling."""
    env, params, (states, shown, _, _) = played
    _, step, _ = compiled(env)
    keys = jax.random.split(jax.random.key(9), NUM_ENVS)
    for t in (0, 6, 14):
        idle, _ = step(keys, states[t], jnp.zeros((NUM_ENVS, 3), jnp.int32), params)
        for action in (2, 9, 12, 14, 15, 16, 18):
            after, _ = step(keys, states[t], jnp.full((NUM_ENVS, 3), action, jnp.int32), params)
            is_illegal = ~shown[t].action_mask[:, :, action].any(1)
            jax.tree.map(
                lambda a, b, k=is_illegal: np.testing.assert_array_equal(np.asarray(a)[k], np.asarray(b)[k]),
                after,
                idle,
            )


def test_half_turn_with_teams_swapped():
    """In a match the rules are the same for both teams."""
    env = jaxmarl_envs.make("football/2_vs_2")
    state, _ = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    rng = np.random.default_rng(0)
    size, count = 200, 6
    swap = np.array([3, 4, 5, 0, 1, 2])
    state = jax.tree.map(lambda x: jnp.broadcast_to(x[..., None], (*x.shape, size)), state)
    x, y, vx, vy = (rng.normal(size=(count, size)).astype(np.float32) * s for s in (6, 6, 3, 3))
    angle = rng.uniform(0, 6.28, (count, size)).astype(np.float32)
    owner = rng.integers(-1, count, (1, size)).astype(np.int32)
    ball = np.concatenate([rng.normal(size=(6, size))]).astype(np.float32) * np.array(
        [[6], [6], [1], [9], [9], [2]], np.float32
    )
    ball[2] = abs(ball[2]) + 0.11
    kind = np.where(rng.uniform(size=(count, size)) < 0.5, 0, rng.integers(9, 13, (count, size))).astype(np.int32)
    state = state.replace(
        x=x, y=y, vx=vx, vy=vy, hx=np.cos(angle), hy=np.sin(angle), ball=ball, owner=owner, last=np.maximum(owner, 1),
        kind=kind, timer=np.minimum(kind, 1), lock=np.zeros((1, size), np.int32),
    )  # fmt: skip
    wish = [rng.normal(size=(count, size)).astype(np.float32) * 5 for _ in range(2)]
    wishes = Wishes(*wish, np.cos(angle + 1), np.sin(angle + 1), np.zeros((count, size), bool))
    luck = np.full((4, size), 0.3, np.float32)
    params = rows(env.default_params)

    def turned(game, number):
        other = {name: -getattr(game, name)[swap] for name in ("x", "y", "vx", "vy", "hx", "hy")}
        owner, last = (jnp.where(n < 0, n, jnp.asarray(swap)[n]) for n in (game.owner, game.last))
        flat = np.array([-1, -1, 1, -1, -1, 1], np.float32)[:, None]
        return game.replace(
            **other, ball=game.ball * flat, owner=owner, last=last, kind=game.kind[swap], timer=game.timer[swap]
        )

    half = Wishes(*(-w[swap] for w in wishes[:4]), wishes.is_careful[swap])
    play_on = jax.jit(lambda game, wishes: substep(env.plan, game, wishes, luck, params))
    plain, other = play_on(state, wishes), turned(play_on(turned(state, swap), half), swap)
    assert (plain.owner != owner).sum() > 10
    for name in ("x", "y", "vx", "vy", "ball", "owner", "last", "kind", "timer", "lock"):
        np.testing.assert_allclose(getattr(plain, name), getattr(other, name), atol=2e-5, err_msg=name)


def success(env, params, action_of, batches, num_steps=150):
    """Share of goals in `batches` times `NUM_ENVS` episodes, and the mean of the counts."""
    last = [run(env, params, action_of, num_steps, seed=seed)[-1] for seed in range(batches)]
    return np.mean([s.over == GOAL for s in last]), np.mean([s.counts for s in last], (0, 1))


def test_the_scripted_attack_passes_and_scores(attack):
    env, params = attack
    act = jax.jit(jax.vmap(env.rules["attack"]))
    scored, counts = success(env, params, lambda t, shown: act(shown), 6)
    assert scored > 0.8 and counts[2] > 0.9  # measured 0.90, with one pass


def test_alone_nobody_scores_much(attack):
    env, params = attack

    def plan(steps):
        def action_of(t, _):
            first = RIGHT if t == 0 else SPRINT if t == 1 and steps else SHOT if t > steps else 0
            return np.tile([first, 0, 0], (NUM_ENVS, 1))

        return action_of

    scored = {steps: success(env, params, plan(steps), 3)[0] for steps in (0, 3, 8, 13, 1000)}
    assert max(scored.values()) <= 0.3 and scored[0] <= 0.1 and scored[3] <= 0.1


@pytest.mark.slow
def test_random_play_scores_sometimes(attack):
    env, params = attack
    rng = np.random.default_rng(0)

    def action_of(t, shown):
        mask = np.asarray(shown.action_mask)
        return (rng.uniform(size=mask.shape) * mask).argmax(-1)

    scored, _ = success(env, params, action_of, 24)
    assert 0.003 < scored < 0.02  # of 1,536 episodes


SHOTS = {6: 1.0, 9: 1.0, 12: 0.96, 16: 0.4, 21: 0.09, 26: 0.06}
"""Meters from the goal, and how many of the shots go in at the better of two aims."""


def test_the_nearer_the_shot_the_better(attack):
    """Straight ahead of the goal, at the moment of the touch, with the keeper where he waits; a regression table."""
    env, params = attack
    reset, _, _ = compiled(env)
    state, _ = reset(jax.random.split(jax.random.key(0), NUM_ENVS), params)
    found = {}
    for distance in SHOTS:
        x, y = np.array(state.x), np.array(state.y)
        out = 0.7 + np.clip((18 - distance) / 10, 0, 1) * np.clip(0.5 * distance - 0.7, 0, 6)
        x[:, 1:6] = 55 - distance, 5.0, 5.0, 55 - out, 5.0
        y[:, 1], y[:, 5] = 0.0, 30.0
        ball = np.array(state.ball)
        ball[:, 0] = x[:, 1] + 0.34
        one = np.ones((NUM_ENVS, 1), np.int32)
        kind, timer = np.array(state.kind), np.array(state.timer)
        kind[:, 1], timer[:, 1] = SHOT, 1
        start = state.replace(x=x, y=y, ball=ball, owner=one, last=one, kind=kind, timer=timer)
        scored = []
        for aim in (6, 7):
            held = np.tile([aim, 0, 0], (NUM_ENVS, 1))
            last = [run(env, params, lambda t, _, h=held: h * (t == 0), 30, start, seed)[-1] for seed in range(4)]
            scored.append(float(np.mean([s.over == GOAL for s in last])))
        found[distance] = max(scored)
    assert found == pytest.approx(SHOTS, abs=0.05), found


LAYOUTS = {"3_vs_1_with_keeper": (26, 47, 75), "counterattack_hard_small": (34, 56, 98)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    small, rich, whole = LAYOUTS[name]
    for obs, size, state_size in (("cds", small, small), ("rich", rich, whole + 3), ("simple115", 115, whole + 3)):
        spec = jaxmarl_envs.make(f"football/{name}", obs=obs).spec
        assert (spec.obs_shape, spec.state_size, spec.num_actions) == ((size,), state_size, 19)


def test_first_observations():
    env = jaxmarl_envs.make("football/3_vs_1_with_keeper", obs="cds")
    _, shown = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    place = {(0.6 * 55 / 54.4, 0.0): 0, (0.7 * 55 / 54.4, 0.2 * 84.96 / 83.6): 1}
    assert pytest.approx(0.6066, abs=1e-4) == 0.6 * 55 / 54.4
    for at, agent in place.items():
        np.testing.assert_allclose(shown.obs[agent, :2], at, atol=1e-6)
    np.testing.assert_allclose(shown.obs[0, 2:6], [5.5 / 54.4, 16.992 / 83.6, 5.5 / 54.4, -16.992 / 83.6], atol=1e-6)
    np.testing.assert_allclose(shown.obs[0, 6:12], 0)
    np.testing.assert_allclose(shown.obs[0, 12:16], [22 / 54.4, 0, 8.25 / 54.4, 0], atol=1e-6)  # keeper first
    np.testing.assert_allclose(shown.obs[0, 20:], [0.62 - 33 / 54.4, 0, 0.11, 0, 0, 0], atol=1e-6)
    env = jaxmarl_envs.make("football/academy_3_vs_1_with_keeper", obs="simple115")
    _, shown = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    first = np.asarray(shown.obs[1])
    np.testing.assert_allclose(
        first[:8], [-55 / 54.4, 0, 33 / 54.4, 0, 38.5 / 54.4, 16.992 / 83.6, 38.5 / 54.4, -16.992 / 83.6], atol=1e-6
    )
    assert (first[8:22] == -1).all() and (first[22:30] == 0).all() and (first[30:44] == -1).all()
    np.testing.assert_allclose(first[44:48], [55 / 54.4, 0, 41.25 / 54.4, 0], atol=1e-6)
    np.testing.assert_allclose(first[88:94], [0.62, 0, 0.11, 0, 0, 0], atol=1e-6)
    assert first[94:97].tolist() == [1, 0, 0] and first[97:108].argmax() == 2 and first[108:].tolist() == [1, *[0] * 6]


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("3_vs_1_with_keper", {}, ("did you mean 'football/3_vs_1_with_keeper'", "A_vs_B")),
        ("0_vs_3", {}, ("1 to 16 players", "got 0 against 3")),
        ("5_vs_40", {}, ("got 5 against 40",)),
        ("12_vs_11", {"obs": "simple115"}, ("'rich' or 'cds'", "room for 11", "not 13")),
        ("counterattack_hard", {"obs": "cds"}, ("scripted teammates", "_small")),
        ("corner", {"obs": "rihc"}, ("'rich' or 'cds' or 'simple115'", "got 'rihc'")),
        ("single_goal_versus_lazy", {"rules": "cds"}, ("must be 'grf'",)),
        ("4_vs_4", {"rules": "cds"}, ("must be 'grf'",)),
        ("corner", {"difficulty": 1.5}, ("difficulty must be a number from 0 to 1, got 1.5",)),
        ("corner", {"noise": -0.1}, ("noise must be a number from 0 to 1",)),
        ("corner", {"substeps": 3}, ("1, 2 or 4, got 3",)),
        ("corner", {"reward": "goals"}, ("scoring, checkpoints, cds", "got 'goals'")),
        ("corner", {"reward": "cds,cds"}, ("each once",)),
        ("corner", {"limit": 0}, ("limit must be an integer",)),
        ("corner", {"levle": 1}, ("unknown option 'levle'",)),
    ],
)
def test_bad_input(variant, options, words):
    with pytest.raises(ValueError, match=r"^football/|^unknown environment") as caught:
        jaxmarl_envs.make(f"football/{variant}", **options)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_options():
    env = jaxmarl_envs.make("football/3_vs_1_with_keeper", reward="checkpoints,scoring")
    assert env == jaxmarl_envs.make("football/academy_3_vs_1_with_keeper") and env.spec.episode_limit == 150
    assert jaxmarl_envs.make("football/3_vs_1_with_keeper", rules="grf").spec.episode_limit == 400
    assert jaxmarl_envs.make("football/single_goal_versus_lazy").spec.episode_limit == 3000
    optima = [
        jaxmarl_envs.make("football/corner", reward=reward).spec.optimum for reward in ("scoring", "cds", "cds,scoring")
    ]
    assert optima == [1.0, 100.0, None]
    assert env.action_names[9] == "long pass" and len(env.action_names) == 19
    easy = jaxmarl_envs.make("football/3_vs_1_with_keeper", difficulty=0.0)
    assert easy == env and easy.default_params.difficulty == 0.0  # one program for all levels
    assert not jaxmarl_envs.make("football/3_vs_1_with_keeper", obs="cds").rules


def test_two_players_in_one_place_are_pushed_apart():
    env = jaxmarl_envs.make("football/counterattack_easy")
    params = rows(env.default_params)
    state, _ = jax.eval_shape(env.reset, jax.random.key(0), env.default_params)
    place = np.asarray(env.default_params.start)
    state = jax.tree.map(lambda x: jnp.zeros((*x.shape, 1), x.dtype), state).replace(x=place[:, :1], y=place[:, 1:])
    assert (place[12] == place[15]).all()
    after = _physics._pushed(env.plan, state, params)
    gap = np.hypot(after.x[12] - after.x[15], after.y[12] - after.y[15])
    assert gap[0] == pytest.approx(0.72, abs=1e-4)
    assert row(after.x, 12) < row(after.x, 15)


@pytest.mark.parametrize("variant", ["3_vs_1_with_keeper", pytest.param("2_vs_2", marks=pytest.mark.slow)])
def test_every_step_is_drawn(variant):
    env = jaxmarl_envs.make(f"football/{variant}", limit=12)
    episode = record_episode(env, jax.random.key(1), max_steps=12)
    frames = render_frames(env, episode)
    assert len(frames) == len(episode) + 1 and frames[0].shape == frames[-1].shape
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_verdicts(attack):
    """What the last picture says about the end."""
    env, params = attack
    plan = env.plan
    state, _ = first(attack)
    one = np.ones(1, np.int32)
    scored = state.replace(over=one * GOAL, counts=state.counts + np.array([1, 0, 0, 0]))
    lost = state.replace(over=one * LOST, owner=one * (plan.n_left + 1))
    saved = state.replace(over=one * LOST, owner=one * plan.n_left)

    def said(after, before=state, terminated=True):
        frame = Frame(3, after, before, np.zeros(3, int), 0.0, 0.0, terminated, not terminated, params)
        found = _verdict(plan, frame)
        return found.text, found.good

    assert said(scored) == ("goal", True)
    assert said(lost, state.replace(owner=one)) == ("tackled by 1", False)
    assert said(lost) == ("intercepted by 1", False) and said(saved) == ("saved", False)
    assert said(state.replace(over=one * OUT)) == ("out", False)
    assert said(state.replace(over=one * TIME), terminated=False) == ("out of time", False)
