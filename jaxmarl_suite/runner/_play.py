"""Evaluation of policies on whole episodes, in compiled programs."""

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
    """Results of policies over E episodes, by names in rows. [L] in front if lanes are evaluated together.

    A stack of K policies has one name, and [K] before the episodes.
    """

    metrics: dict[str, jax.Array]  # [] or [K] float32 each: means over episodes
    cut: dict[str, jax.Array]  # [] or [K] float32, by the policy's return: share of episodes that did not end in time
    stuck: dict[str, jax.Array]  # the same: share of episodes in which some agent had no legal action
    episodes: dict[str, jax.Array]  # [E] or [K, E] float32: per-episode values of metrics whose quantiles are reported


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
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array, jax.Array]:
    """Plays E whole episodes: `(metrics [E] by name, done [E], steps [] int32, stuck [E])`.

    `done` says which episodes ended, `steps` when all had; an episode is stuck where some agent had no legal action.

    Consumes `key`.

    Args:
      env: one instance.
      act: `(carry, timestep [E, ...], key) -> (action [E, N], carry)`.
      carry: initial carry for E episodes.
      params: parameters of the environment.
      key: for episodes and actions.
      episodes: E.
      max_steps: if the environment has no limit of its own, episodes are cut after this many steps, and count as they
        are.
      sees_state: `act` is given `(state [E, ...], timestep)` instead of the timestep.
    """
    limit = env.spec.episode_limit or max_steps
    reset_key, run_key = jax.random.split(key)
    state, timestep = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, episodes), params)
    keys = jax.random.split(run_key, limit)

    def is_on(carried: tuple[jax.Array, Any, TimeStep, Any, jax.Array, jax.Array]) -> jax.Array:
        t, *_, done, _ = carried
        return (t < limit) & ~done.all()

    def step(
        carried: tuple[jax.Array, Any, TimeStep, Any, jax.Array, jax.Array],
    ) -> tuple[jax.Array, Any, TimeStep, Any, jax.Array, jax.Array]:
        t, state, timestep, carry, done, stuck = carried
        stuck = stuck | (~done & ~timestep.action_mask.any(-1).all(-1))
        act_key, step_key = jax.random.split(keys[t])
        action, carry = act(carry, (state, timestep) if sees_state else timestep, act_key)
        step_keys = jax.random.split(step_key, episodes)
        new_state, new = jax.vmap(env.step, (0, 0, 0, None))(step_keys, state, action, params)

        def freeze(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), old, new)

        # A finished episode is frozen, so that its last metrics are those of the whole episode.
        state, timestep = jax.tree.map(freeze, (state, timestep), (new_state, new))
        return t + 1, state, timestep, carry, done | timestep.done, stuck

    never = jnp.zeros((episodes,), bool)
    start = (jnp.zeros((), jnp.int32), state, timestep, carry, never, never)
    steps, _, timestep, _, done, stuck = jax.lax.while_loop(is_on, step, start)
    return episode_names(timestep.metrics), done, steps, stuck


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
    """Results of one policy; arguments as for `play`."""
    sizes = {"episodes": episodes, "max_steps": max_steps}
    found, done, _, stuck = play(env, act, carry, params, key, **sizes, sees_state=sees_state)
    return Played(
        {name: value.mean() for name, value in found.items()},
        {"return": (~done).mean(dtype=jnp.float32)},
        {"return": stuck.mean(dtype=jnp.float32)},
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
    """Results of `act` and, with their names as prefix, of the extra policies, all on the same episodes. Consumes
    `key`.

    `return` is undiscounted and averaged over agents.

    Args:
      algorithm: its `act` and `extra_acts` are evaluated.
      env: one instance; its parameters are in `ctx`.
      policy: policy of one lane.
      ctx: context for acting.
      key: for episodes and actions.
      episodes: E.
      max_steps: see `play`.
      is_batched: the members of a stack play as one batch; otherwise one after another, each until its own episodes
        end.
    """

    def achieve(act: ActFn, init_carry: Callable[[int], Any], policy: Any) -> Played:
        def acting(carry: Any, shown: Any, key: jax.Array) -> tuple[jax.Array, Any]:
            return act(policy, carry, shown, key, ctx)

        # The same key for all, so that policies are compared on the same episodes.
        carry = init_carry(episodes)
        sizes = {"episodes": episodes, "max_steps": max_steps}
        return play_policy(env, acting, carry, ctx.env_params, key, **sizes, sees_state=algorithm.sees_state)

    found = Played({}, {}, {}, {})
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
    """`(policies [L], ctx, keys [L]) -> Played [L]`: `evaluate_policy` over lanes; `axes` are those of their context."""
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
    """Merges several evaluations, as NumPy arrays: averages means over equally many episodes, and concatenates
    per-episode values.
    """

    def mean(*values: Any) -> Any:
        return np.mean([np.asarray(value) for value in values], axis=0)

    metrics, cut, stuck = jax.tree.map(mean, *[(played.metrics, played.cut, played.stuck) for played in batches])
    kept = [played.episodes for played in batches]
    return Played(metrics, cut, stuck, jax.tree.map(lambda *values: np.concatenate(values, axis=-1), *kept))


def played_fields(played: Played, lane: int, episodes: int, env: Environment) -> dict[str, Any]:
    """The fields of a lane's row that describe its evaluation in `env`; `cut` only if some episodes were cut.

    Raises:
      RuntimeError: if some agent had no legal action, so that what it did was not the policy's choice, or if episodes went
        on beyond the limit of the environment's own spec.
    """
    if worst := max((float(share) for _, share in _members(played.stuck, lane, 0)), default=0.0):
        raise RuntimeError(
            f"agents of {env.spec.id!r} had no legal action in {worst:.0%} of the evaluation episodes: action_mask must "
            "allow each agent at least one; `jaxmarl-suite envs --check` checks environments of your own"
        )
    cut = {name: float(share) for name, share in _members(played.cut, lane, 0) if share > 0}
    if cut and env.spec.episode_limit:
        raise RuntimeError(
            f"{max(cut.values()):.0%} of the evaluation episodes of {env.spec.id!r} had not ended after "
            f"spec.episode_limit={env.spec.episode_limit} steps: end them there (the wrapper TimeLimit does), or correct "
            "the limit; `jaxmarl-suite envs --check` checks environments of your own"
        )
    metrics = {name: float(value) for name, value in _members(played.metrics, lane, 0)}
    levels: Mapping[str, tuple[float, ...]] = dict(env.spec.quantiles)
    for name, values in _members(played.episodes, lane, 1):
        for level in levels[name.rpartition("/")[2]]:
            metrics[quantile_name(name, level)] = float(np.quantile(values.astype(np.float64), level))
    return {"metrics": metrics, "episodes": episodes, **({"cut": cut} if cut else {})}


def _members(named: Mapping[str, Any], lane: int, ndim: int) -> Iterator[tuple[str, np.ndarray]]:
    """A lane's arrays with `ndim` axes by name; for a stack, one per member, as in `library-3/return`."""
    for name, values in named.items():
        value = np.asarray(values[lane])
        if value.ndim == ndim:
            yield name, value
        else:
            policy, _, metric = name.partition("/")
            yield from ((f"{policy}-{index}/{metric}", one) for index, one in enumerate(value))


def eval_keys(seeds: jax.Array, index: jax.Array) -> jax.Array:
    """[L] keys for evaluation number `index`."""

    def one(seed: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(seed_key(seed), _EVAL_STREAM), index)

    return jax.vmap(one)(seeds)
