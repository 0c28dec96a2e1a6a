"""Drawing of the hallway: one corridor per agent, the goal cells on the left."""

from typing import TYPE_CHECKING

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, GOLD, INK, MUTED, RULE, WHITE, Frame, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(ax: "Axes", frame: Frame, lengths: tuple[int, ...]) -> Verdict | None:
    """Draws corridors of these `lengths` after `frame.step` steps, with the path of each agent."""
    from matplotlib.patches import FancyBboxPatch

    x = np.asarray(frame.state.x)
    before = x if frame.previous is None else np.asarray(frame.previous.x)
    n, longest = len(lengths), max(lengths)
    left, right, low, high = -0.9 - 0.17 * (longest + 3), longest + 0.6, -0.95, max(n - 0.3, 2.2)
    # Cells grow taller where long corridors leave room, and agents with the width of a cell.
    aspect = float(np.clip(0.56 * (right - left) / (high - low), 1.0, 1.6))
    size = float(np.clip(230 / (right - left), 6, 24))
    for i, length in enumerate(lengths):
        y, color = n - 1 - i, AGENTS[i % len(AGENTS)]
        ax.text(-0.85, y, f"agent {i}", ha="right", va="center", fontsize=11, color=color)
        for cell in range(length + 1):
            goal = cell == 0
            ax.add_patch(
                FancyBboxPatch(
                    (cell - 0.45, y - 0.36),
                    0.90,
                    0.72,
                    boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor="#fbf0d6" if goal else WHITE,
                    edgecolor=GOLD if goal else RULE,
                    linewidth=1.8 if goal else 1.0,
                )
            )
        if before[i] != x[i]:
            ax.plot([before[i], x[i]], [y, y], color=color, alpha=0.35, linewidth=5, solid_capstyle="round")
        ax.plot(x[i], y, marker="o", markersize=size, color=color, markeredgecolor=WHITE, markeredgewidth=1.5, zorder=4)
        ax.text(x[i], y, str(i), color=WHITE, fontsize=size / 2, fontweight="bold", ha="center", va="center", zorder=5)
    for cell in range(longest + 1):
        name = "goal" if cell == 0 else str(cell)
        ax.text(cell, -0.62, name, ha="center", va="center", fontsize=9, color=INK if cell == 0 else MUTED)
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.set_aspect(aspect, adjustable="box")
    if (x == 0).all():
        return Verdict("won together", good=True)
    if (x == 0).any():
        return Verdict("lost: " + ", ".join(f"agent {i}" for i in np.nonzero(x == 0)[0]) + " came first", good=False)
    return Verdict("lost: out of time", good=False) if frame.truncated else None
