"""Sampling from an experience store: steps and blocks, uniformly or in proportion to priorities. Only its head is read.

Priorities are summed again for every draw, because a sum tree that is updated by differences drifts in single
precision.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented

from jaxmarl_suite.replay._experience import Head, StoreLayout


@documented
class Places(NamedTuple):
    """Locations in a store of sampled steps, or of the first steps of sampled blocks and windows."""

    env: jax.Array  # [*] int32
    slot: jax.Array  # [*] int32 in 0..C-1
    weight: jax.Array  # [*] float32, importance weights, at most 1; all 1 if sampled uniformly


def slots_in_time(layout: StoreLayout, head: Head, position: jax.Array) -> jax.Array:
    """[*] int32 slots of the steps at these positions in time; 0 is the oldest stored step of each environment."""
    oldest = head.next_slot - head.num_stored
    return (oldest + position) % layout.capacity


def positions_in_time(layout: StoreLayout, head: Head, slot: jax.Array) -> jax.Array:
    """[*] int32 positions in time of the steps in these slots; 0 is the oldest stored step of each environment."""
    return (slot - (head.next_slot - head.num_stored)) % layout.capacity


def draw_steps(layout: StoreLayout, head: Head, key: jax.Array, shape: tuple[int, ...], *, ahead: int = 0) -> Places:
    """Places [*shape] of steps, uniform over all stored steps, with replacement; needs at least one stored step.

    Args:
      layout: static sizes.
      head: head of the store.
      key: consumed.
      shape: shape of the result.
      ahead: number of stored steps that must follow a sampled one: W - 1 for complete windows of W steps. If fewer
        steps are stored, the oldest one is returned.
    """
    env_key, position_key = jax.random.split(key)
    count = jnp.maximum(head.num_stored - ahead, 1)
    env = jax.random.randint(env_key, shape, 0, layout.num_envs, jnp.int32)
    position = jax.random.randint(position_key, shape, 0, count, jnp.int32)
    return Places(env, slots_in_time(layout, head, position), jnp.ones(shape, jnp.float32))


def draw_by_age(
    layout: StoreLayout,
    head: Head,
    key: jax.Array,
    shape: tuple[int, ...],
    weights: tuple[float, ...],
    *,
    ahead: int = 0,
) -> Places:
    """Places [*shape] of steps, with replacement: the stored time is divided into equal parts, oldest first, and each part
    gets its share of the draws. Within a part all steps are equally likely.

    Args:
      layout: static sizes.
      head: head of the store.
      key: consumed.
      shape: shape of the result.
      weights: positive numbers, one per part, of any sum.
      ahead: as in `draw_steps`.

    Raises:
      ValueError: no weights, or some that are not positive.
    """
    if not weights or min(weights) <= 0:
        raise ValueError(f"draw_by_age needs positive weights of at least one part, got {weights}")
    env_key, position_key = jax.random.split(key)
    count = jnp.maximum(head.num_stored - ahead, 1)
    env = jax.random.randint(env_key, shape, 0, layout.num_envs, jnp.int32)
    upto = np.cumsum(np.array([0.0, *weights]) / sum(weights)).astype(np.float32)
    # The inverse of a distribution that is uniform within each part.
    part = jnp.interp(jax.random.uniform(position_key, shape, jnp.float32), upto, np.linspace(0, 1, len(upto)))
    position = jnp.minimum((part * count.astype(jnp.float32)).astype(jnp.int32), count - 1)
    return Places(env, slots_in_time(layout, head, position), jnp.ones(shape, jnp.float32))


def draw_blocks(layout: StoreLayout, head: Head, key: jax.Array, shape: tuple[int, ...]) -> Places:
    """Places [*shape] of blocks, uniform over all stored blocks, with replacement; needs at least one. Consumes `key`."""
    count = (head.num_stored // layout.block_length) * layout.num_envs
    index = jax.random.randint(key, shape, 0, count, jnp.int32)
    return _places(index, layout.block_length, layout.num_envs, jnp.ones(shape, jnp.float32))


def draw_by_priority(
    layout: StoreLayout,
    head: Head,
    key: jax.Array,
    batch_size: int,
    importance_exponent: jax.Array | float,
    *,
    replace: bool = True,
    ahead: int = 0,
) -> Places:
    """Places [B] of blocks or steps (whichever have priorities), sampled in proportion to them (Schaul et al. 2016).

    With replacement, the sum is divided into B equal parts, with one draw from each (appendix B.2.1). Weights are (N
    P(i))^-β divided by the maximum of the batch.

    Args:
      layout: static sizes, with priorities.
      head: head of a store with at least one stored step.
      key: consumed.
      batch_size: B.
      importance_exponent: [] β.
      replace: sample with replacement. Otherwise B different ones are sampled, each in proportion to the remaining
        ones (Gumbel top-k); if there are fewer, the rest have weight 0 and are ignored by `set_priorities`.
      ahead: as in `draw_steps`; only for priorities of steps.

    Raises:
      ValueError: the layout has no priorities, `ahead` is invalid, or B is larger than the store.
    """
    num_units = layout.capacity // layout.unit_length * layout.num_envs
    if layout.priorities == "none":
        raise ValueError("draw_by_priority needs a layout with priorities of 'block' or 'step', got 'none'")
    if ahead and layout.priorities != "step":
        raise ValueError(f"ahead is for priorities of steps, got {ahead} with priorities of blocks")
    if not replace and batch_size > num_units:
        raise ValueError(f"batch_size without replacement must be at most {num_units}, got {batch_size}")
    priority = head.priority
    if ahead:
        position = positions_in_time(layout, head, jnp.arange(layout.capacity, dtype=jnp.int32))
        can_begin = position < jnp.maximum(head.num_stored - ahead, 1)
        priority = jnp.where(can_begin[:, None], priority, 0.0)
    priority = priority.ravel()
    index = _stratified(priority, key, batch_size) if replace else _gumbel_top(priority, key, batch_size)
    drawn = priority[index]
    least = jnp.min(jnp.where(drawn > 0, drawn, jnp.inf))
    weight = jnp.where(drawn > 0, (drawn / least) ** -jnp.asarray(importance_exponent, jnp.float32), 0.0)
    return _places(index, layout.unit_length, layout.num_envs, weight)


def _stratified(priority: jax.Array, key: jax.Array, batch_size: int) -> jax.Array:
    """[B] int32, one draw from each of B equal parts of the sum."""
    upto = jnp.cumsum(priority)
    part = jnp.arange(batch_size, dtype=jnp.float32) + jax.random.uniform(key, (batch_size,), jnp.float32)
    index = jnp.searchsorted(upto, part / batch_size * upto[-1], side="right").astype(jnp.int32)
    # The last product may be rounded up to the sum, beyond the last unit that has a priority.
    last = jnp.searchsorted(upto, upto[-1], side="left").astype(jnp.int32)
    return jnp.minimum(index, last)


def _gumbel_top(priority: jax.Array, key: jax.Array, batch_size: int) -> jax.Array:
    """[B] int32, B different samples."""
    score = jnp.where(priority > 0, jnp.log(priority) + jax.random.gumbel(key, priority.shape, jnp.float32), -jnp.inf)
    return jax.lax.top_k(score, batch_size)[1].astype(jnp.int32)


def _places(index: jax.Array, unit_length: int, num_envs: int, weight: jax.Array) -> Places:
    """Places of units that are numbered by time first and environment second."""
    return Places(index % num_envs, index // num_envs * unit_length, weight)


def stored_blocks(layout: StoreLayout, head: Head) -> Places:
    """Places [M] of all stored blocks, oldest first, with the environments of a block one after another. Not in `jit`."""
    num_blocks = int(head.num_stored) // layout.block_length
    env = jnp.tile(jnp.arange(layout.num_envs, dtype=jnp.int32), num_blocks)
    first = jnp.arange(num_blocks, dtype=jnp.int32) * layout.block_length
    slot = jnp.repeat(slots_in_time(layout, head, first), layout.num_envs)
    return Places(env, slot, jnp.ones(env.shape, jnp.float32))


def set_priorities(layout: StoreLayout, head: Head, places: Places, priority: jax.Array) -> Head:
    """The head with new priorities; unchanged if the layout has none.

    Args:
      layout: static sizes.
      head: consumed.
      places: [B] as sampled; those of weight 0 are left unchanged.
      priority: [B] float32 above 0.
    """
    if layout.priorities == "none":
        return head
    is_drawn = places.weight > 0
    scaled = priority**layout.priority_exponent
    unit = jnp.where(is_drawn, places.slot // layout.unit_length, head.priority.shape[0])
    return dataclasses.replace(
        head,
        priority=head.priority.at[unit, places.env].set(scaled, mode="drop"),
        highest=jnp.maximum(head.highest, jnp.max(jnp.where(is_drawn, scaled, 0.0))),
    )
