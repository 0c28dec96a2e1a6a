"""Scripts that play `micro/`, and fights between chosen units."""

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


def arena(
    allies, enemies, *, level="smac", limit=400, spans=((0, 31, 0, 31),), goal=(16.0, 16.0), substeps=4, **scalars
):
    """A fight of `allies` and `enemies`, groups (kind, count, point), on open ground."""
    played = Map(tuple(allies), tuple(enemies), limit, goal, spans)
    plan, params, limit = _fixed(played, False, OPTIONS | {"substeps": substeps})
    numbers = {name: np.float32(value) for name, value in {**LEVELS[level], **scalars}.items()}
    return TimeLimit(Micro(plan, "micro/arena", dataclasses.replace(params, **numbers)), limit)


def scripted(env, preference):
    """`(timestep) -> [E, N]` actions: attack the nearest or weakest in range, else walk to the nearest seen, else east."""
    blocks = {block.name: block for block in env.spec.entities}
    features = blocks["enemies"].features
    place = {name: features.index(name) for name in ("distance", "dx", "dy", "hp")}

    def act(timestep):
        enemies = blocks["enemies"].read(timestep.obs)  # [E, N, M, F]
        mask = timestep.action_mask
        in_range = mask[..., 6:]
        distance, health = enemies[..., place["distance"]], enemies[..., place["hp"]]
        if "shield" in features:
            health = health + enemies[..., features.index("shield")]
        seen = distance > 0
        worth = distance if preference == "nearest" else health
        target = 6 + jnp.where(in_range, worth, jnp.inf).argmin(-1)
        nearest = jnp.where(seen, distance, jnp.inf).argmin(-1)[..., None]
        dx, dy = (jnp.take_along_axis(enemies[..., place[axis]], nearest, -1)[..., 0] for axis in ("dx", "dy"))
        along_x = jnp.abs(dx) >= jnp.abs(dy)
        walk = jnp.where(along_x, jnp.where(dx >= 0, 4, 5), jnp.where(dy >= 0, 2, 3))
        walk = jnp.where(seen.any(-1), walk, 4)
        walk = jnp.where(jnp.take_along_axis(mask, walk[..., None], -1)[..., 0], walk, 1)
        action = jnp.where(in_range.any(-1), target, walk)
        return jnp.where(mask[..., 0], 0, action).astype(jnp.int32)

    return act


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def win_rate(env, preference, num_envs, num_steps, key, params):
    """Share of episodes won, and the mean return, of the first episode of each instance. `preference` None: random play."""
    vector = VectorEnv(env, num_envs)
    act = None if preference is None else scripted(env, preference)

    def body(carry, key):
        state, first, wins, total = carry
        act_key, step_key = jax.random.split(key)
        shown = state.timestep
        action = random_action(env.spec, act_key, shown.action_mask) if act is None else act(shown)
        state = vector.step(step_key, state, action, params)
        timestep = state.timestep
        wins += jnp.where(first, timestep.metrics["win"], 0.0)
        total += jnp.where(first, timestep.reward[:, 0], 0.0)
        return (state, first & ~timestep.done, wins, total), None

    start_key, key = jax.random.split(key)
    zeros = jnp.zeros(num_envs)
    carry = vector.reset(start_key, params), jnp.ones(num_envs, bool), zeros, zeros
    (_, _, wins, total), _ = jax.lax.scan(body, carry, jax.random.split(key, num_steps))
    return wins.mean(), total.mean()
