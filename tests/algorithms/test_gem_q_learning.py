"""GEM for discrete actions finds the way along a chain that pays at its end only."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv
from toy_envs import context

from jaxmarl_suite import algorithms

LENGTH = 10
SIZES = {
    "num_envs": 8,
    "rollout_length": 20,
    "gradient_steps": 20,
    "hidden": (32,),
    "capacity": 16_000,
    "batch_size": 64,
    "warmup_steps": 8000,
    "learning_rate": 3e-3,
    "gamma": 0.97,
    "target_period": 100,
    "epsilon_steps": 10_000.0,
    "epsilon_end": 0.1,
}
UPDATES, LAST = 90, 12


def returns(name, **changes):
    """[3, LAST] returns of greedy episodes after each of the last updates of 14,400 steps, 8,000 of them random."""
    config, env = algorithms.get(name).config(**(SIZES | changes)), jaxmarl_envs.make("toy/chain", length=LENGTH)
    (phase,) = algorithms.get(name).build(config, env)
    algorithm, ctx, vector = phase.algorithm, context(config, env, horizon=UPDATES), VectorEnv(env, 1)

    def update(state, clock):
        state, _ = algorithm.update(state, dataclasses.replace(ctx, clock=clock))

        def step(env_state, key):
            action, _ = algorithm.act(algorithm.policy(state), None, env_state.timestep, key, ctx)
            env_state = vector.step(key, env_state, action, ctx.env_params)
            return env_state, env_state.timestep.reward.mean()

        keys = jax.random.split(jax.random.key(0), LENGTH)  # shorter than this, and the last cell is not left
        return state, jax.lax.scan(step, vector.reset(keys[0], ctx.env_params), keys)[1].sum()

    @jax.jit
    def train(key):
        return jax.lax.scan(update, algorithm.init(key, ctx), jnp.arange(UPDATES))[1]

    return np.stack([train(jax.random.key(seed)) for seed in range(3)])[:, -LAST:]


@pytest.mark.parametrize("name", ["gem-q", pytest.param("gem-meta", marks=pytest.mark.slow)])
def test_the_chain_is_solved(name):
    """Three seeds, twelve evaluations each. Random play leaves the last cell in one of 1024 such episodes."""
    np.testing.assert_array_equal(returns(name), 1.0)


@pytest.mark.slow
def test_one_step_targets_do_not_solve_it_in_as_many_steps():
    """The same networks and play: what is missing is the way along the trajectory."""
    assert returns("gem-q", max_steps=1).mean() < 0.7
