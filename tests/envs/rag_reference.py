"""The caching task once more in plain Python: lists, loops, one round after another."""

import numpy as np


class PlainCache:
    """One agent's cache, from the warm arrays of a window."""

    def __init__(self, window, agent):
        self.doc = window["slot_doc"][agent].tolist()
        self.prio = [int(p) for p in window["slot_prio"][agent]]
        self.count = {d: int(c) for d, c in enumerate(window["count"][agent])}
        self.seen = {d: int(s) for d, s in enumerate(window["seen"][agent])}
        self.age, self.time = int(window["age"][agent]), int(window["time"][agent])

    def holds(self, doc):
        return doc in self.doc

    def victim(self, rule, protected=(), held_by_peers=()):
        """The slot that a rule evicts from, or None."""
        slots = [s for s in range(len(self.doc)) if self.doc[s] not in protected]
        if rule == "shared":
            slots = [s for s in slots if self.doc[s] in held_by_peers]
        key = {
            "lru": lambda s: self.seen[self.doc[s]],
            "shared": lambda s: self.seen[self.doc[s]],
            "lfu": lambda s: self.count[self.doc[s]],
            "lfu-da": lambda s: self.prio[s],
        }[rule]
        return min(slots, key=lambda s: (key(s), s)) if slots else None

    def refer(self, doc, slot):
        """One reference; `slot` takes a miss in, None does not."""
        self.time += 1
        self.count[doc] += 1
        self.seen[doc] = self.time
        if doc in self.doc:
            slot = self.doc.index(doc)
        elif slot is not None:
            if self.doc[slot] >= 0:
                self.age = self.prio[slot]
            self.doc[slot] = doc
        if slot is not None:
            self.prio[slot] = self.age + self.count[doc]


class PlainCacheTask:
    """`RagCache` with expert actions."""

    def __init__(self, window, peer_cost, token_weight):
        self.window, self.t = window, 0
        self.peer_cost, self.token_weight = peer_cost, token_weight
        self.caches = [PlainCache(window, agent) for agent in range(window["refs"].shape[1])]

    def docs(self):
        return [int(doc) for doc in self.window["refs"][self.t, :, 0]]

    def others(self, agent):
        return {d for i, cache in enumerate(self.caches) if i != agent for d in cache.doc if d >= 0}

    def slots(self, agent):
        """What actions 1 to 4 evict from, None where they may not be chosen."""
        cache, doc = self.caches[agent], self.docs()[agent]
        if cache.holds(doc):
            return [None] * 4
        if -1 in cache.doc:
            return [cache.doc.index(-1), None, None, None]
        rules = ("lru", "lfu", "lfu-da", "shared")
        return [cache.victim(rule, held_by_peers=self.others(agent)) for rule in rules]

    def mask(self):
        return np.array([[True] + [s is not None for s in self.slots(i)] for i in range(len(self.caches))])

    def step(self, action):
        """Costs by agent."""
        costs, chosen = [], []
        for agent, doc in enumerate(self.docs()):
            weight = 1 + self.token_weight * (self.window["length"][doc] / 266 - 1)
            hit, elsewhere = self.caches[agent].holds(doc), doc in self.others(agent)
            costs.append((0.0 if hit else self.peer_cost if elsewhere else 1.0) * weight)
            chosen.append(self.slots(agent)[action[agent] - 1] if action[agent] else None)
        for cache, doc, slot in zip(self.caches, self.docs(), chosen):
            cache.refer(doc, slot)
        self.t += 1
        return costs
