"""A ring of transitions in the order of time, one an environment, with a regression target beside each (GEM's memory).

Targets look forward along what is stored (`ops.episodic_targets`) and are computed anew for the whole ring at a time, from
bootstraps that are computed in chunks. flashbax's rings cannot be written back to, so this one is a plain pytree.

Deviations from the released code (arXiv 2103.06469), which stores whole episodes when they end: steps are stored as they
come, and the newest one of a running episode bootstraps as at a time limit. It also fills in Monte-Carlo returns until the
next refresh; here a target that was never computed is NaN, so that a missed refresh shows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass


@pytree_dataclass
class Transition:
    """What a step was taken from, what it did and what it led to. Observations may be any pytree."""

    obs: Any  # [...]
    action: Any  # [...]
    reward: jax.Array  # [] float32
    next_obs: Any  # [...] what the step led to, before any reset
    terminated: jax.Array  # [] bool
    truncated: jax.Array  # [] bool


@pytree_dataclass
class EpisodicState:
    """Rings of E environments that are written together. C steps each, K targets a step."""

    experience: Any  # Transition [C, E, ...]; () where it was left behind
    target: jax.Array  # [C, E, K] float32
    head: jax.Array  # [] int32, where the next step goes; the oldest lies there once the rings are full
    filled: jax.Array  # [] int32, steps that an environment has stored, at most C


class EpisodicSample(NamedTuple):
    """B transitions, drawn uniformly with replacement."""

    transitions: Transition  # [B, ...]
    target: jax.Array  # [B, K] float32
    indices: jax.Array  # [B] int32, step * E + environment


BootstrapFn = Callable[[Transition, jax.Array], jax.Array]
"""`(transitions [B, ...], key) -> [B, K]`: each estimator's value of what the transitions led to. Consumes the key."""
TargetsFn = Callable[..., jax.Array]
"""`(reward [C, E], bootstrap [C, E, K], terminated, truncated, valid=...) -> [C, E, K]` in the order of time, such as
`partial(ops.episodic_targets, gamma=gamma)`."""


class EpisodicRing(NamedTuple):
    """Pure functions of an `EpisodicState`. All but `init` and `sample` may be given a donated state."""

    init: Callable[[Transition], EpisodicState]
    """Empty rings for transitions shaped like this one, of one environment."""
    add: Callable[[EpisodicState, Transition], EpisodicState]
    """`(state, transitions [T, E, ...])`: T more steps of every environment; the oldest go where there is no room."""
    refresh: Callable[..., EpisodicState]
    """`(state, bootstrap_fn, targets_fn, key, num_stored=None)`: every stored target anew. Consumes `key`.

    `num_stored` [] int32, at least `filled`: bootstraps are computed for as many steps of each environment only. It saves
    work while the rings are not full, and should come from a counter that lanes share, since the number of chunks hangs on
    it: on a batched one every lane computes as long as the longest, and copies its bootstraps in every chunk.
    """
    sample: Callable[[EpisodicState, jax.Array], EpisodicSample]
    """`(state, key)`: B transitions of those that are stored, at least one. Consumes `key`."""
    split: Callable[[EpisodicState], Any]
    """The state without its transitions: what branches and loops pass on, where those would be copied."""
    join: Callable[[Any, EpisodicState], EpisodicState]
    """`(what split gave, state with the transitions) -> state`."""


