"""Drawing of what grid games show: a colored square for every cell that a channel marks."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jaxmarl_envs.adapters._from_gymnax import FromGymnax, quiet
from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, GOOD, INK, MUTED, RULE, WHITE, Frame, Verdict

COLORS = (AGENTS[0], BAD, MUTED, GOLD, GOOD, AGENTS[2], AGENTS[3], AGENTS[4])
"""Of the channels, in order."""


@dataclasses.dataclass(frozen=True)
class GridGame(FromGymnax):
    """A game of gymnax whose observation is a grid, [H, W] or [H, W, C]."""

    channels: tuple[str, ...] = ()
    """What the channels show."""

    @cached_property
    def _look(self) -> Any:
        return jax.jit(self.env.get_obs)

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        with quiet():
            grid = np.asarray(self._look(frame.state.inner))
        return draw(ax, grid.reshape(*grid.shape[:2], -1), self.channels, frame)


def draw(ax: Any, grid: np.ndarray, channels: tuple[str, ...], frame: Frame) -> Verdict | None:
    """Draws `grid` [H, W, C] with a legend; where channels overlap, the squares of later ones are smaller."""
    from matplotlib.patches import Patch, Rectangle

    height, width, depth = grid.shape
    ax.add_patch(Rectangle((0, 0), width, height, facecolor=WHITE, edgecolor=RULE, linewidth=1.0))
    for k in range(1, width):
        ax.plot([k, k], [0, height], color=RULE, linewidth=0.5, zorder=1)
    for k in range(1, height):
        ax.plot([0, width], [k, k], color=RULE, linewidth=0.5, zorder=1)
    before = np.cumsum(grid != 0, axis=-1) - (grid != 0)  # channels drawn in the cell already
    for y, x, k in np.argwhere(grid):
        size = 0.92 * 0.72 ** before[y, x, k]
        corner = (x + (1 - size) / 2, height - 1 - y + (1 - size) / 2)
        ax.add_patch(Rectangle(corner, size, size, facecolor=COLORS[k % len(COLORS)], zorder=2 + k))
    handles = [Patch(color=COLORS[k % len(COLORS)], label=name) for k, name in enumerate(channels[:depth])]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        labelcolor=INK,
    )
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    ax.set_aspect("equal")
    return Verdict("game over", good=False) if frame.terminated and frame.reward <= 0 else None
