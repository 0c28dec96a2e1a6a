"""Loops of random play: the suite's, the bare dynamics, and both as compiled scans."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import seed_key
from jaxmarl_envs.hallway import Hallway
from jaxmarl_envs.hallway._env import digits
from jaxmarl_envs.matrix import MatrixGame
from jaxmarl_envs.rag import RagCache, RagServe

Carry = Any


def random_actions(key: jax.Array, shape: tuple[int, ...], num_actions: int) -> jax.Array:
    """Uniform actions from one draw of bits; the same in both loops. Flat: short last axes do not vectorize."""
    return jaxmarl_envs.uniform_index(key, num_actions, (math.prod(shape),)).reshape(shape)


def our_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the suite's loop."""
    vector, spec = jaxmarl_envs.VectorEnv(env, num_envs), env.spec

    def start(key: jax.Array) -> Carry:
        return vector.reset(key, env.default_params)

    def step(key: jax.Array, state: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        action_key, step_key = jax.random.split(key)
        action = random_actions(action_key, (num_envs, spec.n_agents), spec.num_actions)
        state = vector.step(step_key, state, action, env.default_params)
        return state, state.timestep.reward[:, 0], state.timestep.done

    return start, step


def bare_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the same rules written for the batch, and nothing else."""
    game = getattr(env, "unwrapped", env)
    if isinstance(game, Hallway):
        return _bare_hallway(game, num_envs, env.spec.episode_limit)
    if isinstance(game, RagCache | RagServe):
        return _bare_windows(env, game, num_envs)
    assert isinstance(game, MatrixGame)
    n, a = game.n_agents, game.num_actions
    payoff = jnp.asarray(game.default_params.payoff)
    successor = jnp.asarray(game.default_params.successor)
    strides = a ** np.arange(n)[::-1]

    def play(key: jax.Array) -> jax.Array:
        action = random_actions(key, (num_envs, n), a)
        return sum(action[:, i] * int(strides[i]) for i in range(n))

    if game.start is None:  # contexts: every step ends and draws the next game

        def start(key: jax.Array) -> Carry:
            return random_actions(key, (num_envs,), game.n_stages)

        def step(key: jax.Array, context: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            action_key, reset_key = jax.random.split(key)
            return start(reset_key), payoff[context, play(action_key)], jnp.ones(num_envs, bool)

    elif successor.shape[1] == 1:  # the same game, n_stages times
        length = game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.zeros(num_envs if length > 1 else 0, jnp.int32)

        def step(key: jax.Array, t: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            reward = payoff[0, play(key)]
            if length == 1:
                return t, reward, jnp.ones(num_envs, bool)
            done = t + 1 >= length
            return jnp.where(done, 0, t + 1), reward, done

    else:  # stages, and perhaps a time limit
        limit, end = env.spec.episode_limit, game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.full(num_envs, game.start, jnp.int32), jnp.zeros(num_envs, jnp.int32)

        def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            (stage, t), joint = carry, play(key)
            reward, stage, t = payoff[stage, joint], successor[stage, joint], t + 1
            done = (stage >= end) | (t >= limit)
            return (jnp.where(done, game.start, stage), jnp.where(done, 0, t)), reward, done

    return start, step


def _bare_hallway(game: Hallway, num_envs: int, limit: int) -> tuple[Callable, Callable]:
    lengths = jnp.array(game.lengths)

    def cells(key: jax.Array) -> jax.Array:
        joint = jaxmarl_envs.uniform_index(key, math.prod(game.lengths), (num_envs,))
        return 1 + jax.vmap(lambda number: digits(number, game.lengths))(joint)

    def start(key: jax.Array) -> Carry:
        return cells(key), jnp.zeros(num_envs, jnp.int32)

    def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        x, t = carry
        action_key, reset_key = jax.random.split(key)
        action = random_actions(action_key, x.shape, 3)
        x = jnp.clip(x + (action == 2) - (action == 1), 0, lengths)
        home, t = x == 0, t + 1
        done = home.any(axis=1) | (t >= limit)
        reward = jnp.where(home.all(axis=1), 10.0, 0.0)
        return (jnp.where(done[:, None], cells(reset_key), x), jnp.where(done, 0, t)), reward, done

    return start, step


def _bare_windows(env: jaxmarl_envs.Environment, game: RagCache | RagServe, num_envs: int) -> tuple[Callable, Callable]:
    """The task's own step without what only learners read: of that nothing is carried, so that nothing computes it."""
    params, limit, spec = env.default_params, env.spec.episode_limit, env.spec
    assert limit is not None

    def start(key: jax.Array) -> Carry:
        keys = jax.random.split(key, num_envs)
        return jax.vmap(game.reset, (0, None))(keys, params)[0], jnp.zeros(num_envs, jnp.int32)

    def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        state, t = carry
        action_key, step_key, reset_key = jax.random.split(key, 3)
        action = random_actions(action_key, (num_envs, spec.n_agents), spec.num_actions)
        keys = jax.random.split(step_key, num_envs)
        state, timestep = jax.vmap(game.step, (0, 0, 0, None))(keys, state, action, params)
        done = timestep.terminated | (t + 1 >= limit)

        def restart(carry: Carry) -> Carry:
            def choose(new: jax.Array, old: jax.Array) -> jax.Array:
                return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), new, old)

            return jax.tree.map(choose, start(reset_key), carry)

        carry = jax.lax.cond(done.any(), restart, lambda carry: carry, (state, t + 1))
        return carry, timestep.reward[:, 0], done

    return start, step


def scanned(start: Callable, step: Callable, num_envs: int, steps: int) -> Callable:
    """`key -> (carry, sum of rewards [E], number of episodes [E])` after `steps` steps."""

    def run(key: jax.Array) -> tuple[Carry, jax.Array, jax.Array]:
        start_key, scan_key = jax.random.split(key)

        def body(carry: Carry, _: None) -> tuple[Carry, None]:
            key, inner, total, episodes = carry
            key, step_key = jax.random.split(key)
            inner, reward, done = step(step_key, inner)
            return (key, inner, total + reward, episodes + done), None

        zeros = jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32)
        (_, inner, total, episodes), _ = jax.lax.scan(body, (scan_key, start(start_key), *zeros), None, steps)
        return inner, total, episodes

    return run


def compiled(start: Callable, step: Callable, num_envs: int, steps: int) -> Callable:
    """`scanned` as one program."""
    return jax.jit(scanned(start, step, num_envs, steps)).lower(seed_key(0)).compile()
