"""What the tests of the adapters share: playing an environment of this package, and comparing."""

import importlib.util

import jax
import jaxmarl_envs
import numpy as np
import pytest


def needs(package):
    """Skips tests where an extra is missing."""
    extra = {"gymnax": "gymnax", "jaxmarl": "jaxmarl", "pettingzoo": "pettingzoo"}[package]
    reason = f'needs the extra: pip install "jaxmarl-suite[{extra}]"'
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=reason)


def play(env, key, num_steps):
    """`(first TimeStep, actions [T, N], TimeSteps [T, ...])` of random legal play, stepping on past ends.

    `key` is split into that of `reset` and T for the steps, each of which is split into those of actions and `step`.
    """
    reset_key, key = jax.random.split(key)

    def body(carry, key):
        state, timestep = carry
        action_key, step_key = jax.random.split(key)
        action = jaxmarl_envs.random_action(env.spec, action_key, timestep.action_mask)
        carry = env.step(step_key, state, action, env.default_params)
        return carry, (action, carry[1])

    def run(reset_key, keys):
        start = env.reset(reset_key, env.default_params)
        return start[1], *jax.lax.scan(body, start, keys)[1]

    return jax.tree.map(np.asarray, jax.jit(run)(reset_key, jax.random.split(key, num_steps)))


def assert_same(left, right):
    """Equal trees of arrays, bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, left, right)
