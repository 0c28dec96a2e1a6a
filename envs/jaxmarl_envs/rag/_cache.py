"""A cache of passages as arrays: what is held, what is known of all passages, and who has to go."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import pytree_dataclass
from jaxmarl_envs.rag.trace._caches import NEVER, SIZE_UNIT

LARGEST = NEVER
"""Of int32; the key of what must not be evicted."""


@pytree_dataclass
class Cache:
    """C slots over D passages. All integers, so that another implementation can agree exactly."""

    doc: jax.Array  # [C] int32, the passage in each slot, -1 in a free one
    place: jax.Array  # [D] int32, the slot of each passage, -1 if it is not held: the inverse of `doc`
    prio: jax.Array  # [C] int32, priority under LFU-DA: count at the last use plus age then
    count: jax.Array  # [D] int32, references so far, also of what is not held
    seen: jax.Array  # [D] int32, time of the last reference
    age: jax.Array  # [] int32, priority that was evicted last
    time: jax.Array  # [] int32, references so far of anything


def empty_cache(capacity: int, n_docs: int) -> Cache:
    """A cache that holds and knows nothing."""
    zero, free = jnp.zeros((), jnp.int32), jnp.full(capacity, -1, jnp.int32)
    docs = jnp.zeros(n_docs, jnp.int32)
    return Cache(free, jnp.full(n_docs, -1, jnp.int32), jnp.zeros(capacity, jnp.int32), docs, docs, zero, zero)


def restore_cache(
    doc: jax.Array, prio: jax.Array, count: jax.Array, seen: jax.Array, age: jax.Array, time: jax.Array
) -> Cache:
    """A cache from what a snapshot stores: all but the inverse, which is computed."""
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


def lowest(key: jax.Array, allowed: jax.Array | None = None) -> jax.Array:
    """[] int32: the slot with the lowest key among the allowed ones, of equal ones the lowest slot."""
    key = key if allowed is None else jnp.where(allowed, key, LARGEST)
    return jnp.argmin(key, axis=-1).astype(jnp.int32)


def refer(
    cache: Cache, doc: jax.Array, admit: jax.Array, victim: jax.Array, size: jax.Array | int = 1, unit: int = 1
) -> Cache:
    """The cache after a reference to `doc`.

    A passage that is held is renewed. Another one, if it is admitted, goes into the lowest free slot, or else into the slot
    `victim`, whose passage is evicted. `size` and `unit` make GDSF of LFU-DA.

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
    """[T] bool: which references hit a cache of equal slots that is empty at first.

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


def pinned_by(cache: Cache, docs: jax.Array) -> jax.Array:
    """[C] bool: the slots that hold one of `docs` [R] int32 (below 0: none)."""
    return ((cache.doc[:, None] == docs[None]) & (docs >= 0)[None]).any(axis=1)
