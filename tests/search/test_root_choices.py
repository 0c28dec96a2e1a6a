"""How often the search chooses the best of the joint actions that it drew, in M1 to M4, against measured shares.

The shares are those of an independent prototype of this search, from 256 roots: true model, uniform policies, 20 samples.
"""

import functools

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest

from jaxmarl_suite.search import World, WorldParams, environment_model, sampled_search

ROOTS, SAMPLES = 256, 20
GAMES = ("M1", "M2", "M3", "M4")
# By visits, by q (None: not measured there), for each game.
ONE_STEP = ((1.0, 1.0), (1.0, 1.0), (0.83, 1.0), (1.0, 1.0))
EXACT_LEAVES = {
    0.0: ((1.0, 0.94), (0.99, 0.96), (0.65, 0.60), (0.86, 0.80)),
    0.75: ((0.99, 1.0), (0.99, 0.98), (0.65, 0.66), (0.90, 0.85)),
}
ZERO_LEAVES = ((0.98, None), (0.975, None), (0.51, None), (0.855, None))


@functools.cache
def program(horizon, simulations):
    """The compiled search of all four games: they differ in payoffs, and in what a step to come is worth at the leaves."""
    game = jaxmarl_envs.make("matrix/M1", horizon=horizon)

    def evaluator(per_step, key, state, timestep):
        return jnp.zeros((2, 3)), per_step * (horizon - state.stage).astype(jnp.float32)

    model = environment_model(game, evaluator)

    def run(params, rho, key, world):
        return sampled_search(
            model, num_simulations=simulations, num_samples=SAMPLES, drop_lowest=rho, depth_decay=0.8
        )(params, key, world)

    return jax.jit(run)


def shares(name, horizon, simulations, rho, exact_leaves):
    """Shares of roots, by visits and by q, and the mean value of the roots."""
    env = jaxmarl_envs.make(f"matrix/{name}", horizon=horizon)
    payoff = np.asarray(env.default_params.payoff).ravel()
    keys = jax.random.split(jax.random.key(1), ROOTS)
    world = World(*jax.vmap(env.reset, (0, None))(keys, env.default_params))
    params = WorldParams(env.default_params, jnp.float32(payoff.max() if exact_leaves else 0.0))
    found = program(horizon, simulations)(params, rho, jax.random.key(2), world)
    drawn = np.where(found.is_child, payoff[np.asarray(found.actions) @ np.array([3, 1])], -np.inf)
    q = np.where(np.asarray(found.visits) > 0, found.q, -np.inf)
    chosen = (np.asarray(found.best), q.argmax(-1))
    return [(drawn[np.arange(ROOTS), slot] == drawn.max(-1)).mean() for slot in chosen], float(found.value.mean())


def check(found, wanted):
    """Within three standard errors of the difference of two shares of 256; of shares next to 1, which none is exactly."""
    for share, measured in zip(found, wanted):
        if measured is not None:
            middle = min((share + measured) / 2, 0.98)
            assert abs(share - measured) <= 3 * np.sqrt(2 * middle * (1 - middle) / ROOTS), (found, wanted)


@pytest.mark.optimized
@pytest.mark.parametrize("game", [0, *(pytest.param(g, marks=pytest.mark.slow) for g in (1, 2, 3))])
def test_one_step(game):
    found, _ = shares(GAMES[game], 1, 50, 0.75, False)
    check(found, ONE_STEP[game])
    assert found[1] == 1.0  # q is exact where nothing follows


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("rho", EXACT_LEAVES)
@pytest.mark.parametrize("game", range(4))
def test_ten_steps_with_exact_leaves(game, rho):
    check(shares(GAMES[game], 10, 100, rho, True)[0], EXACT_LEAVES[rho][game])


@pytest.mark.slow
@pytest.mark.optimized
def test_ten_steps_with_zero_leaves():
    for game in range(4):
        values = []
        for rho in (0.0, 0.25, 0.75):
            found, value = shares(GAMES[game], 10, 50, rho, False)
            check(found, ZERO_LEAVES[game])
            values.append(value)
        assert values == sorted(values)  # the more is dropped, the more is expected
