"""Episodes in which every joint action is planned, without training."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import Environment, pytree_dataclass

from jaxmarl_suite.search._checks import check_count
from jaxmarl_suite.search._environment import World, WorldParams
from jaxmarl_suite.search._model import check_discrete
from jaxmarl_suite.search._result import Search, best_action


@pytree_dataclass
class Played:
    """Results of E episodes."""

    returns: jax.Array  # [E] float32, undiscounted
    lengths: jax.Array  # [E] int32, steps
    is_over: jax.Array  # [E] bool: the episode ended within `max_steps`
    root_values: jax.Array  # [E] float32, the root value of the first search


def evaluate(
    search: Search,
    env: Environment,
    key: jax.Array,
    *,
    num_episodes: int,
    params: WorldParams | None = None,
    max_steps: int | None = None,
) -> Played:
    """Plays episodes in which each joint action is the best of a search that starts from the true state.

    All episodes are searched as a batch, in one compiled program. Consumes the key.

    Args:
      search: over an `environment_model`, or over any model whose inputs are a `World`.
      env: the environment to play.
      key: random key.
      num_episodes: E.
      params: parameters of the model and of the environment; the environment's defaults if None.
      max_steps: number of steps after which episodes are cut; the environment's limit if None.

    Raises:
      ValueError: continuous actions, numbers below 1, or an environment without a limit and no `max_steps`.
    """
    check_discrete(env.spec)
    check_count("num_episodes", num_episodes)
    steps = env.spec.episode_limit if max_steps is None else max_steps
    if steps is None:
        raise ValueError(f"{env.spec.id!r} has no time limit: say how long episodes may be with max_steps")
    check_count("max_steps", steps)
    params = WorldParams(env.default_params) if params is None else params
    return _play(search, env, params, key, num_episodes, steps)


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _play(
    search: Search, env: Environment, params: WorldParams, key: jax.Array, num_episodes: int, num_steps: int
) -> Played:
    reset_key, play_key = jax.random.split(key)
    keys = jax.random.split(reset_key, num_episodes)
    state, timestep = jax.vmap(env.reset, in_axes=(0, None))(keys, params.env)

    def step(carry: tuple[World, jax.Array, jax.Array], key: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        world, is_over, total = carry
        search_key, step_key = jax.random.split(key)
        found = search(params, search_key, world)
        keys = jax.random.split(step_key, num_episodes)
        played = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, world.state, best_action(found), params.env)
        reward = jnp.where(is_over, 0.0, played[1].reward.mean(-1))
        after = (World(*played), is_over | played[1].done, total + reward)
        return after, (is_over, found.value)

    start = (World(state, timestep), jnp.zeros(num_episodes, bool), jnp.zeros(num_episodes, jnp.float32))
    (_, is_over, returns), (was_over, values) = jax.lax.scan(step, start, jax.random.split(play_key, num_steps))
    return Played(returns, (~was_over).sum(0, dtype=jnp.int32), is_over, values[0])
