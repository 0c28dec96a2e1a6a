"""A cache of passages as arrays: its contents, statistics of all passages, and eviction rules."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import pytree_dataclass
from jaxmarl_envs.rag.trace._caches import NEVER, SIZE_UNIT

LARGEST = NEVER
"""Maximum int32; the key of slots that must not be evicted."""


@pytree_dataclass
class Cache:
    """C slots over D passages. All integers, so that another implementation can agree exactly."""

    doc: jax.Array  # [C] int32, the passage in each slot, -1 in a free one
    place: jax.Array  # [D] int32, the slot of each passage, -1 if it is not cached: the inverse of `doc`
    prio: jax.Array  # [C] int32, priority under LFU-DA: count at the last use plus age then
    count: jax.Array  # [D] int32, references so far, also of passages that are not cached
    seen: jax.Array  # [D] int32, time of the last reference
    age: jax.Array  # [] int32, priority of the last evicted passage
    time: jax.Array  # [] int32, total references so far


def empty_cache(capacity: int, n_docs: int) -> Cache:
    """An empty cache without statistics."""
    zero, free = jnp.zeros((), jnp.int32), jnp.full(capacity, -1, jnp.int32)
    docs = jnp.zeros(n_docs, jnp.int32)
    return Cache(free, jnp.full(n_docs, -1, jnp.int32), jnp.zeros(capacity, jnp.int32), docs, docs, zero, zero)


def restore_cache(
    doc: jax.Array, prio: jax.Array, count: jax.Array, seen: jax.Array, age: jax.Array, time: jax.Array
) -> Cache:
    """A cache from the arrays of a snapshot: the inverse is computed."""
    where = jnp.where(doc >= 0, doc, count.shape[0])  # beyond the end: dropped
    slots = jnp.arange(doc.shape[0], dtype=jnp.int32)
    place = jnp.full(count.shape[0], -1, jnp.int32).at[where].set(slots, mode="drop")
    return Cache(doc, place, prio, count, seen, age, time)


def lru_key(cache: Cache) -> jax.Array:
    """[C] int32: when each slot's passage was last used. The victim of a rule is the slot with the lowest key."""
    return cache.seen[jnp.maximum(cache.doc, 0)]


def lfu_key(cache: Cache) -> jax.Array:
    """[C] int32: how often each slot's passage was used."""
    return cache.count[jnp.maximum(cache.doc, 0)]


def lowest(key: jax.Array) -> jax.Array:
    """[*] int32: the slot with the lowest of the keys [*, C], the first among equals.

    Like `argmin`, but in two reductions, which are vectorized on CPU, unlike `argmin`.
    """
    capacity = key.shape[-1]
    slots = jnp.broadcast_to(jnp.arange(capacity, dtype=jnp.int32), key.shape)
    return jnp.where(key == key.min(axis=-1, keepdims=True), slots, capacity).min(axis=-1)


def refer(
    cache: Cache, doc: jax.Array, admit: jax.Array, victim: jax.Array, size: jax.Array | int = 1, unit: int = 1
) -> Cache:
    """The cache after a reference to `doc`.

    A cached passage is refreshed. Another one, if it is admitted, goes into the lowest free slot, or else into the
    slot `victim`, whose passage is evicted. `size` and `unit` turn LFU-DA into GDSF.

    Args:
      cache: C slots over D passages.
      doc: [] int32, the passage; below 0 nothing happens.
      admit: [] bool.
      victim: [] int32.
      size: of the passage.
      unit: what `count / size` is multiplied with before it is rounded down.
    """
    n_docs = cache.count.shape[0]
    is_any = doc >= 0
    index = jnp.where(is_any, doc, n_docs)  # beyond the end: dropped
    slot = jnp.where(is_any, cache.place[jnp.maximum(doc, 0)], -1)
    hit = slot >= 0
    enters = is_any & admit & ~hit
    is_free = cache.doc < 0
    target = jnp.where(is_free.any(), jnp.argmax(is_free).astype(jnp.int32), victim)
    gone = jnp.where(enters, cache.doc[target], -1)
    age = jnp.where(gone >= 0, cache.prio[target], cache.age)
    slot = jnp.where(enters, target, slot)
    time = cache.time + is_any.astype(jnp.int32)
    count = cache.count.at[index].add(1, mode="drop")
    renewed = jnp.where(slot >= 0, slot, cache.doc.shape[0])
    worth = count[jnp.maximum(doc, 0)] * unit // size
    place = cache.place.at[jnp.where(gone >= 0, gone, n_docs)].set(-1, mode="drop")
    return Cache(
        doc=cache.doc.at[renewed].set(doc, mode="drop"),
        place=place.at[index].set(slot, mode="drop"),
        prio=cache.prio.at[renewed].set(age + worth, mode="drop"),
        count=count,
        seen=cache.seen.at[index].set(time, mode="drop"),
        age=age,
        time=time,
    )


