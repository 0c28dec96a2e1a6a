"""The experience store: a ring of steps per environment, in time order.

An update appends one block of L steps for each of E environments. Observations (with global states and action masks)
are stored once per step, not twice: the next observation of a step is the next entry. Only a step at which an episode
was cut needs a separate entry, the observation before the restart. The entries of one environment are rows of one
array, so that reading a next observation is one lookup in either case:

    rows 0 .. C - 1         what was observed before each of the C = `capacity` steps
    row C                   what was observed after the newest step
    rows C + 1 .. C + F     a ring of observations at which episodes were cut

An episode is cut where it is truncated, or at the end of a block if the next one starts with a reset
(`is_continuous=False`). A time limit of T steps cuts at most once in T steps, so F = ceil(C / T) rows are enough. An
environment that truncates more often than its `episode_limit` overwrites rows while their steps are still stored. Such
steps are marked (`is_known` is False), and n-step returns and windows take this into account.

A store has two parts. The `Head` is small: the position of the next block, and priorities. Sampling needs nothing
else. The `Contents` are large, and read-only between additions. Branches and loops that carry the head and close over
the contents do not copy anything.

flashbax keeps whole steps in its rings: it supports neither two kinds of rows in one array nor entries per block. Here
a block never wraps around (the capacity is a multiple of L), so adding one is a `dynamic_update_slice`, in place if
the store is donated.

Axes: E environments, C capacity, L block length, B drawn items, W window length.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass


@dataclasses.dataclass(frozen=True)
class StoreLayout:
    """The static sizes of a store.

    Raises:
      ValueError: sizes below 1, an unknown kind of priorities, or an exponent outside [0, 1].
    """

    num_envs: int
    """E."""
    num_blocks: int
    """Blocks kept per environment."""
    block_length: int
    """L, steps that an update adds per environment."""
    episode_limit: int | None = None
    """Minimum number of steps between two truncations of one environment; None if any step may be truncated."""
    priorities: Literal["none", "block", "step"] = "none"
    """Units that have priorities."""
    priority_exponent: float = 0.6
    """Units are sampled in proportion to priority ** priority_exponent (Schaul et al. 2016, eq. 1)."""
    is_continuous: bool = True
    """Whether the first step of a block follows the last one of the previous block. False if every block starts with a
    reset."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        for name in ("num_envs", "num_blocks", "block_length", "episode_limit"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"a store needs {name} of at least 1, got {size}")
        if self.priorities not in ("none", "block", "step"):
            raise ValueError(f"priorities must be 'none', 'block' or 'step', got {self.priorities!r}")
        if not 0 <= self.priority_exponent <= 1:
            raise ValueError(f"priority_exponent must lie between 0 and 1, got {self.priority_exponent}")

    @property
    def capacity(self) -> int:
        """C, steps kept per environment."""
        return self.num_blocks * self.block_length

    @property
    def num_finals(self) -> int:
        """F, rows per environment for observations at which episodes were cut."""
        return self.finals_in(self.capacity)

    def finals_in(self, length: int) -> int:
        """Maximum number of cuts within `length` consecutive steps of one environment."""
        if self.episode_limit is None:
            return length
        cuts = math.ceil(length / self.episode_limit)
        if not self.is_continuous:
            cuts += math.ceil(length / self.block_length)
        return min(length, cuts)

    @property
    def unit_length(self) -> int:
        """Steps that share a priority: 1 or L."""
        return 1 if self.priorities == "step" else self.block_length


@pytree_dataclass
class Block:
    """The data of an update: L steps of E environments. `observed`, `observed_after` and `final` have the same
    structure.
    """

    steps: Any  # [E, L, ...] stored once per step: actions, rewards
    observed: Any  # [E, L, ...] before each step
    observed_after: Any  # [E, ...] after the last step; the next episode's first where one ended there
    final: Any  # [E, L, ...] after each step, before any restart; used where episodes are cut
    terminated: jax.Array  # [E, L] bool, nothing follows
    truncated: jax.Array  # [E, L] bool, the episode was cut; values are bootstrapped
    start: Any  # [E, ...] carried into the first step, such as recurrent state; () for nothing


@pytree_dataclass
class Head:
    """The small part of a store, which is all that sampling needs. U units of one step or one block each have
    priorities.
    """

    next_slot: jax.Array  # [] int32, where the next block begins
    num_stored: jax.Array  # [] int32, steps stored per environment
    priority: (
        jax.Array
    )  # [U, E] float32, with the exponent applied; 0 where nothing is stored; [0, E] without priorities
    highest: jax.Array  # [] float32, the highest priority so far with the exponent applied, at least 1


@pytree_dataclass
class Contents:
    """The large part of a store. It changes when blocks are added, and is only read in between."""

    steps: Any  # [E, C, ...]
    observed: Any  # [E, C + 1 + F, ...], rows as in the module's docstring
    terminated: jax.Array  # [E, C] bool
    truncated: jax.Array  # [E, C] bool
    final_number: jax.Array  # [E, C] int32, number of this cut among all of the environment, from 0; -1 for no cut
    num_cuts: jax.Array  # [E] int32, cuts so far
    start: Any  # [E, C / L, ...]


@pytree_dataclass
class Store:
    """An experience store."""

    head: Head
    contents: Contents


