"""Hit ratios of one cache under classical eviction rules, in plain Python.

Misses are always admitted, except by `MIN-BYPASS`. The victim is the item with the lowest priority; ties go to the lowest
slot. The lowest free slot is filled first. All priorities are integers, so that another implementation can agree exactly:

- `FIFO`: the time of admission; `LRU`: the time of the last use;
- `LFU`: the number of uses so far, including those while the item was not cached;
- `LFU-DA`: the number of uses at the last use, plus the cache's age then, which is the priority of the last victim;
- `GDSF`: LFU-DA with uses / size (in units of 1 / 2**20, rounded down); with equal sizes it is LFU-DA;
- `MIN`: higher for items that are used again sooner. It reads the future and bounds the others if sizes are equal;
- `MIN-BYPASS`: MIN that does not admit an item whose next use is the latest of all. It also bounds rules that may bypass.

With `sizes`, the capacity is a budget of tokens: items are evicted until the new one fits. An item that is larger than
the budget is not admitted.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

POLICIES = ("FIFO", "LRU", "LFU", "LFU-DA", "GDSF", "MIN")
NEVER = 2**31 - 1
"""The next use of an item that is not used again."""
SIZE_UNIT = 2**20


def next_uses(stream: np.ndarray) -> np.ndarray:
    """[T] int64: the index of the next occurrence of the same item, or `NEVER`."""
    after = np.full(len(stream), NEVER, np.int64)
    order = np.argsort(stream, kind="stable")
    same = stream[order[1:]] == stream[order[:-1]]
    after[order[:-1][same]] = order[1:][same]
    return after


def simulate(policy: str, stream: np.ndarray, capacity: int, sizes: np.ndarray | None = None) -> np.ndarray:
    """[T] bool: which references of `stream` hit a cache that starts empty.

    Args:
      policy: one of `POLICIES` or `MIN-BYPASS`.
      stream: [T] item ids.
      capacity: items, or tokens if `sizes` is given.
      sizes: [T] tokens of each referenced item.

    Raises:
      ValueError: for an unknown policy or a capacity below 1.
    """
    if policy not in (*POLICIES, "MIN-BYPASS"):
        raise ValueError(f"unknown eviction rule {policy!r}; there are: {', '.join((*POLICIES, 'MIN-BYPASS'))}")
    if capacity < 1:
        raise ValueError(f"a cache needs a capacity of at least 1, got {capacity}")
    items = stream.tolist()
    if policy == "LRU" and sizes is None:
        return np.array(_lru(items, capacity), bool)
    lengths = [1] * len(items) if sizes is None else sizes.tolist()
    future = next_uses(stream).tolist() if policy.startswith("MIN") else []
    return np.array(_by_priority(policy, items, lengths, future, capacity), bool)


def hit_ratio_curve(
    policy: str, stream: np.ndarray, capacities: Sequence[int], sizes: np.ndarray | None = None
) -> np.ndarray:
    """[len(capacities)] float64: fraction of hits for each capacity. Arguments as for `simulate`."""
    if not len(stream):
        raise ValueError("hit ratios need at least one reference")
    return np.array([simulate(policy, stream, capacity, sizes).mean() for capacity in capacities])


def _lru(items: list[int], capacity: int) -> list[bool]:
    """Hits of LRU with unit sizes, which needs no priorities."""
    cached: OrderedDict[int, None] = OrderedDict()
    hits = []
    for item in items:
        hit = item in cached
        if hit:
            cached.move_to_end(item)
        else:
            if len(cached) == capacity:
                cached.popitem(last=False)
            cached[item] = None
        hits.append(hit)
    return hits


Priority = Callable[[int, int, int, int], int]
_PRIORITIES: dict[str, Priority] = {  # arguments: time, uses, age, size
    "FIFO": lambda time, uses, age, size: time,
    "LRU": lambda time, uses, age, size: time,
    "LFU": lambda time, uses, age, size: uses,
    "LFU-DA": lambda time, uses, age, size: age + uses,
    "GDSF": lambda time, uses, age, size: age + uses * SIZE_UNIT // size,
}


def _by_priority(policy: str, items: list[int], sizes: list[int], future: list[int], capacity: int) -> list[bool]:
    """Hits of a cache that uses a heap of (priority, slot, version); entries with an old version are skipped."""
    priority_of = _PRIORITIES.get(policy)
    slot_of: dict[int, int] = {}
    held: list[tuple[int, int]] = []  # by slot: item and size
    version: list[int] = []
    free: list[int] = []  # heap of free slots
    uses: dict[int, int] = {}
    heap: list[tuple[int, int, int]] = []
    used = age = 0
    hits = []
    for time, (item, size) in enumerate(zip(items, sizes)):
        slot = slot_of.get(item)
        hits.append(slot is not None)
        count = uses[item] = uses.get(item, 0) + 1
        if slot is not None and policy == "FIFO":
            continue
        if slot is None:
            if size > capacity:
                continue
            latest = -future[time] if policy == "MIN-BYPASS" else None
            bypass = False
            while used + size > capacity:
                priority, victim, stamp = heap[0]
                if stamp != version[victim]:
                    heapq.heappop(heap)
                    continue
                if latest is not None and latest <= priority:
                    bypass = True
                    break
                heapq.heappop(heap)
                gone, freed = held[victim]
                del slot_of[gone]
                used -= freed
                heapq.heappush(free, victim)
                age = priority
            if bypass:
                continue
            if free:
                slot = heapq.heappop(free)
                held[slot] = (item, size)
            else:
                slot = len(held)
                held.append((item, size))
                version.append(0)
            slot_of[item] = slot
            used += size
        version[slot] += 1
        priority = priority_of(time, count, age, size) if priority_of else -future[time]
        heapq.heappush(heap, (priority, slot, version[slot]))
    return hits
