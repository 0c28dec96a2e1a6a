"""Off-policy methods find the optimum of a linear task with quadratic costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv
from line_env import Line, optimum, play_optimally
from toy_envs import context

from jaxmarl_suite import algorithms

SIZES = {
    "num_envs": 4,
    "rollout_length": 10,
    "gradient_steps": 40,
    "hidden": (32, 32),
    "capacity": 20_000,
    "batch_size": 64,
    "warmup_steps": 1000,
    "learning_rate": 3e-3,
    "gamma": 0.9,
}
OWN = {
    "td3": {"target_noise": 0.1},
    "sac": {"temperature": 0.1, "target_entropy": -2.0},
    "gem": {"target_noise": 0.1, "num_critics": 4, "critic_groups": 2, "climb": "mean"},
}
UPDATES = 200


def test_the_optimum_is_what_the_best_feedback_earns():
    starts = np.linspace(-1, 1, 4001)
    for n_agents, limit in ((1, 20), (2, 20), (1, 3)):
        np.testing.assert_allclose(play_optimally(n_agents, limit, starts), optimum(n_agents, limit), rtol=1e-3)


@pytest.mark.parametrize("name", ["td3", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sac", "gem"))])
def test_the_line_is_solved(name):
    """8,000 steps. Doing nothing earns -6.7, uniform actions far less; the bound is a third of a reward off the optimum."""
    config = algorithms.get(name).config(**(SIZES | OWN[name]))
    env = Line()
    (phase,) = algorithms.get(name).build(config, env)
    algorithm, ctx = phase.algorithm, context(config, env, horizon=UPDATES)

    @jax.jit
    def train(key):
        def update(clock, state):
            return algorithm.update(state, dataclasses.replace(ctx, clock=clock))[0]

        return jax.lax.fori_loop(0, UPDATES, update, algorithm.init(key, ctx))

    state = train(jax.random.key(1))
    vector = VectorEnv(env, 256)

    @jax.jit
    def returns(policy):
        def step(env_state, key):
            action, _ = algorithm.act(policy, None, env_state.timestep, key, ctx)
            env_state = vector.step(key, env_state, action, ())
            return env_state, env_state.timestep.reward.mean()

        start = vector.reset(jax.random.key(2), ())
        return jnp.sum(jax.lax.scan(step, start, jax.random.split(jax.random.key(3), env.limit))[1])

    assert optimum() - 0.33 < returns(algorithm.policy(state)) < optimum() + 0.05