def new_store(layout: StoreLayout, block: Block) -> Store:
    """An empty store; everything read from it is zero.

    Args:
      layout: static sizes.
      block: arrays or `jax.ShapeDtypeStruct`s with the shapes and dtypes of future blocks.

    Raises:
      ValueError: the block does not have E environments and L steps, or `final` has different fields than `observed`.
    """
    _check_block(layout, block)
    envs, capacity, rows = layout.num_envs, layout.capacity, layout.capacity + 1 + layout.num_finals

    def zeros(tree: Any, rows: int, axes: int) -> Any:
        return jax.tree.map(lambda x: jnp.zeros((envs, rows, *x.shape[axes:]), x.dtype), tree)

    units = 0 if layout.priorities == "none" else capacity // layout.unit_length
    head = Head(
        next_slot=jnp.zeros((), jnp.int32),
        num_stored=jnp.zeros((), jnp.int32),
        priority=jnp.zeros((units, envs), jnp.float32),
        highest=jnp.ones((), jnp.float32),
    )
    contents = Contents(
        steps=zeros(block.steps, capacity, 2),
        observed=zeros(block.observed, rows, 2),
        terminated=jnp.zeros((envs, capacity), bool),
        truncated=jnp.zeros((envs, capacity), bool),
        final_number=jnp.full((envs, capacity), -1, jnp.int32),
        num_cuts=jnp.zeros((envs,), jnp.int32),
        start=zeros(block.start, layout.num_blocks, 1),
    )
    return Store(head, contents)


def _check_block(layout: StoreLayout, block: Block) -> None:
    expected = (layout.num_envs, layout.block_length)
    of_steps = (block.steps, block.observed, block.final, block.terminated, block.truncated)
    for x in jax.tree.leaves(of_steps):
        if x.shape[:2] != expected:
            raise ValueError(
                f"a block of this store begins with the axes {expected} (environments, steps), got {x.shape}"
            )
    for x in jax.tree.leaves((block.observed_after, block.start)):
        if x.shape[:1] != expected[:1]:
            raise ValueError(
                f"observed_after and start begin with the axis {expected[:1]} (environments), got {x.shape}"
            )
    observed, final = (jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (block.observed, block.final))
    if observed != final:
        raise ValueError(f"final must have the fields of observed, {observed}, got {final}")


def add_block(layout: StoreLayout, store: Store, block: Block) -> Store:
    """The store with one more block, which replaces the oldest one if it is full. In place if the store is donated.

    Args:
      layout: static sizes.
      store: consumed.
      block: the new block; its priority is the highest so far.
    """
    return Store(_advance(layout, store.head), _write(layout, store.contents, store.head.next_slot, block))


def _advance(layout: StoreLayout, head: Head) -> Head:
    """The head after one more block."""
    priority = head.priority
    if layout.priorities != "none":
        units = layout.block_length // layout.unit_length
        new = jnp.broadcast_to(head.highest, (units, layout.num_envs))
        priority = jax.lax.dynamic_update_slice_in_dim(priority, new, head.next_slot // layout.unit_length, axis=0)
    return Head(
        next_slot=(head.next_slot + layout.block_length) % layout.capacity,
        num_stored=jnp.minimum(head.num_stored + layout.block_length, layout.capacity),
        priority=priority,
        highest=head.highest,
    )


def _write(layout: StoreLayout, contents: Contents, slot: jax.Array, block: Block) -> Contents:
    """The contents with a block at `slot`."""
    capacity = layout.capacity
    is_cut = block.truncated
    if not layout.is_continuous:
        is_cut = is_cut.at[:, -1].set(is_cut[:, -1] | ~block.terminated[:, -1])
    count = jnp.cumsum(is_cut, axis=1, dtype=jnp.int32)
    number = jnp.where(is_cut, contents.num_cuts[:, None] + count - 1, -1)
    num_cuts = contents.num_cuts + count[:, -1]
    # If a block has more cuts than there are rows, the last ones are kept.
    is_kept = is_cut & (number >= num_cuts[:, None] - layout.num_finals)
    row = jnp.where(is_kept, capacity + 1 + number % layout.num_finals, capacity + 1 + layout.num_finals)
    env = jnp.arange(layout.num_envs, dtype=jnp.int32)[:, None]

    def along(whole: Any, part: Any, start: jax.Array | int) -> Any:
        return jax.tree.map(lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, start, axis=1), whole, part)

    def alone(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[:, None], tree)

    observed = along(contents.observed, block.observed, slot)
    observed = along(observed, alone(block.observed_after), capacity)
    observed = jax.tree.map(lambda x, y: x.at[env, row].set(y, mode="drop"), observed, block.final)
    return Contents(
        steps=along(contents.steps, block.steps, slot),
        observed=observed,
        terminated=along(contents.terminated, block.terminated, slot),
        truncated=along(contents.truncated, block.truncated, slot),
        final_number=along(contents.final_number, number, slot),
        num_cuts=num_cuts,
        start=along(contents.start, alone(block.start), slot // layout.block_length),
    )


def write_steps(field: Any, env: jax.Array, slot: jax.Array, values: Any, where: jax.Array | None = None) -> Any:
    """A pytree of fields [E, C, ...] with new values at some steps, such as fresh targets at the steps of windows.

    Args:
      field: consumed; a part of `contents.steps`, or arrays aligned with the store.
      env: [*] int32.
      slot: [*] int32.
      values: [*, ...], with the structure of `field`. If a step occurs twice, one of its values is kept.
      where: [*] bool, where to write; None for all.
    """

    def write(x: jax.Array, y: jax.Array) -> jax.Array:
        at = slot if where is None else jnp.where(where, slot, x.shape[1])
        return x.at[env, at].set(y, mode="drop")

    return jax.tree.map(write, field, values)


def bytes_per_step(layout: StoreLayout, store: Any) -> float:
    """Bytes that a store needs per step of capacity, including priorities.

    Args:
      layout: static sizes.
      store: a `Store` of arrays or of `jax.ShapeDtypeStruct`s.
    """
    total = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(store))
    return total / (layout.num_envs * layout.capacity)