@partial(jax.jit, static_argnames=("policy", "capacity", "n_docs"))
def simulate_compiled(
    policy: str, stream: jax.Array, capacity: int, n_docs: int, future: jax.Array, sizes: jax.Array
) -> jax.Array:
    """[T] bool: which references hit a cache of equal slots that starts empty.

    Args:
      policy: one of `rag.trace.POLICIES`.
      stream: [T] int32 passages.
      capacity: C.
      n_docs: D.
      future: [T] int32, index of the next reference to the same passage (for MIN).
      sizes: [T] int32, tokens (for GDSF, which weighs by them; every passage still takes one slot).
    """
    unit = SIZE_UNIT if policy == "GDSF" else 1

    def body(carry: tuple[Cache, jax.Array], now: tuple[jax.Array, ...]) -> tuple[tuple[Cache, jax.Array], jax.Array]:
        cache, key = carry  # [C] what FIFO and MIN remember of a slot
        doc, after, size, time = now
        hit = cache.place[doc] >= 0
        keys = {"LRU": lru_key(cache), "LFU": lfu_key(cache), "FIFO": key, "MIN": key}
        victim = lowest(keys.get(policy, cache.prio))
        cache = refer(cache, doc, jnp.bool_(True), victim, size if policy == "GDSF" else 1, unit)
        slot = cache.place[doc]
        key = key.at[slot].set(-after if policy == "MIN" else jnp.where(hit, key[slot], time))
        return (cache, key), hit

    start = empty_cache(capacity, n_docs), jnp.zeros(capacity, jnp.int32)
    times = jnp.arange(stream.shape[0], dtype=jnp.int32)
    return jax.lax.scan(body, start, (stream, future, sizes, times))[1]


def refer_all(cache: Cache, docs: jax.Array, admit: jax.Array, is_lru: jax.Array) -> tuple[Cache, jax.Array]:
    """The cache after references to all `docs`, one after another, and which of them were cached, [R] bool.

    Misses are admitted, if at all, in place of the LRU or LFU-DA victim, but never in place of one of `docs`.
    Equivalent to R calls of `refer`, but the arrays over all passages are updated only once, since copying them takes
    most of the time.

    Args:
      cache: C > R slots over D passages.
      docs: [R] int32, distinct passages; below 0 there is none.
      admit: [] bool.
      is_lru: [] bool.
    """
    n_docs, capacity = cache.count.shape[0], cache.doc.shape[0]
    is_any, known = docs >= 0, jnp.maximum(docs, 0)
    index = jnp.where(is_any, docs, n_docs)  # beyond the end: dropped
    times = cache.time + jnp.cumsum(is_any.astype(jnp.int32))
    count = cache.count.at[index].add(1, mode="drop")
    held_at = jnp.where(is_any, cache.place[known], -1)
    slots = jnp.arange(capacity, dtype=jnp.int32)
    pinned = (slots[:, None] == held_at[None]).any(axis=1)

    def body(carry: Any, now: Any) -> Any:
        doc, prio, used, pinned, age = carry
        new, worth, slot, is_one = now
        enters = is_one & admit & (slot < 0)
        key = jnp.where(pinned, LARGEST, jnp.where(is_lru, used, prio))
        target = lowest(jnp.where(doc < 0, -1, key))  # free slots first
        gone = jnp.where(enters, doc[target], -1)
        age = jnp.where(gone >= 0, prio[target], age)
        slot = jnp.where(enters, target, slot)
        here = slots == slot
        carry = jnp.where(here, new, doc), jnp.where(here, age + worth, prio), used, pinned | here, age
        return carry, (gone, slot)

    start = cache.doc, cache.prio, lru_key(cache), pinned, cache.age
    (doc, prio, _, _, age), (gone, slot) = jax.lax.scan(body, start, (docs, count[known], held_at, is_any))
    place = cache.place.at[jnp.where(gone >= 0, gone, n_docs)].set(-1, mode="drop")
    after = Cache(
        doc=doc,
        place=place.at[index].set(slot, mode="drop"),
        prio=prio,
        count=count,
        seen=cache.seen.at[index].set(times, mode="drop"),
        age=age,
        time=times[-1],
    )
    return after, held_at >= 0
