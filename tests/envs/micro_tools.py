"""Fights between chosen units, and the play of compiled scans."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import TimeLimit, VectorEnv, random_action
from jaxmarl_envs.micro import Micro
from jaxmarl_envs.micro._family import LEVELS, _fixed
from jaxmarl_envs.micro._maps import Map

OPTIONS = {"reward": "positive", "substeps": 4, "own_position": False}


def with_level(params, level, **scalars):
    """`params` with those of a level of difficulty, and others."""
    return dataclasses.replace(
        params, **{name: np.float32(value) for name, value in {**LEVELS[level], **scalars}.items()}
    )


def arena(allies, enemies, *, limit=400, goal=(16.0, 16.0)):
    """A fight of `allies` and `enemies`, groups (kind, count, point), on open ground."""
    played = Map(tuple(allies), tuple(enemies), limit, goal, ((0, 31, 0, 31),))
    plan, params, limit = _fixed(played, False, OPTIONS)
    return TimeLimit(Micro(plan, "micro/arena", params), limit)


@functools.partial(jax.jit, static_argnums=(0, 1))
def repeat(env, num_steps, key, action, params):
    """[T] states and time steps of the same joint `action` [N] in every step, or stop for agents that may not do it."""

    def body(carry, key):
        state, timestep = carry
        legal = jnp.take_along_axis(timestep.action_mask, action[:, None], 1)[:, 0]
        carry = env.step(key, state, jnp.where(legal, action, jnp.where(timestep.action_mask[:, 0], 0, 1)), params)
        return carry, carry

    start_key, key = jax.random.split(key)
    return jax.lax.scan(body, env.reset(start_key, params), jax.random.split(key, num_steps))[1]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def first_episodes(env, rule, num_envs, num_steps, key, params):
    """Means over the first episode of each instance: share won, return, hit points lost by allies. `rule` None: random."""
    vector = VectorEnv(env, num_envs)
    act = None if rule is None else env.unwrapped.rules[rule]

    def body(carry, key):
        state, first, wins, total = carry
        act_key, step_key = jax.random.split(key)
        shown = state.timestep
        action = random_action(env.spec, act_key, shown.action_mask) if act is None else jax.vmap(act)(shown)
        state = vector.step(step_key, state, action, params)
        timestep = state.timestep
        wins += jnp.where(first, timestep.metrics["win"], 0.0)
        total += jnp.where(first, timestep.reward[:, 0], 0.0)
        return (state, first & ~timestep.done, wins, total), None

    start_key, key = jax.random.split(key)
    zeros = jnp.zeros(num_envs)
    carry = vector.reset(start_key, params), jnp.ones(num_envs, bool), zeros, zeros
    (_, first, wins, total), _ = jax.lax.scan(body, carry, jax.random.split(key, num_steps))
    return wins.mean(), total.mean(), ~first
