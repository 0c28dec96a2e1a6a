"""Drawing of both tasks: the contents of the caches, and the work of the replicas."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, GOOD, INK, MUTED, RULE, WHITE, Frame, Verdict
from jaxmarl_envs.rag._layout import Layout
from jaxmarl_envs.rag._replicas import UNITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SLOTS_A_LINE = 32
_EXPERTS = ("not admitted", "for the LRU one", "for the LFU one", "for the LFU-DA one", "for one that a peer has")


def draw_caches(ax: "Axes", frame: Frame, layout: Layout, n_agents: int, *, is_sampled: bool) -> Verdict | None:
    """Draws each agent's slots, darker if used more recently, the passages of this round, and costs so far."""
    caches, n = frame.state.caches, n_agents
    capacity = caches.doc.shape[1]
    lines = -(-capacity // _SLOTS_A_LINE)
    for agent in range(n):
        doc, seen = np.asarray(caches.doc[agent]), np.asarray(caches.seen[agent])
        since = np.where(doc >= 0, int(caches.time[agent]) - seen[np.maximum(doc, 0)], -1)
        before = doc if frame.previous is None else np.asarray(frame.previous.caches.doc[agent])
        top = -agent * (lines + 1.2)
        ax.text(-0.6, top, f"agent {agent}", ha="right", va="center", fontsize=9, color=AGENTS[agent % len(AGENTS)])
        for slot in range(capacity):
            line, column = divmod(slot, _SLOTS_A_LINE)
            strength = 0.0 if since[slot] < 0 else 1 / (1 + since[slot] / capacity)
            _cell(ax, column, top - line, AGENTS[agent % len(AGENTS)], strength, is_new=doc[slot] != before[slot])
        if frame.previous is not None:
            text, color = _outcome(frame, layout, agent, is_sampled=is_sampled)
            ax.text(0, top - lines + 0.25, text, ha="left", va="center", fontsize=8, color=color)
    state = frame.state
    local, peers, cost = (float(x) for x in (state.local_hits, state.peer_hits, state.cost))
    summary = f"local hits {local:.2f}   from peers {peers:.2f}   cost {cost:.3f}"
    ax.text(0, 1.3, summary, fontsize=10, color=INK, va="center")
    ax.set_xlim(-4.5, min(capacity, _SLOTS_A_LINE) + 0.5)
    ax.set_ylim(-n * (lines + 1.2), 2)
    return None


def _cell(ax: "Axes", x: float, y: float, color: str, strength: float, *, is_new: bool) -> None:
    from matplotlib.patches import Rectangle

    edge = GOLD if is_new else RULE
    ax.add_patch(Rectangle((x, y - 0.4), 0.85, 0.8, facecolor=WHITE, edgecolor=edge, linewidth=2 if is_new else 0.8))
    if strength:
        ax.add_patch(Rectangle((x, y - 0.4), 0.85, 0.8, facecolor=color, alpha=0.15 + 0.75 * strength, linewidth=0))


def _outcome(frame: Frame, layout: Layout, agent: int, *, is_sampled: bool) -> tuple[str, str]:
    """The passage that an agent met in the round before `frame`, and a color."""
    before = frame.previous
    refs = layout.unpack(np.asarray(frame.params.windows)[int(before.window)])["refs"]
    doc = int(refs[min(int(before.t), len(refs) - 1), agent, 0])
    held = np.asarray(before.caches.place)[:, doc] >= 0
    if held[agent]:
        return f"passage {doc}: hit", GOOD
    source = "from a peer" if held.any() else "computed anew"
    action = int(frame.action[agent])
    what = _EXPERTS[action] if not is_sampled else "admitted" if action else "not admitted"
    if action and (np.asarray(before.caches.doc[agent]) < 0).any():
        what = "into a free slot"
    return f"passage {doc}: {source}, {what}", GOLD if held.any() else BAD


def draw_serving(ax: "Axes", frame: Frame, layout: Layout, n_agents: int) -> Verdict | None:
    """Draws the pool, each replica's work, and the times to the first token so far over the times of arrival."""
    state = frame.state
    now = int(state.t) * int(frame.params.speed.slot)
    arrival = layout.unpack(np.asarray(frame.params.windows)[int(state.window)])["arrival"]
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    work, times = ax.inset_axes((0.11, 0.12, 0.38, 0.7)), ax.inset_axes((0.58, 0.12, 0.40, 0.7))
    _draw_work(work, state.batch, n_agents)
    first, replica = np.asarray(state.first), np.asarray(state.replica)
    has = first >= 0
    colors = [AGENTS[i % len(AGENTS)] for i in replica[has]]
    times.scatter(arrival[has] / UNITS, (first[has] - arrival[has]) / UNITS, s=9, c=colors)
    waits = (arrival <= now) & ~has
    times.scatter(arrival[waits] / UNITS, (now - arrival[waits]) / UNITS, s=12, facecolors="none", edgecolors=MUTED)
    times.set_title("time to the first token, s", loc="left", fontsize=9, color=INK)
    times.set_xlabel("arrival, s (open: still without)", fontsize=8, color=MUTED)
    times.set_xlim(0, arrival[-1] / UNITS + 1)
    times.tick_params(labelsize=7, colors=MUTED)
    times.spines[["top", "right"]].set_visible(False)
    pool = int(((arrival <= now) & (replica < 0)).sum())
    hits, reads = np.asarray(state.references)[:2]
    text = f"{now / UNITS:.2f} s   {pool} waiting   hits {hits / max(reads, 1):.2f}   {int(state.conflicts)} conflicts"
    ax.text(0.0, 0.97, text, fontsize=10, color=INK, va="center")
    if frame.terminated:
        return Verdict(f"all served, TTFT {-frame.episode_return:.2f} s", good=True)
    return Verdict(f"{int((np.asarray(state.done) < 0).sum())} unfinished", good=False) if frame.truncated else None


def _draw_work(ax: "Axes", batch: Any, n: int) -> None:
    """Bars of prefill left by request, and a dot for each request that is decoded."""
    ax.set_title("prefill left, s (dots: decoded)", loc="left", fontsize=9, color=INK)
    need, request, left = (np.asarray(x) for x in (batch.need, batch.request, batch.left))
    for agent in range(n):
        start, y = 0.0, n - 1 - agent
        color = AGENTS[agent % len(AGENTS)]
        for seconds in need[agent][request[agent] >= 0] / UNITS:
            ax.barh(y, seconds, left=start, height=0.55, color=color, edgecolor=WHITE)
            start += seconds
        decoded = int(((request[agent] >= 0) & (need[agent] == 0) & (left[agent] > 0)).sum())
        ax.plot(0.03 + 0.06 * np.arange(decoded), np.full(decoded, y + 0.4), "o", markersize=3.5, color=color)
    ax.set_yticks(range(n), [f"replica {n - 1 - i}" for i in range(n)], fontsize=8, color=MUTED)
    ax.set_ylim(-0.6, n - 0.3)
    ax.set_xlim(0, max(1.0, float(need.sum(axis=1).max()) / UNITS * 1.05))
    ax.tick_params(labelsize=7, colors=MUTED)
    ax.spines[["top", "right"]].set_visible(False)
