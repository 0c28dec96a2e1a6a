"""Drawing of the particle environments: agents and landmarks."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, GOLD, INK, MUTED, RULE, WHITE, Frame, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(env: Any, ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws `frame` of JaxMARL's `env`: agents as discs with their numbers and last steps, landmarks as crosses; landmarks
    that are goals have a ring. Messages are the agents' numbers of the largest entry, beside them.
    """
    from matplotlib.patches import Circle, Rectangle

    place = np.asarray(frame.state.p_pos)
    radius = np.asarray(env.rad)
    n = env.num_agents
    half = max(1.2, np.ceil(np.abs(place).max() * 5) / 5 + 0.1)
    window = ax.get_window_extent()
    wide = half * window.width / window.height
    ax.add_patch(Rectangle((-1, -1), 2, 2, facecolor=WHITE, edgecolor=RULE, zorder=0))
    ax.set_xlim(-wide, wide)
    ax.set_ylim(-half, half)
    ax.set_aspect("equal")
    goals = _goals(env, frame.state)
    for k in range(n, len(place)):
        size = max(float(radius[k]), 0.05)
        ax.plot(*place[k], marker="X", markersize=9, color=INK, markeredgecolor=WHITE, linestyle="none", zorder=2)
        if k - n in goals:
            ax.add_patch(Circle(place[k], 2 * size, fill=False, edgecolor=GOLD, linewidth=2, zorder=2))
    for k in range(n):
        color = AGENTS[k % len(AGENTS)]
        if frame.previous is not None:
            before = np.asarray(frame.previous.p_pos)[k]
            ax.plot([before[0], place[k, 0]], [before[1], place[k, 1]], color=color, linewidth=2, alpha=0.6, zorder=3)
        size = float(radius[k])
        ax.add_patch(Circle(place[k], size, facecolor=color, edgecolor=WHITE, alpha=0.85, zorder=4))
        ax.text(
            place[k, 0],
            place[k, 1],
            str(k),
            color=WHITE,
            fontsize=8,
            fontweight="bold",
            ha="center",
            va="center_baseline",
            zorder=5,
        )
        words = np.asarray(frame.state.c)[k]
        if words.size and words.any():
            ax.text(
                place[k, 0] + 1.2 * size, place[k, 1], f"says {int(words.argmax())}", fontsize=8, color=MUTED, zorder=5
            )
    return Verdict("time limit", good=True) if frame.truncated else None


def _goals(env: Any, state: Any) -> set[int]:
    """The landmarks that are somebody's goal."""
    goal = getattr(state, "goal", None)
    return set() if goal is None else {int(number) for number in np.atleast_1d(np.asarray(goal))}
