"""What policies achieve: whole episodes, in compiled programs."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import Environment, TimeStep, pytree_dataclass, seed_key
from jaxmarl_envs.core import quantile_name

from jaxmarl_suite.algorithms import ActContext, Algorithm, Stacked
from jaxmarl_suite.algorithms.core._types import ActFn, episode_names
from jaxmarl_suite.runner._placement import Placement

_EVAL_STREAM = 1_000_000  # folded into a lane's key before evaluations, far from the indices of phases


@pytree_dataclass
class Played:
    """What policies achieve over E episodes, by names in rows. [L] in front where lanes are evaluated together.

    Those of a stack of K policies have one name, and [K] before the episodes.
    """

    metrics: dict[str, jax.Array]  # [] or [K] float32 each: means over episodes
    cut: dict[str, jax.Array]  # [] or [K] float32, by the policy's return: share of episodes that did not end in time
    episodes: dict[str, jax.Array]  # [E] or [K, E] float32: of each episode, where quantiles are reported of a metric


def play(
    env: Environment,
    act: Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]],
    carry: Any,
    params: Any,
    key: jax.Array,
    *,
    episodes: int,
    max_steps: int,
    sees_state: bool = False,
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """`(metrics [E] by name, whether an episode ended [E], steps [] int32 until all had)`: plays E whole episodes.

    Consumes `key`.

    Args:
      env: of one instance.
      act: `(carry, timestep [E, ...], key) -> (action [E, N], carry)`.
      carry: memory for E episodes, at their start.
      params: of the environment.
      key: episodes and actions are drawn from it.
      episodes: E.
      max_steps: episodes are cut after so many steps where the environment has no limit of its own, and count as they are.
      sees_state: `act` is given `(state [E, ...], timestep)` in place of the timestep.
    """
    limit = env.spec.episode_limit or max_steps
    reset_key, run_key = jax.random.split(key)
    state, timestep = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, episodes), params)
    keys = jax.random.split(run_key, limit)

    def is_on(carried: tuple[jax.Array, Any, TimeStep, Any, jax.Array]) -> jax.Array:
        t, *_, done = carried
        return (t < limit) & ~done.all()

    def step(
        carried: tuple[jax.Array, Any, TimeStep, Any, jax.Array],
    ) -> tuple[jax.Array, Any, TimeStep, Any, jax.Array]:
        t, state, timestep, carry, done = carried
        act_key, step_key = jax.random.split(keys[t])
        action, carry = act(carry, (state, timestep) if sees_state else timestep, act_key)
        step_keys = jax.random.split(step_key, episodes)
        new_state, new = jax.vmap(env.step, (0, 0, 0, None))(step_keys, state, action, params)

        def freeze(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), old, new)

        # A finished episode stands still, so that its last metrics are those of the whole episode.
        state, timestep = jax.tree.map(freeze, (state, timestep), (new_state, new))
        return t + 1, state, timestep, carry, done | timestep.done

    start = (jnp.zeros((), jnp.int32), state, timestep, carry, jnp.zeros((episodes,), bool))
    steps, _, timestep, _, done = jax.lax.while_loop(is_on, step, start)
    return episode_names(timestep.metrics), done, steps


def play_policy(
    env: Environment,
    act: Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]],
    carry: Any,
    params: Any,
    key: jax.Array,
    *,
    episodes: int,
    max_steps: int,
    sees_state: bool = False,
) -> Played:
    """What one policy achieves; arguments as for `play`."""
    found, done, _ = play(env, act, carry, params, key, episodes=episodes, max_steps=max_steps, sees_state=sees_state)
    return Played(
        {name: value.mean() for name, value in found.items()},
        {"return": 1.0 - done.mean(dtype=jnp.float32)},
        {name: found[name] for name, _ in env.spec.quantiles},
    )


def evaluate_policy(
    algorithm: Algorithm,
    env: Environment,
    policy: Any,
    ctx: ActContext,
    key: jax.Array,
    *,
    episodes: int,
    max_steps: int,
    is_batched: bool = False,
) -> Played:
    """What `act` and, prefixed by their names, the extra policies achieve, all on the same episodes. Consumes `key`.

    `return` is undiscounted and averaged over agents.

    Args:
      algorithm: acts.
      env: of one instance; its parameters are in `ctx`.
      policy: of one lane.
      ctx: what acting may read.
      key: episodes are drawn from it.
      episodes: E.
      max_steps: see `play`.
      is_batched: the members of a stack play at once; otherwise one after another, each until its own episodes end.
    """

    def achieve(act: ActFn, init_carry: Callable[[int], Any], policy: Any) -> Played:
        def acting(carry: Any, shown: Any, key: jax.Array) -> tuple[jax.Array, Any]:
            return act(policy, carry, shown, key, ctx)

        # The same key for all, so that policies are compared on the same episodes.
        carry = init_carry(episodes)
        sizes = {"episodes": episodes, "max_steps": max_steps}
        return play_policy(env, acting, carry, ctx.env_params, key, **sizes, sees_state=algorithm.sees_state)

    found = Played({}, {}, {})
    for name, act in {"": algorithm.act, **algorithm.extra_acts}.items():
        if isinstance(act, Stacked):
            one = functools.partial(achieve, act.act, act.init_carry or algorithm.init_carry)
            members = act.members(policy)
            played = jax.vmap(one)(members) if is_batched else jax.lax.map(one, members)
        else:
            played = achieve(act, algorithm.init_carry, policy)
        prefix = f"{name}/" if name else ""
        for field in dataclasses.fields(Played):
            own = getattr(played, field.name)
            getattr(found, field.name).update({prefix + metric: value for metric, value in own.items()})
    return found


def evaluation(
    placement: Placement, algorithm: Algorithm, env: Environment, axes: Any, *, episodes: int, max_steps: int
) -> Callable[[Any, ActContext, jax.Array], Played]:
    """`(policies [L], ctx, keys [L]) -> Played [L]`: `evaluate_policy` over lanes, whose context has these `axes`."""
    fn = functools.partial(
        evaluate_policy,
        algorithm,
        env,
        episodes=episodes,
        max_steps=max_steps,
        is_batched=placement.mode != "map",
    )
    return placement.over_lanes(fn, (True, axes, True))


def mean_played(batches: list[Played]) -> Played:
    """Several evaluations as one, as NumPy arrays: means of those of equally many episodes, and all episodes' values."""

    def mean(*values: Any) -> Any:
        return np.mean([np.asarray(value) for value in values], axis=0)

    metrics, cut = jax.tree.map(mean, *[(played.metrics, played.cut) for played in batches])
    kept = [played.episodes for played in batches]
    return Played(metrics, cut, jax.tree.map(lambda *values: np.concatenate(values, axis=-1), *kept))


