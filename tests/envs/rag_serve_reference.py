"""The serving task once more in plain Python, event by event: tokens and steps of decoding one after another."""

from tests.envs.rag_reference import PlainCache

MODES = ("lru", "lfu-da", None)


class Replica:
    def __init__(self, window, agent, speed):
        self.cache = PlainCache(window, agent)
        self.token, self.hit_token = int(speed.token[agent]), int(speed.hit_token[agent])
        self.iteration, self.each = int(speed.iteration[agent]), int(speed.per_decode[agent])
        self.queue = []  # requests in the order of claims
        self.carry = 0

    def take(self, request, docs, lengths, own, steps, mode):
        """Reads the passages one by one; returns hits."""
        need, hits = own * self.token, []
        for doc in docs:
            hit = self.cache.holds(doc)
            hits.append(hit)
            need += lengths[doc] * (self.hit_token if hit else self.token)
            slot = None
            if not hit and mode is not None:
                free = -1 in self.cache.doc
                slot = self.cache.doc.index(-1) if free else self.cache.victim(mode, protected=docs)
            self.cache.refer(doc, slot)
        self.queue.append({"request": request, "need": need, "left": steps})
        return hits

    def run(self, slot, limit, now, first, done):
        """One slot; writes down when tokens came."""
        clock = 0
        budget = limit if any(job["need"] == 0 for job in self.queue) else slot
        for job in self.queue:
            if job["need"] == 0:
                continue
            if budget - clock < job["need"]:
                job["need"] -= budget - clock
                clock = budget
                break
            clock += job["need"]
            job["need"] = 0
            first[job["request"]] = now + clock
            if job["left"] == 0:
                done[job["request"]] = now + clock
        jobs = [job for job in self.queue if job["need"] == 0 and job["left"] > 0]
        if jobs:
            step = self.iteration + self.each * len(jobs)
            begin, progress = clock, self.carry
            while slot - clock + progress >= step:
                clock, progress = clock + step - progress, 0
                for job in jobs:
                    if job["left"] > 0:
                        job["left"] -= 1
                        if job["left"] == 0:  # a step that was nearly over may be shorter now
                            done[job["request"]] = now + max(clock, begin)
            self.carry = slot - clock + progress if any(job["left"] > 0 for job in jobs) else 0
        else:
            self.carry = 0
        self.queue = [job for job in self.queue if done[job["request"]] is None]


class PlainServeTask:
    """`RagServe`, from a window's arrays and the task's sizes."""

    def __init__(self, env, window):
        self.env, self.window, self.t = env, window, 0
        speed = env.default_params.speed
        self.slot, self.limit = int(speed.slot), int(speed.prefill_limit)
        self.replicas = [Replica(window, agent, speed) for agent in range(env.n_agents)]
        self.arrival = window["arrival"].tolist()
        self.lengths = window["length"].tolist()
        self.owner = [None] * env.requests
        self.first, self.done = [None] * env.requests, [None] * env.requests
        self.hits = self.reads = self.conflicts = 0

    def pool(self):
        now = self.t * self.slot
        return [r for r, at in enumerate(self.arrival) if at <= now and self.owner[r] is None][:8]

    def mask(self):
        pool = self.pool()
        claims = [k // 3 < len(pool) for k in range(24)]
        return [[True] + [c and len(r.queue) < self.env.batch for c in claims] for r in self.replicas]

    def step(self, action):
        """Seconds that requests spent without a first token in this slot."""
        pool, n, now = self.pool(), len(self.replicas), self.t * self.slot
        taken = set()
        for agent in sorted(range(n), key=lambda i: (i - self.t) % n):
            if action[agent] == 0:
                continue
            entry, mode = divmod(action[agent] - 1, 3)
            request = pool[entry]
            if request in taken:
                self.conflicts += 1
                continue
            taken.add(request)
            docs = [int(d) for d in self.window["docs"][request] if d >= 0]
            steps = int(self.window["output"][request]) - 1 if self.env.decodes else 0
            own = int(self.window["own"][request])
            hits = self.replicas[agent].take(request, docs, self.lengths, own, steps, MODES[mode])
            self.hits, self.reads = self.hits + sum(hits), self.reads + len(hits)
            self.owner[request] = agent
        for replica in self.replicas:
            replica.run(self.slot, self.limit, now, self.first, self.done)
        self.t += 1
        waited = 0
        for at, first in zip(self.arrival, self.first):
            until = now + self.slot if first is None else min(first, now + self.slot)
            waited += max(0, until - max(at, now))
        return waited