def make_episodic_ring(
    num_steps: int, num_envs: int, batch_size: int, *, num_targets: int = 2, chunk_size: int = 4096
) -> EpisodicRing:
    """Rings of `num_steps` transitions for each of `num_envs` environments.

    Args:
      num_steps: C. All in all C * E transitions are kept.
      num_envs: E. The order of time holds within an environment, so each has its own ring.
      batch_size: B.
      num_targets: K, estimators and targets of a transition, 1 or 2.
      chunk_size: transitions whose bootstraps are computed at once, which bounds the memory of a refresh.

    Raises:
      ValueError: for sizes that cannot be.
    """
    sizes = {"num_steps": num_steps, "num_envs": num_envs, "batch_size": batch_size, "chunk_size": chunk_size}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")
    if num_targets not in (1, 2):
        raise ValueError(f"num_targets must be 1 or 2, got {num_targets!r}")
    total = num_steps * num_envs
    chunk = min(chunk_size, total)

    def flat(tree: Any) -> Any:
        """[C, E, ...] to [C E, ...]: stored transitions come first, as long as the rings are not full."""
        return jax.tree.map(lambda x: x.reshape(total, *x.shape[2:]), tree)

    def init(transition: Transition) -> EpisodicState:
        _check_scalars(transition)
        empty = jax.tree.map(lambda x: jnp.zeros((num_steps, num_envs, *jnp.shape(x)), jnp.result_type(x)), transition)
        target = jnp.full((num_steps, num_envs, num_targets), jnp.nan)
        return EpisodicState(empty, target, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def add(state: EpisodicState, transitions: Transition) -> EpisodicState:
        steps = transitions.reward.shape[0]
        if transitions.reward.shape != (steps, num_envs) or not 0 < steps <= num_steps:
            raise ValueError(
                f"transitions must be [T, {num_envs}, ...] with T from 1 to {num_steps}, got rewards of shape "
                f"{transitions.reward.shape}"
            )
        at = (state.head + jnp.arange(steps)) % num_steps
        experience = jax.tree.map(
            lambda ring, new: ring.at[at].set(new, unique_indices=True), state.experience, transitions
        )
        return EpisodicState(
            experience,
            state.target.at[at].set(jnp.nan, unique_indices=True),
            (state.head + steps) % num_steps,
            jnp.minimum(state.filled + steps, num_steps),
        )

    def bootstraps(state: EpisodicState, bootstrap_fn: BootstrapFn, key: jax.Array, steps: Any) -> jax.Array:
        """[C, E, K], a chunk at a time; the last one begins earlier where the chunks do not fit evenly."""
        experience = flat(state.experience)

        def fill(i: jax.Array, found: jax.Array) -> jax.Array:
            start = jnp.minimum(i * chunk, total - chunk)
            part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, chunk), experience)
            values = bootstrap_fn(part, jax.random.fold_in(key, i))
            if values.shape != (chunk, num_targets):
                raise ValueError(
                    f"bootstrap_fn must give [B, {num_targets}] for B transitions, got {values.shape} for {chunk}"
                )
            return jax.lax.dynamic_update_slice_in_dim(found, values, start, 0)

        num_chunks = -(-(num_envs * steps) // chunk)
        found = jax.lax.fori_loop(0, num_chunks, fill, jnp.zeros((total, num_targets)))
        return found.reshape(num_steps, num_envs, num_targets)

    def refresh(
        state: EpisodicState,
        bootstrap_fn: BootstrapFn,
        targets_fn: TargetsFn,
        key: jax.Array,
        num_stored: jax.Array | int | None = None,
    ) -> EpisodicState:
        steps = num_steps if num_stored is None else jnp.minimum(num_stored, num_steps)
        bootstrap = bootstraps(state, bootstrap_fn, key, steps)
        experience = state.experience
        # Turned so that the oldest step comes first and the newest last: the write head is then the end of the arrays.
        scalars = (experience.reward, bootstrap, experience.terminated, experience.truncated)
        in_time = [jnp.roll(x, -state.head, axis=0) for x in scalars]
        is_stored = jnp.arange(num_steps)[:, None] >= num_steps - state.filled
        valid = jnp.broadcast_to(is_stored, (num_steps, num_envs))
        target = jnp.where(valid[..., None], targets_fn(*in_time, valid=valid), jnp.nan)
        return dataclasses.replace(state, target=jnp.roll(target, state.head, axis=0))

    def sample(state: EpisodicState, key: jax.Array) -> EpisodicSample:
        index = jax.random.randint(key, (batch_size,), 0, jnp.maximum(state.filled, 1) * num_envs)
        # By two indices: a flat view of the rings could be a copy of them.
        step, env = index // num_envs, index % num_envs
        return EpisodicSample(
            jax.tree.map(lambda x: x[step, env], state.experience), state.target[step, env], index.astype(jnp.int32)
        )

    def split(state: EpisodicState) -> Any:
        return dataclasses.replace(state, experience=())

    def join(light: Any, state: EpisodicState) -> EpisodicState:
        return dataclasses.replace(light, experience=state.experience)

    return EpisodicRing(init, add, refresh, sample, split, join)


def _check_scalars(transition: Transition) -> None:
    for name, dtype in (("reward", jnp.float32), ("terminated", jnp.bool_), ("truncated", jnp.bool_)):
        value = getattr(transition, name)
        if jnp.shape(value) != () or jnp.result_type(value) != dtype:
            raise ValueError(
                f"a transition's {name} must be one {dtype.__name__}, got {jnp.result_type(value)} of shape "
                f"{jnp.shape(value)}; a team's reward is stored once, not once an agent"
            )
