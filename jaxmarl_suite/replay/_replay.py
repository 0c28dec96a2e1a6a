"""Replay of whole items (here: stretches of play), uniform or prioritised, on flashbax's buffers."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Item = Any
ReplayState = Any


class Sample(NamedTuple):
    """B items drawn from a replay."""

    items: Item  # [B, ...]
    indices: jax.Array  # [B] int32, where they lie
    weight: jax.Array  # [B] float32, importance weights, at most 1; all 1 where drawn uniformly


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


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """Flashbax mixes dtypes and ranks, which tests (and users) may have forbidden."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def make_replay(capacity: int, batch_size: int, *, prioritised: bool = False, priority_exponent: float = 0.6) -> Replay:
    """A replay of `capacity` items from which `batch_size` are drawn.

    Args:
      capacity: items that are kept.
      batch_size: B.
      prioritised: draw in proportion to priority ** priority_exponent (Schaul et al. 2016) instead of uniformly; new
        items have the highest priority so far.
      priority_exponent: 0 for uniform.

    Raises:
      ValueError: where the capacity is smaller than a batch.
    """
    if capacity < batch_size:
        raise ValueError(f"capacity must be at least the batch of {batch_size} sequences, got {capacity}")
    from flashbax.buffers import prioritised_trajectory_buffer, trajectory_buffer

    sizes = {
        "add_batch_size": 1,
        "sample_batch_size": batch_size,
        "sample_sequence_length": 1,
        "period": 1,
        "min_length_time_axis": 1,
        "max_length_time_axis": capacity,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice for overlapping trajectories, which items are not
        if prioritised:
            buffer = prioritised_trajectory_buffer.make_prioritised_trajectory_buffer(
                **sizes, priority_exponent=priority_exponent, device=jax.default_backend()
            )
        else:
            buffer = trajectory_buffer.make_trajectory_buffer(**sizes)

    def add(state: ReplayState, items: Item) -> ReplayState:
        with _lenient():
            return buffer.add(state, jax.tree.map(lambda x: x[None], items))

    def sample(state: ReplayState, key: jax.Array, exponent: jax.Array) -> Sample:
        with _lenient():
            drawn = buffer.sample(state, key)
        items = jax.tree.map(lambda x: x[:, 0], drawn.experience)
        if not prioritised:
            return Sample(items, jnp.zeros((batch_size,), jnp.int32), jnp.ones((batch_size,)))
        count = jnp.where(state.is_full, capacity, state.current_index).astype(jnp.float32)
        weight = (count * drawn.probabilities) ** -exponent
        return Sample(items, drawn.indices, weight / weight.max())

    def set_priorities(state: ReplayState, index: jax.Array, priority: jax.Array) -> ReplayState:
        with _lenient():
            return buffer.set_priorities(state, index, priority) if prioritised else state

    def init(item: Item) -> ReplayState:
        with _lenient():
            return buffer.init(item)

    def split(state: ReplayState) -> Any:
        return state.replace(experience=())

    def join(light: Any, state: ReplayState) -> ReplayState:
        return light.replace(experience=state.experience)

    return Replay(init, add, sample, set_priorities, split, join)
