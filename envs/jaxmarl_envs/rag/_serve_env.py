"""The serving task: a team of replicas decides which of them takes which request, and how its cache treats the
passages.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition, uniform_index
from jaxmarl_envs.rag._cache import Cache, restore_cache
from jaxmarl_envs.rag._cache_env import WARM, warm_fields
from jaxmarl_envs.rag._interface import ENTRY, OWN, POOL, TEAM
from jaxmarl_envs.rag._layout import Layout
from jaxmarl_envs.rag._replicas import MODES, UNITS, Batch, Speed, add_requests, fetch, work
from jaxmarl_envs.rag._rules import SERVE_RULES, Rule

MAX_DOCS = 7
METRICS = (
    "ttft", "request_ttft_p50", "request_ttft_p99", "slo", "goodput", "fairness", "tpot", "hit", "token_hit",
    "tokens_per_second", "imbalance", "conflicts", "unfinished",
)  # fmt: skip
"""Metrics of an episode; `request_ttft_p50` is the median over its requests, `slo` the share whose first token came in
time, `goodput` how many of those there were per second, `fairness` Jain's index of the times to the first token (1 if all
are equal), `imbalance` the most requests that a replica took, relative to the mean."""
_EMA = 1 / 32


@pytree_dataclass
class ServeParams:
    """Speeds, which may differ between lanes of one program, and the windows, which all lanes share."""

    windows: jax.Array = dataclasses.field(metadata={"shared": True})  # [W, P] int32, as `RagServe.layout` packs them
    speed: Speed
    slo: jax.Array  # [] int32, objective for the time to the first token, in units


@pytree_dataclass
class ServeState:
    """The state of an episode at the start of a slot. M requests."""

    window: jax.Array  # [] int32
    t: jax.Array  # [] int32, slots so far
    caches: Cache  # [N, ...]
    batch: Batch  # [N, ...]
    pool: jax.Array  # [8] int32, the oldest waiting requests, -1 for none
    replica: jax.Array  # [M] int32, the replica that claimed a request, -1 for none yet
    first: jax.Array  # [M] int32, time of its first token, in units since the start; -1 before
    done: jax.Array  # [M] int32, time of its last token
    session_at: jax.Array  # [M] int32, by session: the replica that served it last, -1 if none did
    arrivals: jax.Array  # [] float32, average per slot
    references: jax.Array  # [4] int32: passages hit, passages read, tokens hit, tokens read
    conflicts: jax.Array  # [] int32, claims lost to another replica


@dataclasses.dataclass(frozen=True)
class RagServe:
    """N replicas with a cache each take requests from a common pool; time advances in slots.

    Within a slot, in this order:

    - Claims. Action 0 waits; action 1 + 3 k + m claims the k-th oldest of the (at most eight) waiting requests, with mode
      m for its passages: misses are admitted in place of the LRU victim, of the LFU-DA victim, or not at all. A replica
      with B requests can only wait. Of several claims on one request the replica gets it whose turn it is (turns rotate
      from slot to slot); the others wait.
    - The passages are looked up one after another. A held passage is reused, at the price of computing a share of its
      tokens anew; where in the prompt it stands does not matter (as with CacheBlend, not as with prefix caching). The
      first 1024 tokens of the system prompt (512 where nothing is retrieved) are always held.
    - Prefill, in the order of claims, then decoding, if the task has it: see `work`. A request's first token comes when
      its prefill ends.

    Requests that arrive within a slot can be claimed from the next one on. Reward of a slot: minus the time that requests
    spent in it without a first token, in seconds, summed over requests and divided by M: an episode's undiscounted return
    is minus the mean TTFT. It terminates when every request is done; the family adds a time limit, at which unfinished
    requests are censored.

    Observation [85]: own work (units of prefill left, as a logarithm; requests decoded and held, as shares of B; speed; how
    many have precedence at claims); for each of eight waiting requests whether there is one, its age, tokens that
    are not cached here, share of its passages held here and at the best other replica, length, class (B, C),
    whether its session was last served here; of the peers mean and least prefill left and mean requests held; size of the
    pool, average of arrivals, hour (sine, cosine), share of requests that have arrived. How long answers get is not
    observed, nor when a passage is used next. Global state [N * 85]: those of all replicas.
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    capacity: int
    batch: int
    """B."""
    requests: int
    """M."""
    n_docs: int
    decodes: bool
    """Whether answers are decoded; otherwise a request is done with its first token."""
    shows_peers: bool
    """Whether the caches of other replicas are observed."""
    default_params: ServeParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def layout(self) -> Layout:
        """Layout of a packed window."""
        return serve_layout(self.n_agents, self.capacity, self.requests, self.n_docs)

    @property
    def rules(self) -> dict[str, Rule]:
        """Classical policies by name."""
        return SERVE_RULES

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metrics, of the episode so far: see `METRICS`; times in seconds."""
        width = OWN + ENTRY * POOL + TEAM
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(width,),
            num_actions=1 + POOL * len(MODES),
            state_size=self.n_agents * width,
            metrics=METRICS,
            quantiles=(("ttft", (0.5, 0.95, 0.99)),),
            reset_is_costly=True,
        )

    def reset(self, key: jax.Array, params: ServeParams) -> tuple[ServeState, TimeStep]:
        """The start of a window. Consumes `key`."""
        windows = jnp.asarray(params.windows)
        window = uniform_index(key, windows.shape[0])
        caches = jax.vmap(restore_cache)(*(self.layout.read(windows, window, name) for name in WARM))
        nobody = jnp.full(self.requests, -1, jnp.int32)
        slots = jnp.zeros((self.n_agents, self.batch), jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        state = ServeState(
            window=window,
            t=zero,
            caches=caches,
            batch=Batch(slots - 1, slots, slots, jnp.zeros(self.n_agents, jnp.int32)),
            pool=jnp.full(POOL, -1, jnp.int32),
            replica=nobody,
            first=nobody,
            done=nobody,
            session_at=nobody,
            arrivals=jnp.zeros(()),
            references=jnp.zeros(4, jnp.int32),
            conflicts=zero,
        )
        state = self._arrive(state, params)
        obs, mask = self._show(state, params)
        return state, restart(self.spec, obs=obs, state=obs.ravel(), action_mask=mask)

    def step(
        self, key: jax.Array, state: ServeState, action: jax.Array, params: ServeParams
    ) -> tuple[ServeState, TimeStep]:
        """One slot. `action`: [N] int32. Does not use `key`. A finished episode gives zero reward."""
        speed = jax.tree.map(jnp.asarray, params.speed)
        now = state.t * speed.slot
        request, lost = self._claim(state, action)
        state = self._serve(state, request, jnp.maximum(action - 1, 0) % len(MODES), lost, speed, params)
        batch, progress = work(state.batch, speed)
        owner = jnp.where(progress.request >= 0, progress.request, self.requests)  # beyond the end: dropped

        def record(times: jax.Array, happened: jax.Array) -> jax.Array:
            where = jnp.where(happened >= 0, owner, self.requests)
            return times.at[where].set(now + happened, mode="drop")

        first, done = record(state.first, progress.first), record(state.done, progress.done)
        end = now + speed.slot
        arrival = self._column(params, state, "arrival")
        waited = jnp.clip(jnp.where(first >= 0, first, end) - jnp.maximum(arrival, now), 0)
        state = dataclasses.replace(state, t=state.t + 1, batch=batch, first=first, done=done)
        state = self._arrive(state, params)
        obs, mask = self._show(state, params)
        return state, transition(
            self.spec,
            obs=obs,
            state=obs.ravel(),
            action_mask=mask,
            reward=-waited.sum().astype(jnp.float32) / (self.requests * UNITS),
            terminated=(done >= 0).all(),
            metrics=self._metrics(state, params),
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        from jaxmarl_envs.rag._viewer import draw_serving

        return draw_serving(ax, frame, self.layout, self.n_agents)

    def _column(self, params: ServeParams, state: ServeState, name: str) -> jax.Array:
        return self.layout.read(jnp.asarray(params.windows), state.window, name)

    def _rows(self, params: ServeParams, state: ServeState, name: str, index: jax.Array) -> jax.Array:
        return self.layout.gather(jnp.asarray(params.windows), state.window, name, jnp.maximum(index, 0))

    def _arrive(self, state: ServeState, params: ServeParams) -> ServeState:
        """The pool and the average of arrivals at the start of slot `t`."""
        slot = jnp.asarray(params.speed.slot)
        now, arrival = state.t * slot, self._column(params, state, "arrival")
        waits = (arrival <= now) & (state.replica < 0)
        place = jnp.where(waits, jnp.cumsum(waits) - 1, POOL)
        index = jnp.arange(self.requests, dtype=jnp.int32)
        pool = jnp.full(POOL, -1, jnp.int32).at[place].set(index, mode="drop")
        came = ((arrival <= now) & (arrival > now - slot)).astype(jnp.float32).sum()
        arrivals = state.arrivals + _EMA * (came - state.arrivals)
        return dataclasses.replace(state, pool=pool, arrivals=arrivals)

    def _precedence(self, t: jax.Array) -> jax.Array:
        """[N] int32: how many replicas have precedence over each one at the claims of slot `t`."""
        return (jnp.arange(self.n_agents, dtype=jnp.int32) - t) % self.n_agents

    def _claim(self, state: ServeState, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[N] int32, the request that each replica gets, -1 for none; and how many claims were lost."""
        entry = jnp.maximum(action - 1, 0) // len(MODES)
        has_room = (state.batch.request < 0).any(axis=1)
        claims = (action > 0) & has_room & (state.pool[entry] >= 0)
        rank = self._precedence(state.t)
        rivals = (entry[None] == entry[:, None]) & claims[None] & (rank[None] < rank[:, None])
        wins = claims & ~rivals.any(axis=1)
        return jnp.where(wins, state.pool[entry], -1), (claims & ~wins).astype(jnp.int32).sum()

    def _serve(
        self,
        state: ServeState,
        request: jax.Array,
        mode: jax.Array,
        lost: jax.Array,
        speed: Speed,
        params: ServeParams,
    ) -> ServeState:
        """The claimed requests [N] read their passages and join the batches."""
        is_some = request >= 0
        docs = jnp.where(is_some[:, None], self._rows(params, state, "docs", request), -1)
        caches, hits = fetch(state.caches, docs, mode)
        is_doc = docs >= 0
        tokens = jnp.where(is_doc, self._rows(params, state, "length", docs), 0)
        hit_tokens = jnp.where(hits, tokens, 0).sum(axis=1)
        missed = tokens.sum(axis=1) - hit_tokens
        own = self._rows(params, state, "own", request)
        need = (own + missed) * speed.token + hit_tokens * speed.hit_token
        steps = self._rows(params, state, "output", request) - 1
        left = steps if self.decodes else jnp.zeros_like(steps)
        agents = jnp.arange(self.n_agents, dtype=jnp.int32)
        where = jnp.where(is_some, request, self.requests)
        session = jnp.where(is_some, self._rows(params, state, "session", request), self.requests)
        counts = (hits.astype(jnp.int32), is_doc.astype(jnp.int32), hit_tokens, tokens)
        return dataclasses.replace(
            state,
            caches=caches,
            batch=add_requests(state.batch, request, need, left),
            replica=state.replica.at[where].set(agents, mode="drop"),
            session_at=state.session_at.at[session].set(agents, mode="drop"),
            references=state.references + jnp.stack([count.sum() for count in counts]),
            conflicts=state.conflicts + lost,
        )

    def _metrics(self, state: ServeState, params: ServeParams) -> dict[str, jax.Array]:
        """Values for `METRICS`. Requests without a first token count with the time that they have waited."""
        now = state.t * jnp.asarray(params.speed.slot)
        arrival, output = self._column(params, state, "arrival"), self._column(params, state, "output")
        has_first, is_done = state.first >= 0, state.done >= 0
        ttft = jnp.clip(jnp.where(has_first, state.first, now) - arrival, 0)
        ordered = jnp.sort(ttft).astype(jnp.float32) / UNITS
        seconds = (state.done - state.first).astype(jnp.float32) / UNITS
        is_timed = is_done & (output > 1)
        per_token = jnp.where(is_timed, seconds / jnp.maximum(output - 1, 1).astype(jnp.float32), 0.0)
        agents = jnp.arange(self.n_agents, dtype=jnp.int32)
        served = (state.replica[None] == agents[:, None]).astype(jnp.float32).sum(axis=1)
        in_time = (has_first & (ttft <= params.slo)).astype(jnp.float32)
        elapsed = jnp.maximum(now, 1).astype(jnp.float32) / UNITS
        squares = self.requests * jnp.square(ordered).sum()
        hits, reads, hit_tokens, tokens = state.references.astype(jnp.float32)
        values = {
            "ttft": ordered.mean(),
            "request_ttft_p50": ordered[self.requests // 2],
            "request_ttft_p99": ordered[min(int(0.99 * self.requests), self.requests - 1)],
            "slo": in_time.mean(),
            "goodput": in_time.sum() / elapsed,
            "fairness": jnp.where(squares > 0, jnp.square(ordered.sum()) / jnp.where(squares > 0, squares, 1.0), 1.0),
            "tpot": per_token.sum() / jnp.maximum(is_timed.astype(jnp.float32).sum(), 1),
            "hit": hits / jnp.maximum(reads, 1),
            "token_hit": hit_tokens / jnp.maximum(tokens, 1),
            "tokens_per_second": jnp.where(is_done, output, 0).sum().astype(jnp.float32) / elapsed,
            "imbalance": served.max() / jnp.maximum(served.mean(), 1 / self.n_agents),
            "conflicts": state.conflicts.astype(jnp.float32),
            "unfinished": (~is_done).astype(jnp.float32).mean(),
        }
        return {name: values[name] for name in METRICS}

    def _show(self, state: ServeState, params: ServeParams) -> tuple[jax.Array, jax.Array]:
        """Observations [N, 85] and masks [N, 25]."""
        n, batch, speed = self.n_agents, state.batch, params.speed
        busy = batch.request >= 0
        backlog = jnp.log1p(batch.need.sum(axis=1).astype(jnp.float32) / UNITS)
        fill = busy.astype(jnp.float32).mean(axis=1)
        decoded = (busy & (batch.need == 0)).astype(jnp.float32).mean(axis=1)
        own = [
            backlog,
            decoded,
            fill,
            60 / jnp.asarray(speed.token).astype(jnp.float32),
            self._precedence(state.t).astype(jnp.float32) / n,
        ]
        peers = jnp.float32(max(n - 1, 1))
        others = jnp.where(jnp.eye(n, dtype=bool), jnp.inf, jnp.broadcast_to(backlog[None], (n, n))).min(axis=1)
        arrival = self._column(params, state, "arrival")
        arrived = arrival <= state.t * jnp.asarray(speed.slot)
        waiting = (arrived & (state.replica < 0)).astype(jnp.float32).sum()
        newest = arrived.astype(jnp.int32).sum() - 1
        angle = self._rows(params, state, "hour", newest).astype(jnp.float32) * jnp.float32(2 * jnp.pi / 24)
        shared = jnp.stack(
            [
                jnp.log1p(waiting) / 4,
                state.arrivals,
                jnp.sin(angle),
                jnp.cos(angle),
                arrived.astype(jnp.float32).mean(),
            ]
        )
        team = [
            (backlog.sum() - backlog) / peers,
            jnp.where(jnp.isfinite(others), others, backlog),
            (fill.sum() - fill) / peers,
        ]
        obs = jnp.concatenate(
            [
                jnp.stack(own, axis=1),
                self._entries(state, params).reshape(n, -1),
                jnp.stack(team, axis=1),
                jnp.broadcast_to(shared[None], (n, shared.shape[0])),
            ],
            axis=1,
        )
        may = (~busy.all(axis=1))[:, None] & jnp.repeat(state.pool >= 0, len(MODES))[None]
        return obs, jnp.concatenate([jnp.ones((n, 1), bool), may], axis=1)

    def _entries(self, state: ServeState, params: ServeParams) -> jax.Array:
        """[N, 8, 9] float32: features of each waiting request for each replica; zeros for none."""
        n, pool = self.n_agents, state.pool
        docs = self._rows(params, state, "docs", pool)  # [8, 7]
        is_doc = (docs >= 0)[None]
        held = (state.caches.place[:, jnp.maximum(docs, 0)] >= 0) & is_doc  # [N, 8, 7]
        tokens = jnp.where(is_doc[0], self._rows(params, state, "length", docs), 0)
        own = self._rows(params, state, "own", pool)
        uncached = own[None] + jnp.where(held, 0, tokens[None]).sum(axis=2)
        count = jnp.maximum(is_doc.astype(jnp.float32).sum(axis=2), 1)
        overlap = held.astype(jnp.float32).sum(axis=2) / count
        mine = jnp.eye(n, dtype=bool)[:, :, None]
        best = jnp.where(mine, 0.0, jnp.broadcast_to(overlap[None], (n, n, POOL))).max(axis=1)
        arrival = self._rows(params, state, "arrival", pool)
        age = (state.t * jnp.asarray(params.speed.slot) - arrival).astype(jnp.float32) / UNITS
        kind = self._rows(params, state, "kind", pool)
        at = state.session_at[self._rows(params, state, "session", pool)]
        agents = jnp.arange(n, dtype=jnp.int32)

        def everywhere(column: jax.Array) -> jax.Array:
            return jnp.broadcast_to(column.astype(jnp.float32)[None], (n, POOL))

        columns = [
            everywhere(pool >= 0),
            everywhere(jnp.log1p(jnp.maximum(age, 0.0))),
            uncached.astype(jnp.float32) / 2048,
            overlap,
            best if self.shows_peers else jnp.zeros_like(best),
            everywhere(self._rows(params, state, "input", pool).astype(jnp.float32) / 4096),
            everywhere(kind == 1),
            everywhere(kind == 2),
            (at[None] == agents[:, None]).astype(jnp.float32),
        ]
        return jnp.stack(columns, axis=-1) * (pool >= 0).astype(jnp.float32)[None, :, None]


def serve_layout(n_agents: int, capacity: int, requests: int, n_docs: int) -> Layout:
    """Layout of the windows of `RagServe`."""
    columns = ("arrival", "own", "input", "output", "kind", "session", "hour")
    return Layout(
        (
            *((name, (requests,)) for name in columns),
            ("docs", (requests, MAX_DOCS)),
            ("next_use", (requests, MAX_DOCS)),
            ("length", (n_docs,)),
            *warm_fields(n_agents, capacity, n_docs),
        )
    )
