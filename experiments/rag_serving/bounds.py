"""What no policy of the caching task can go below, from its windows."""

from typing import Any

import numpy as np
from jaxmarl_envs.rag.trace import simulate


def cost_bound(env: Any) -> float:
    """A lower bound on the mean cost over all windows; it reads the future, and no policy may reach it.

    A reference saves all of its cost at most where the agent's own cache hits, and 1 - `peer_cost` of it where any cache
    does. MIN with bypass has the most hits that one cache of C passages can have, and one of N C passages the most that N
    caches can have together: cost >= 1 - (1 - p) pooled - p local. Costs must count passages, not tokens.
    """
    inner = env.unwrapped
    peer_cost = float(inner.default_params.peer_cost)
    if float(inner.default_params.token_weight):
        raise ValueError("the bound is for costs that count passages: token_weight must be 0")
    bounds = []
    for row in inner.default_params.windows:
        window = inner.layout.unpack(row)
        docs, slots = window["refs"][: inner.rounds, :, 0], window["slot_doc"]
        own = [_hits(docs[:, i], slots[i], inner.capacity) for i in range(inner.n_agents)]
        pooled = _hits(docs.ravel(), slots.ravel(), inner.n_agents * inner.capacity)
        bounds.append(1 - (1 - peer_cost) * pooled - peer_cost * float(np.mean(own)))
    return float(np.mean(bounds))


def _hits(docs: np.ndarray, slots: np.ndarray, capacity: int) -> float:
    """Share of `docs` that hit under MIN with bypass, in a cache that holds `slots` at first."""
    held = np.unique(slots[slots >= 0])
    return float(simulate("MIN-BYPASS", np.concatenate([held, docs]), capacity)[len(held) :].mean())
