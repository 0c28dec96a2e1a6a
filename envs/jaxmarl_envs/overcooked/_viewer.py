"""Drawing of Overcooked: the kitchen, the cooks and what they carry, and the pots."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, GOLD, GOOD, INK, RULE, WHITE, Frame, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLOOR, _COUNTER = "#f4f2ea", "#cdbfa4"
_, _, _ONION, _ONIONS, _PLATE, _PLATES, _GOAL, _POT, _SOUP = range(1, 10)
"""JaxMARL's numbers of objects."""
_FULL, _NO_ONIONS = 20, 23
"""JaxMARL's status of a pot: 23 without onions, 20 with three; below it, the steps that it still cooks."""
_WAYS = ((0, -1), (0, 1), (1, 0), (-1, 0))
_SOUP_COLOR, _ONION_COLOR = "#a5522d", "#e3b23c"


def draw(env: Any, ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws `frame` of JaxMARL's `env`."""
    from matplotlib.patches import Rectangle

    state = frame.state
    walls = np.asarray(state.wall_map)
    height, width = walls.shape
    pad = (np.asarray(state.maze_map).shape[0] - height) // 2
    maze = np.asarray(state.maze_map)[pad : pad + height, pad : pad + width]
    window = ax.get_window_extent()
    scale = max(width / window.width, height / window.height)
    spare = (scale * window.width - width) / 2
    ax.set_xlim(-0.5 - spare, width - 0.5 + spare)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_aspect("equal")
    for y in range(height):
        for x in range(width):
            color = _COUNTER if walls[y, x] else _FLOOR
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor=RULE, zorder=0))
            _thing(ax, x, y, int(maze[y, x, 0]), int(maze[y, x, 2]))
    for k, (x, y) in enumerate(np.asarray(state.agent_pos).astype(int)):
        _cook(ax, k, x, y, int(np.asarray(state.agent_dir_idx)[k]), int(np.asarray(state.agent_inv)[k]))
    return Verdict("time limit", good=True) if frame.truncated else None


def _thing(ax: "Axes", x: float, y: float, kind: int, status: int) -> None:
    """An object on a counter or a source of objects."""
    from matplotlib.patches import Rectangle

    if kind in (_ONIONS, _PLATES):
        for dx, dy in ((-0.16, 0.1), (0.16, 0.1), (0.0, -0.14)):
            _item(ax, x + dx, y + dy, _ONION if kind == _ONIONS else _PLATE, 0.15)
    elif kind == _GOAL:
        ax.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, facecolor=GOOD, edgecolor=WHITE, zorder=1))
        ax.text(x, y, "serve", fontsize=8, color=WHITE, ha="center", va="center_baseline", fontweight="bold", zorder=2)
    elif kind == _POT:
        _pot(ax, x, y, status)
    elif kind in (_ONION, _PLATE, _SOUP):
        _item(ax, x, y, kind, 0.24)


def _item(ax: "Axes", x: float, y: float, kind: int, radius: float) -> None:
    """An onion, a plate, or a plate of soup."""
    from matplotlib.patches import Circle

    color = _ONION_COLOR if kind == _ONION else WHITE
    ax.add_patch(Circle((x, y), radius, facecolor=color, edgecolor=INK, linewidth=0.8, zorder=6))
    if kind == _SOUP:
        ax.add_patch(Circle((x, y), 0.65 * radius, facecolor=_SOUP_COLOR, edgecolor="none", zorder=6))


def _pot(ax: "Axes", x: float, y: float, status: int) -> None:
    """A pot with its onions; while it cooks, an arc for the time left; a green ring once it is done."""
    from matplotlib.patches import Circle, Wedge

    ax.add_patch(Circle((x, y), 0.4, facecolor=INK, edgecolor=WHITE, zorder=1))
    onions = min(_NO_ONIONS - status, 3)
    if status <= _FULL:
        ax.add_patch(Circle((x, y), 0.28, facecolor=_SOUP_COLOR, edgecolor="none", zorder=2))
        share = 1 - status / _FULL
        color = GOOD if status == 0 else GOLD
        ax.add_patch(Wedge((x, y), 0.46, -90, -90 + 360 * share, width=0.1, facecolor=color, zorder=3))
        if status:
            ax.text(x, y, str(status), fontsize=8, color=WHITE, ha="center", va="center_baseline", zorder=3)
    for k in range(onions if status > _FULL else 0):
        _item(ax, x + 0.16 * (k - 1), y, _ONION, 0.12)


def _cook(ax: "Axes", k: int, x: float, y: float, direction: int, held: int) -> None:
    """A cook, with a nose to the side where he faces, and what he holds in front of him."""
    from matplotlib.patches import Circle

    dx, dy = _WAYS[direction]
    color = AGENTS[k % len(AGENTS)]
    ax.add_patch(Circle((x, y), 0.36, facecolor=color, edgecolor=WHITE, linewidth=1.2, zorder=4))
    ax.add_patch(Circle((x + 0.34 * dx, y + 0.34 * dy), 0.09, facecolor=color, edgecolor=WHITE, linewidth=1, zorder=5))
    ax.text(x, y, str(k), color=WHITE, fontsize=10, fontweight="bold", ha="center", va="center_baseline", zorder=5)
    if held in (_ONION, _PLATE, _SOUP):
        _item(ax, x + 0.25 * dx + 0.18, y + 0.25 * dy - 0.18, held, 0.17)
