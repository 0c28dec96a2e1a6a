"""The work of replicas within one slot of time, in integer units of 2.5 microseconds.

All durations are integers, so that another implementation can agree exactly: a token of prefill takes 60 units (0.15 ms).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import pytree_dataclass
from jaxmarl_envs.rag._cache import Cache, refer_all

UNITS = 400_000
"""Time units per second."""
LRU, LFU_DA, BYPASS = range(3)
MODES = ("lru", "lfu-da", "bypass")


@pytree_dataclass
class Speed:
    """The speeds of N replicas; all int32, in units of time."""

    token: jax.Array  # [N], prefill of a token
    hit_token: jax.Array  # [N], of a token of a cached passage, part of which is recomputed
    iteration: jax.Array  # [N], one decoding step
    per_decode: jax.Array  # [N], additional time per decoded request
    slot: jax.Array  # [], length of a slot
    prefill_limit: jax.Array  # [], maximum prefill in a slot while something is decoded


@pytree_dataclass
class Batch:
    """The work of each replica: at most B requests, in the order in which they were claimed."""

    request: jax.Array  # [N, B] int32, -1 for none; those come last
    need: jax.Array  # [N, B] int32, units of prefill left
    left: jax.Array  # [N, B] int32, steps of decoding left after the first token
    carry: jax.Array  # [N] int32, units spent on a step of decoding that is not finished


class Progress(NamedTuple):
    """The events of a slot; [N, B] each, in units since its start, -1 if nothing happened."""

    request: jax.Array
    first: jax.Array
    """Time of the first token."""
    done: jax.Array
    """Time of the last token."""


def fetch(caches: Cache, docs: jax.Array, mode: jax.Array) -> tuple[Cache, jax.Array]:
    """The caches after each replica has read the passages of one request, one after another; and which it held, [N, R].

    Misses are admitted as `mode` says, never in place of another passage of the same request.

    Args:
      caches: of N replicas.
      docs: [N, R] int32, distinct passages; -1 for none.
      mode: [N] int32, `LRU`, `LFU_DA` or `BYPASS`.
    """
    return jax.vmap(refer_all)(caches, docs, mode != BYPASS, mode == LRU)


def add_requests(batch: Batch, request: jax.Array, need: jax.Array, left: jax.Array) -> Batch:
    """The batch with one more request per replica, [N] each; none where `request` is -1. There must be room."""
    size = batch.request.shape[1]
    place = (batch.request >= 0).sum(axis=1)
    here = (jnp.arange(size)[None] == place[:, None]) & (request >= 0)[:, None]

    def put(column: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.where(here, value[:, None], column)

    return Batch(put(batch.request, request), put(batch.need, need), put(batch.left, left), batch.carry)


def work(batch: Batch, speed: Speed) -> tuple[Batch, Progress]:
    """One slot: prefill in the order of claims, then decoding steps, then finished requests leave.

    While something is decoded, prefill takes at most `prefill_limit`. The duration of a slot's steps depends on the
    number of requests that are decoded in it, even if some of them finish; an unfinished step continues in the next
    slot.
    """
    is_busy = batch.request >= 0
    runs = (is_busy & (batch.need == 0)).any(axis=1)
    budget = jnp.where(runs, speed.prefill_limit, speed.slot)
    before = jnp.cumsum(batch.need, axis=1) - batch.need
    served = jnp.clip(budget[:, None] - before, 0, batch.need)
    need = batch.need - served
    starts = is_busy & (batch.need > 0) & (need == 0)
    first = jnp.where(starts, before + served, -1)
    used = served.sum(axis=1)

    decodes = is_busy & (need == 0) & (batch.left > 0)
    count = decodes.astype(jnp.int32).sum(axis=1)
    step = speed.iteration + speed.per_decode * count
    total = speed.slot - used + batch.carry
    steps = jnp.where(count > 0, total // step, 0)
    ends = used[:, None] + jnp.maximum(batch.left * step[:, None] - batch.carry[:, None], 0)
    left = jnp.where(decodes, jnp.maximum(batch.left - steps[:, None], 0), batch.left)
    finishes = decodes & (left == 0)
    done = jnp.where(finishes, ends, jnp.where(starts & (batch.left == 0), first, -1))
    goes_on = (decodes & ~finishes).any(axis=1)
    carry = jnp.where(goes_on, total - steps * step, 0)

    stays = is_busy & (done < 0)
    order = jnp.argsort(~stays, axis=1, stable=True)

    def compact(column: jax.Array, empty: int) -> jax.Array:
        return jnp.take_along_axis(jnp.where(stays, column, empty), order, axis=1)

    after = Batch(compact(batch.request, -1), compact(need, 0), compact(left, 0), carry)
    return after, Progress(batch.request, first, done)
