"""Classical rules for both tasks, as functions of the observation: `rule(timestep) -> action [N] int32` of one
instance.

They use all agents' observations, like a central scheduler, but not the future. They are strong baselines, not bounds.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import TimeStep
from jaxmarl_envs.rag._interface import (
    BYPASS,
    ENTRY,
    EVICT_LFU,
    EVICT_LFU_DA,
    EVICT_LRU,
    EVICT_SHARED,
    OWN,
    POOL,
)
from jaxmarl_envs.rag._replicas import MODES

Rule = Callable[[TimeStep], jax.Array]

_TOKEN_SECONDS, _TOKENS = 0.00015, 2048
_GUARD_SECONDS = 2.0
"""Age from which waiting requests have priority in the guarded order."""
_HELD_BY_PEERS = 4
"""Index in the caching task's observation of the share of peers that hold the incoming passage."""


def _evicts(action: int, otherwise: int = EVICT_LFU_DA) -> Rule:
    """Always admits with `action`, or with `otherwise` if that is not possible."""

    def rule(timestep: TimeStep) -> jax.Array:
        mask = timestep.action_mask
        chosen = jnp.where(mask[:, action], action, jnp.where(mask[:, otherwise], otherwise, EVICT_LRU))
        return jnp.where(mask[:, EVICT_LRU], chosen, BYPASS).astype(jnp.int32)  # without it: a local hit

    return rule


def _unless_held(rule: Rule) -> Rule:
    """The rule for passages that no peer has cached; others are not admitted."""
    return lambda timestep: jnp.where(timestep.obs[:, _HELD_BY_PEERS] > 0, BYPASS, rule(timestep)).astype(jnp.int32)


CACHE_RULES: dict[str, Rule] = {
    "lru": _evicts(EVICT_LRU),
    "lfu": _evicts(EVICT_LFU),
    "lfu-da": _evicts(EVICT_LFU_DA),
    "shared-first": _evicts(EVICT_SHARED),
    "lru-unless-held": _unless_held(_evicts(EVICT_LRU)),
    "lfu-da-unless-held": _unless_held(_evicts(EVICT_LFU_DA)),
    "bypass": lambda timestep: jnp.zeros(timestep.reward.shape, jnp.int32),
}
"""Rules for the caching task with expert actions."""

PLACEMENTS = ("rr", "jsq", "session", "overlap", "balanced")
"""Who takes a request: whose turn it is; who has least to do; who served the session last (if anybody did); who holds
most of its passages; who would finish its prefill first. `session` and `overlap` wait for their replica."""
ORDERS = ("fifo", "sjf", "guard")
"""Which request is first: the oldest; the one with the fewest uncached tokens; the same, after those that waited for two
seconds."""


def serve_rule(placement: str, order: str, mode: str) -> Rule:
    """Requests go one after another to the replica that suits them best; a replica takes one per slot."""

    def rule(timestep: TimeStep) -> jax.Array:
        obs, may_claim = timestep.obs, timestep.action_mask[:, 1:].any(axis=1)
        n = obs.shape[0]
        entries = obs[:, OWN : OWN + ENTRY * POOL].reshape(n, POOL, ENTRY)
        valid, age = entries[0, :, 0] > 0, jnp.expm1(entries[0, :, 1])
        score, is_strict = _placement_score(placement, obs, entries)
        uncached = jnp.where(valid, entries[:, :, 2].min(axis=0), jnp.inf)
        first = jnp.arange(POOL, dtype=jnp.float32) if order == "fifo" else uncached
        if order == "guard":
            first = jnp.where(age > _GUARD_SECONDS, -age, first)
        sequence = jnp.argsort(jnp.where(valid, first, jnp.inf)).astype(jnp.int32)

        def place(action: jax.Array, entry: jax.Array) -> tuple[jax.Array, None]:
            is_free = may_claim & (action == 0)
            wishes = score[:, entry]
            chosen = jnp.argmax(jnp.where(is_free | is_strict[entry], wishes, -jnp.inf))
            takes = valid[entry] & is_free[chosen]
            claim = 1 + len(MODES) * entry + MODES.index(mode)
            return action.at[chosen].set(jnp.where(takes, claim, action[chosen])), None

        return jax.lax.scan(place, jnp.zeros(n, jnp.int32), sequence)[0]

    return rule


def _placement_score(placement: str, obs: jax.Array, entries: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[N, 8] float32, how well each replica suits each request, and [8] bool, whether it waits for the best one."""
    backlog = jnp.expm1(obs[:, 0])[:, None]  # seconds
    never = jnp.zeros(POOL, bool)
    if placement == "rr":
        return jnp.broadcast_to(-obs[:, 4:5], entries.shape[:2]), never
    if placement == "jsq":
        return jnp.broadcast_to(-backlog, entries.shape[:2]), never
    if placement == "session":
        here = entries[:, :, 8]
        return 1000 * here - backlog, here.max(axis=0) > 0
    if placement == "overlap":
        overlap = entries[:, :, 3]
        return 1000 * overlap - backlog, overlap.max(axis=0) > 0
    seconds = entries[:, :, 2] * (_TOKENS * _TOKEN_SECONDS) / jnp.maximum(obs[:, 3:4], 1e-3)
    return -(backlog + seconds), never


SERVE_RULES: dict[str, Rule] = {
    f"{placement}-{order}+{mode}": serve_rule(placement, order, mode)
    for placement in PLACEMENTS
    for order in ORDERS
    for mode in MODES
}
"""Rules for the serving task: placement, order and cache mode."""
