"""The caching task: a team decides what its caches admit and evict."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition, uniform_index
from jaxmarl_envs.rag._cache import Cache, lfu_key, lowest, lru_key, refer, restore_cache
from jaxmarl_envs.rag._interface import EXPERTS
from jaxmarl_envs.rag._layout import Layout
from jaxmarl_envs.rag._rules import CACHE_RULES, Rule
from jaxmarl_envs.rag._windows import REFERENCE_COLUMNS

SAMPLES = 16
MEAN_LENGTH = 266.0
"""Mean length in tokens of a referenced passage in the recorded trace."""
_DOC, _POSITION, _SAME_SESSION, _HOUR, _ = range(len(REFERENCE_COLUMNS))
_LOG_SCALE = 1 / 8
_EMA = 1 / 32


@pytree_dataclass
class CacheParams:
    """Costs, which may differ between lanes of one program, and the windows, which all lanes share."""

    windows: jax.Array = dataclasses.field(metadata={"shared": True})  # [W, P] int32, as `RagCache.layout` packs them
    peer_cost: jax.Array  # [] float32, of fetching a passage from a peer; recomputing it costs 1
    token_weight: jax.Array  # [] float32, 0 counts passages, 1 weighs costs by length / 266


@pytree_dataclass
class CacheState:
    """The state of an episode before the next references."""

    window: jax.Array  # [] int32
    t: jax.Array  # [] int32, rounds so far
    caches: Cache  # [N, ...]
    candidates: jax.Array  # [N, K] int32, the slots that actions 1.. would evict from
    allowed: jax.Array  # [N, K] bool, which of them may be chosen
    hit_average: jax.Array  # [N] float32, of the last rounds
    local_hits: jax.Array  # [] float32, share of references so far
    peer_hits: jax.Array  # [] float32
    cost: jax.Array  # [] float32, mean so far


@dataclasses.dataclass(frozen=True)
class RagCache:
    """N agents with a cache of C passages each; in each round every agent meets the next passage of the sessions that
    it serves.

    - A passage in the agent's own cache costs 0, in a peer's `peer_cost`, else it is computed anew, which costs 1; all
      seen at the start of the round. Reward: minus the mean cost over agents. With `token_weight` costs grow with length.
    - Actions: 0 does not admit the passage. With experts, 1 to 4 admit it in place of the passage that was used longest
      ago, least often, that has the lowest LFU-DA priority, or the one used longest ago among those that a peer holds as
      well. With sampled candidates, action 1 + k admits it in place of the k-th of 16 slots drawn anew each round. What
      is held already leaves only action 0, a free slot only 0 and 1, which then fills the lowest free slot; action 4
      needs a passage that a peer holds. Of equal candidates the lowest slot is taken.
    - Priority under LFU-DA: the agent's count of the passage, and the priority that it evicted last.

    An episode is a window of a trace, drawn uniformly; caches are warm: LFU-DA, on the 800 requests before. The
    family adds the time limit of `rounds` steps, which truncates.

    Observation [10 + 5 K], for each agent: of the incoming passage five features (logarithms of the agent's and of the
    team's counts, of the references since the last one; length; share of peers that hold it), its position in the request,
    whether the session is that of the agent's last request; the five features of each of K candidates; share of slots in
    use, average of recent hits, hour (sine). Global state [N * (10 + 5 K)]: those of all agents. When a passage is
    used next is in the windows, for oracles; no observation reads it.
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    capacity: int
    rounds: int
    n_docs: int
    is_sampled: bool
    default_params: CacheParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def layout(self) -> Layout:
        """Layout of a packed window."""
        return cache_layout(self.n_agents, self.capacity, self.rounds, self.n_docs)

    @property
    def n_candidates(self) -> int:
        """K."""
        return min(SAMPLES, self.capacity) if self.is_sampled else EXPERTS

    @property
    def rules(self) -> dict[str, Rule]:
        """Classical policies by name; none for sampled candidates."""
        return {} if self.is_sampled else CACHE_RULES

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metrics: shares of local and peer hits, and the mean cost, of the episode so far."""
        width = 10 + 5 * self.n_candidates
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(width,),
            num_actions=1 + self.n_candidates,
            state_size=self.n_agents * width,
            metrics=("local_hit", "peer_hit", "cost"),
            reset_is_costly=True,
        )

    def reset(self, key: jax.Array, params: CacheParams) -> tuple[CacheState, TimeStep]:
        """The start of a window. Consumes `key`."""
        window_key, candidate_key = jax.random.split(key)
        windows = jnp.asarray(params.windows)
        window = uniform_index(window_key, windows.shape[0])
        warm = [self.layout.read(windows, window, name) for name in WARM]
        caches = jax.vmap(restore_cache)(*warm)
        zero = jnp.zeros(())
        candidates, allowed = self._candidates(candidate_key, caches)
        average = jnp.zeros(self.n_agents)
        state = CacheState(window, jnp.zeros((), jnp.int32), caches, candidates, allowed, average, zero, zero, zero)
        obs, mask = self._show(state, params)
        return state, restart(self.spec, obs=obs, state=obs.ravel(), action_mask=mask)

    def step(
        self, key: jax.Array, state: CacheState, action: jax.Array, params: CacheParams
    ) -> tuple[CacheState, TimeStep]:
        """One round. `action`: [N] int32. Consumes `key`. Never terminates; after the window its last round repeats."""
        doc = self._round(state, params)[:, _DOC]
        local, holders = self._holders(state.caches, doc)
        length = self.layout.gather(jnp.asarray(params.windows), state.window, "length", doc).astype(jnp.float32)
        weight = 1 + params.token_weight * (length / MEAN_LENGTH - 1)
        elsewhere = ~local & (holders > 0)
        cost = jnp.where(local, 0.0, jnp.where(elsewhere, params.peer_cost, 1.0)) * weight
        slot = jnp.take_along_axis(state.candidates, jnp.maximum(action - 1, 0)[:, None], axis=1)[:, 0]
        caches = jax.vmap(refer)(state.caches, doc, action > 0, slot)
        t = state.t + 1
        share = 1 / t.astype(jnp.float32)

        def mean(before: jax.Array, now: jax.Array) -> jax.Array:
            return before + share * (now.astype(jnp.float32).mean() - before)

        candidates, allowed = self._candidates(key, caches)
        state = CacheState(
            window=state.window,
            t=t,
            caches=caches,
            candidates=candidates,
            allowed=allowed,
            hit_average=state.hit_average + _EMA * (local.astype(jnp.float32) - state.hit_average),
            local_hits=mean(state.local_hits, local),
            peer_hits=mean(state.peer_hits, elsewhere),
            cost=mean(state.cost, cost),
        )
        obs, mask = self._show(state, params)
        return state, transition(
            self.spec,
            obs=obs,
            state=obs.ravel(),
            action_mask=mask,
            reward=-cost.mean(),
            terminated=False,
            metrics={"local_hit": state.local_hits, "peer_hit": state.peer_hits, "cost": state.cost},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        from jaxmarl_envs.rag._viewer import draw_caches

        return draw_caches(ax, frame, self.layout, self.n_agents, is_sampled=self.is_sampled)

    def _round(self, state: CacheState, params: CacheParams) -> jax.Array:
        """[N, 5] int32: the next reference of each agent."""
        t = jnp.minimum(state.t, self.rounds)
        return self.layout.gather(jnp.asarray(params.windows), state.window, "refs", t)

    def _holders(self, caches: Cache, docs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Whether agent i has cached docs[i, ...], and how many of its peers have: [N, ...] bool and int32."""
        held = caches.place[:, docs] >= 0  # [N, N, ...]: by agent j, the passages of agent i
        agents = jnp.arange(self.n_agents)
        own = held[agents, agents]
        return own, held.astype(jnp.int32).sum(0) - own.astype(jnp.int32)

    def _candidates(self, key: jax.Array, caches: Cache) -> tuple[jax.Array, jax.Array]:
        """[N, K] slots and whether they may be chosen, ignoring free slots. Consumes `key`."""
        if self.is_sampled:
            noise = jax.random.uniform(key, (self.n_agents, self.capacity))
            slots = jax.lax.top_k(noise, self.n_candidates)[1].astype(jnp.int32)
            return slots, jnp.ones(slots.shape, bool)
        used = jax.vmap(lru_key)(caches)
        _, holders = self._holders(caches, jnp.maximum(caches.doc, 0))
        is_shared = (holders > 0) & (caches.doc >= 0)
        keys = (used, jax.vmap(lfu_key)(caches), caches.prio, jnp.where(is_shared, used, jnp.iinfo(jnp.int32).max))
        slots = jnp.stack([lowest(one) for one in keys], axis=1)
        always = jnp.ones((self.n_agents, EXPERTS - 1), bool)
        return slots, jnp.concatenate([always, is_shared.any(axis=1, keepdims=True)], axis=1)

    def _show(self, state: CacheState, params: CacheParams) -> tuple[jax.Array, jax.Array]:
        """Observations [N, 10 + 5 K] and masks [N, A]."""
        caches, refs = state.caches, self._round(state, params)
        held = jnp.maximum(jnp.take_along_axis(caches.doc, state.candidates, axis=1), 0)
        docs = jnp.concatenate([refs[:, :1], held], axis=1)  # [N, 1 + K]
        count = jnp.take_along_axis(caches.count, docs, axis=1)
        since = caches.time[:, None] - jnp.take_along_axis(caches.seen, docs, axis=1)
        local, holders = self._holders(caches, docs)
        length = self.layout.gather(jnp.asarray(params.windows), state.window, "length", docs)
        peers = jnp.float32(max(self.n_agents - 1, 1))
        features = jnp.stack(
            [
                _log(count),
                _log(caches.count.sum(0)[docs]),
                jnp.where(count > 0, _log(since), 1.5),
                length.astype(jnp.float32) / 512,
                holders.astype(jnp.float32) / peers,
            ],
            axis=-1,
        )
        columns = refs.astype(jnp.float32)
        angle = columns[:, _HOUR] * jnp.float32(2 * jnp.pi / 24)
        is_used = caches.doc >= 0
        rest = jnp.stack(
            [
                columns[:, _POSITION] / 6,
                columns[:, _SAME_SESSION],
                is_used.astype(jnp.float32).mean(axis=1),
                state.hit_average,
                jnp.sin(angle),
            ],
            axis=1,
        )
        obs = jnp.concatenate([features.reshape(self.n_agents, -1), rest], axis=1)
        hit, full = local[:, :1], is_used.all(axis=1, keepdims=True)
        first = jnp.arange(self.n_candidates) == 0
        evict = ~hit & jnp.where(full, state.allowed, first[None])
        return obs, jnp.concatenate([jnp.ones((self.n_agents, 1), bool), evict], axis=1)


def _log(number: jax.Array) -> jax.Array:
    return jnp.log1p(number.astype(jnp.float32)) * _LOG_SCALE


WARM = ("slot_doc", "slot_prio", "count", "seen", "age", "time")


def cache_layout(n_agents: int, capacity: int, rounds: int, n_docs: int) -> Layout:
    """Layout of the windows of `RagCache`."""
    return Layout(
        (
            ("refs", (rounds + 1, n_agents, len(REFERENCE_COLUMNS))),
            ("length", (n_docs,)),
            *warm_fields(n_agents, capacity, n_docs),
        )
    )


def warm_fields(n_agents: int, capacity: int, n_docs: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of the snapshots of N caches."""
    slots, docs = (n_agents, capacity), (n_agents, n_docs)
    return (
        ("slot_doc", slots),
        ("slot_prio", slots),
        ("count", docs),
        ("seen", docs),
        ("age", (n_agents,)),
        ("time", (n_agents,)),
    )
