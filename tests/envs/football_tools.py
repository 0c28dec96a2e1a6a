"""Play of football, recorded step by step, and states made by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core._batch_last import random_words
from jaxmarl_envs.football._env import uniform


def with_numbers(params, **numbers):
    """`params` with some scalars changed."""
    return dataclasses.replace(params, **{name: np.float32(value) for name, value in numbers.items()})


@functools.lru_cache(maxsize=8)
def compiled(env):
    """`reset(keys, params)` and `step(keys, states, actions, params)` of batches, and `luck(keys)` [E, substeps, 4]."""
    substeps = env.plan.substeps

    def luck(keys):
        return uniform(random_words(keys, 4 * substeps)).T.reshape(-1, substeps, 4)

    return jax.jit(jax.vmap(env.reset, (0, None))), jax.jit(jax.vmap(env.step, (0, 0, 0, None))), jax.jit(luck)


def wish():
    """[19] how much random play wants each action: it runs at the goal, passes and shoots."""
    weights = np.ones(19)
    weights[[4, 5, 6]] = 2.0, 4.0, 2.0
    weights[[9, 10, 11, 12, 13]] = 1.5, 1.5, 1.5, 3.0, 3.0
    weights[[14, 15]] = 0.2
    weights[16] = 4.0
    return weights


def play(env, params, num_steps, num_envs, seed=0):
    """[T + 1] states and time steps, [T] actions and luck, of random legal play: lists of NumPy trees [E, ..]."""
    reset, step, luck = compiled(env)
    key = jax.random.key(seed)
    rng = np.random.default_rng(seed)
    on_host = functools.partial(jax.tree.map, np.asarray)
    state, shown = reset(jax.random.split(key, num_envs), params)
    states, timesteps, actions, lucks = [on_host(state)], [on_host(shown)], [], []
    for t in range(num_steps):
        keys = jax.random.split(jax.random.fold_in(key, t + 1), num_envs)
        weights = np.asarray(shown.action_mask) * wish()
        limits = np.cumsum(weights, -1)
        drawn = rng.uniform(size=(*limits.shape[:-1], 1)) * limits[..., -1:]
        action = (drawn >= limits).sum(-1).astype(np.int32)
        state, shown = step(keys, state, jnp.asarray(action), params)
        states.append(on_host(state))
        timesteps.append(on_host(shown))
        actions.append(action)
        lucks.append(np.asarray(luck(keys), np.float64))
        if states[-1].over.all():
            break
    return states, timesteps, actions, lucks


def row(tree, e):
    """Instance `e` of a tree."""
    return jax.tree.map(lambda x: x[e], tree)
