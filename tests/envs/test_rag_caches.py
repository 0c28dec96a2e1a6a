"""Cache simulators against slower ones that are written another way, and against brute force."""

import itertools

import numpy as np
import pytest
from jaxmarl_envs.rag.trace import POLICIES, hit_ratio_curve, next_uses, simulate


def slot_simulator(policy, stream, capacity, sizes=None):
    """The rules as they are told: a list of slots, searched in full at every reference."""
    items = [int(item) for item in stream]
    slots, age = [None] * len(items), 0
    ever = {}
    hits = []
    for time, item in enumerate(items):
        size = 1 if sizes is None else int(sizes[time])
        ever[item] = ever.get(item, 0) + 1
        after = next((t for t in range(time + 1, len(items)) if items[t] == item), 2**31 - 1)
        here = next((slot for slot in slots if slot and slot["item"] == item), None)
        hits.append(here is not None)
        if here is None:
            if size > capacity:
                continue
            bypass = False
            while sum(slot["size"] for slot in slots if slot) + size > capacity:
                held = [i for i, slot in enumerate(slots) if slot]
                victim = min(held, key=lambda i: (slots[i]["priority"], i))
                if policy == "MIN-BYPASS" and -after <= slots[victim]["priority"]:
                    bypass = True
                    break
                age = slots[victim]["priority"]
                slots[victim] = None
            if bypass:
                continue
            here = {"item": item, "size": size, "since": time}
            slots[slots.index(None)] = here
        here["priority"] = {
            "FIFO": here["since"],
            "LRU": time,
            "LFU": ever[item],
            "LFU-DA": age + ever[item],
            "GDSF": age + ever[item] * 2**20 // size,
            "MIN": -after,
            "MIN-BYPASS": -after,
        }[policy]
    return hits


def random_stream(seed, length=400, items=40):
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, items + 1)
    return rng.choice(items, length, p=weights / weights.sum())


@pytest.mark.parametrize("policy", [*POLICIES, "MIN-BYPASS"])
def test_simulators_agree_exactly(policy):
    for seed, capacity in itertools.product(range(4), (1, 3, 10, 60)):
        stream = random_stream(seed)
        assert simulate(policy, stream, capacity).tolist() == slot_simulator(policy, stream, capacity)
        sizes = np.random.default_rng(seed + 9).integers(1, 9, 40)[stream]
        budget = simulate(policy, stream, 4 * capacity, sizes)
        assert budget.tolist() == slot_simulator(policy, stream, 4 * capacity, sizes)


def test_gdsf_of_equal_sizes_is_lfu_da_and_lfu_without_age_is_another_rule():
    streams = [random_stream(seed, 2000, 200) for seed in range(3)]
    assert all((simulate("GDSF", s, 16) == simulate("LFU-DA", s, 16)).all() for s in streams)
    assert any((simulate("LFU", s, 16) != simulate("LFU-DA", s, 16)).any() for s in streams)


def test_min_is_not_beaten():
    for seed, capacity in itertools.product(range(10), (1, 2, 5, 12)):
        stream = random_stream(seed)
        hits = {policy: int(simulate(policy, stream, capacity).sum()) for policy in (*POLICIES, "MIN-BYPASS")}
        assert hits["MIN"] == max(hits[policy] for policy in POLICIES)
        assert hits["MIN-BYPASS"] >= hits["MIN"]


def best_hits(stream, capacity, may_bypass):
    """The most hits of any policy, by trying every victim."""
    states = {frozenset(): 0}
    for item in stream:
        following = {}
        for state, hits in states.items():
            if item in state:
                options = [(state, hits + 1)]
            else:
                options = [(state, hits)] if may_bypass else []
                if len(state) < capacity:
                    options.append((state | {item}, hits))
                else:
                    options += [((state - {victim}) | {item}, hits) for victim in state]
            for new, count in options:
                following[new] = max(following.get(new, -1), count)
        states = following
    return max(states.values())


def test_min_equals_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(40):
        stream, capacity = rng.integers(0, 6, 14), int(rng.integers(1, 4))
        assert simulate("MIN", stream, capacity).sum() == best_hits(stream.tolist(), capacity, False)
        assert simulate("MIN-BYPASS", stream, capacity).sum() == best_hits(stream.tolist(), capacity, True)


def test_next_uses_and_curves():
    assert next_uses(np.array([5, 3, 5, 5, 9])).tolist() == [2, 2**31 - 1, 3, 2**31 - 1, 2**31 - 1]
    stream = np.array([1, 2, 1, 3, 1, 2])
    assert hit_ratio_curve("LRU", stream, [1, 2, 3]).tolist() == [0, 2 / 6, 3 / 6]
    for call, words in (
        (lambda: simulate("lru", stream, 2), "unknown eviction rule 'lru'"),
        (lambda: simulate("LRU", stream, 0), "at least 1, got 0"),
        (lambda: hit_ratio_curve("LRU", stream[:0], [1]), "at least one reference"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
