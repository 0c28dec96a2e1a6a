"""Replay of whole items (here: stretches of play), uniform or prioritised, on flashbax's ring.

Priorities are an array beside the ring, summed anew at every draw. flashbax's own sum tree adds differences to sums in
single precision, so that after a large priority the sums are no longer those of the leaves, and draws fall on leaves
without an item (whose importance weight is infinite); and it rounds the priority of new items down to a whole number.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass
from jaxmarl_envs.core import documented

from jaxmarl_suite.replay._steps import with_int32_index

Item = Any
ReplayState = Any


@pytree_dataclass
class PrioritisedState:
    """A ring with priorities."""

    experience: Item  # [1, capacity, ...]
    current_index: jax.Array  # [] int32, where the next item goes
    is_full: jax.Array  # [] bool
    priority: jax.Array  # [capacity] float32, with the exponent applied; 0 where there is no item yet
    highest: jax.Array  # [] float32, the highest so far, at least 1


@documented
class Sample(NamedTuple):
    """B items drawn from a replay."""

    items: Item  # [B, ...]
    indices: jax.Array  # [B] int32, where they lie
    weight: jax.Array  # [B] float32, importance weights, at most 1; all 1 where drawn uniformly


@documented
class Replay(NamedTuple):
    """Pure functions of a ring of items; the state is a pytree whose experience is [1, capacity, ...]."""

    init: Callable[[Item], ReplayState]
    """An empty ring for items shaped like this one."""
    add: Callable[[ReplayState, Item], ReplayState]
    """`(state, items [E, ...])`: the oldest ones go where there is no room."""
    sample: Callable[[ReplayState, jax.Array, jax.Array], Sample]
    """`(state, key, importance exponent [])`: needs at least one item; with replacement. Consumes `key`."""
    set_priorities: Callable[[ReplayState, jax.Array, jax.Array], ReplayState]
    """`(state, index [B], priority [B] > 0)`; does nothing where items are drawn uniformly."""
    split: Callable[[ReplayState], Any]
    """The state without its items: what branches and loops pass on, where the items would be copied."""
    join: Callable[[Any, ReplayState], ReplayState]
    """`(what split gave, state with the items) -> state`."""


def make_replay(capacity: int, batch_size: int, *, prioritised: bool = False, priority_exponent: float = 0.6) -> Replay:
    """A replay of `capacity` items from which `batch_size` are drawn.

    Args:
      capacity: items that are kept.
      batch_size: B.
      prioritised: draw in proportion to priority ** priority_exponent (Schaul et al. 2016) instead of uniformly; new
        items have the highest priority so far.
      priority_exponent: 0 for uniform.

    Raises:
      ValueError: where the capacity is smaller than a batch, or the exponent out of range.
    """
    if capacity < batch_size:
        raise ValueError(f"capacity must be at least the batch of {batch_size} sequences, got {capacity}")
    if not 0 <= priority_exponent <= 1:
        raise ValueError(f"priority_exponent must lie between 0 and 1, got {priority_exponent}")
    from flashbax.buffers import trajectory_buffer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice for overlapping trajectories, which items are not
        ring = trajectory_buffer.make_trajectory_buffer(
            add_batch_size=1,
            sample_batch_size=batch_size,
            sample_sequence_length=1,
            period=1,
            min_length_time_axis=1,
            max_length_time_axis=capacity,
        )

    def init(item: Item) -> ReplayState:
        state = with_int32_index(ring.init(item))
        if not prioritised:
            return state
        return PrioritisedState(
            state.experience,
            state.current_index,
            state.is_full,
            jnp.zeros((capacity,), jnp.float32),
            jnp.ones((), jnp.float32),
        )

    def add(state: ReplayState, items: Item) -> ReplayState:
        batch = jax.tree.map(lambda x: x[None], items)
        if not prioritised:
            return ring.add(state, batch)
        bare = trajectory_buffer.TrajectoryBufferState(
            experience=state.experience, current_index=state.current_index, is_full=state.is_full
        )
        after = ring.add(bare, batch)
        at = (state.current_index + jnp.arange(jax.tree.leaves(items)[0].shape[0])) % capacity
        priority = state.priority.at[at].set(state.highest)
        return PrioritisedState(after.experience, after.current_index, after.is_full, priority, state.highest)

    def sample(state: ReplayState, key: jax.Array, exponent: jax.Array) -> Sample:
        count = jnp.where(state.is_full, capacity, state.current_index)
        if not prioritised:
            index, weight = (
                jax.random.randint(key, (batch_size,), 0, count, jnp.int32),
                jnp.ones((batch_size,), jnp.float32),
            )
        else:
            # One draw from each of B equal parts of the whole, as in the paper's appendix.
            upto = jnp.cumsum(state.priority)
            where = (
                jnp.arange(batch_size, dtype=jnp.float32) + jax.random.uniform(key, (batch_size,), jnp.float32)
            ) / batch_size
            index = jnp.searchsorted(upto, where * upto[-1], side="right").astype(jnp.int32)
            index = jnp.minimum(index, count - 1)  # the last product may be rounded up to the sum
            # (N P(i))^-b over its largest value in the batch: N and the sum of the priorities cancel.
            drawn = state.priority[index]
            weight = (drawn / drawn.min()) ** -exponent
        return Sample(jax.tree.map(lambda x: x[0, index], state.experience), index, weight)

    def set_priorities(state: ReplayState, index: jax.Array, priority: jax.Array) -> ReplayState:
        if not prioritised:
            return state
        scaled = priority**priority_exponent
        highest = jnp.maximum(state.highest, scaled.max())
        return dataclasses.replace(state, priority=state.priority.at[index].set(scaled), highest=highest)

    def split(state: ReplayState) -> Any:
        return dataclasses.replace(state, experience=())

    def join(light: Any, state: ReplayState) -> ReplayState:
        return dataclasses.replace(light, experience=state.experience)

    return Replay(init, add, sample, set_priorities, split, join)