def played_fields(played: Played, lane: int, episodes: int, env: Environment) -> dict[str, Any]:
    """What a lane's row says of its evaluation in `env`; of episodes that were cut only where there are some."""
    metrics = {name: float(value) for name, value in _members(played.metrics, lane, 0)}
    levels: Mapping[str, tuple[float, ...]] = dict(env.spec.quantiles)
    for name, values in _members(played.episodes, lane, 1):
        for level in levels[name.rpartition("/")[2]]:
            metrics[quantile_name(name, level)] = float(np.quantile(values.astype(np.float64), level))
    cut = {name: float(share) for name, share in _members(played.cut, lane, 0) if share > 0}
    return {"metrics": metrics, "episodes": episodes, **({"cut": cut} if cut else {})}


def _members(named: Mapping[str, Any], lane: int, ndim: int) -> Iterator[tuple[str, np.ndarray]]:
    """A lane's arrays of `ndim` axes by name: of a stack, each member's, as `library-3/return`."""
    for name, values in named.items():
        value = np.asarray(values[lane])
        if value.ndim == ndim:
            yield name, value
        else:
            policy, _, metric = name.partition("/")
            yield from ((f"{policy}-{index}/{metric}", one) for index, one in enumerate(value))


def eval_keys(seeds: jax.Array, index: jax.Array) -> jax.Array:
    """[L] keys of evaluation number `index`."""

    def one(seed: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(seed_key(seed), _EVAL_STREAM), index)

    return jax.vmap(one)(seeds)
