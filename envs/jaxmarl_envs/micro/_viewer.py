"""Drawing of a fight: the ground, and every unit with its health, shield, target and shots."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import BAD, GOOD, INK, MUTED, PAPER, RULE, WHITE, Frame, Verdict
from jaxmarl_envs.micro._kinds import KINDS
from jaxmarl_envs.micro._maps import SIZE
from jaxmarl_envs.micro._params import CELL
from jaxmarl_envs.micro._plan import LOOPS, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS = "#2f6db5", "#c23b2e"
_WIDTH = 22
"""Fewest cells across a picture."""
SHIELD, GROUND, CLIFF = "#35b6d6", "#eef0e6", "#cfd4d0"
_RING = 0.16
"""Cells, width of the rings of health and shield."""


def draw(plan: Plan, ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws everybody after `frame.step` steps, with the shots of the last one."""
    state = frame.state
    n = plan.n_allies
    names = _names(plan, state)
    x, y = np.asarray(state.x) / CELL, np.asarray(state.y) / CELL
    alive = np.asarray(state.hp) > 0
    pixel = _camera(ax, x, y, frame.params)
    _ground(ax, plan, frame.params)
    if alive[0]:
        _ring(ax, x[0], y[0], float(frame.params.sight), color=MUTED, alpha=0.35, linestyle=(0, (2, 3)))
    targets, healed = _shots(plan, frame, names)
    for u, v in targets.items():
        color = GOOD if u in healed else OURS if u < n else THEIRS
        ax.plot([x[u], x[v]], [y[u], y[v]], color=color, linewidth=1.3, alpha=0.75, zorder=3, solid_capstyle="round")
        hit_x, hit_y = _rim(x[u], y[u], x[v], y[v], _radius(names[v]) + 2 * _RING)
        ax.plot(
            hit_x, hit_y, marker="*", markersize=7, color=color, markeredgecolor=WHITE, markeredgewidth=0.5, zorder=7
        )
        if len(targets) <= 6 and KINDS[names[u]].range > 1:
            reach = KINDS[names[u]].range + KINDS[names[u]].radius
            _ring(ax, x[u], y[u], reach, color=color, alpha=0.18)
    for u in np.argsort(~alive, kind="stable")[::-1]:  # the dead below the living
        is_new = frame.previous is not None and bool(np.asarray(frame.previous.hp)[u] > 0)
        if alive[u]:
            _unit(ax, plan, frame, int(u), names[u], x[u], y[u], pixel)
        else:
            _fallen(ax, x[u], y[u], OURS if u < n else THEIRS, is_new)
    left, right = int(alive[:n].sum()), int(alive[n:].sum())
    for place, count, whole, color, side in (
        (0.02, left, n, OURS, "left"),
        (0.98, right, plan.n_enemies, THEIRS, "right"),
    ):
        ax.text(
            place, 0.965, f"{'allies' if side == 'left' else 'enemies'} {count}/{whole}", transform=ax.transAxes, ha=side,
            va="top", fontsize=9, color=WHITE, fontweight="bold", zorder=9,
            bbox={"boxstyle": "round,pad=0.3,rounding_size=0.5", "facecolor": color, "edgecolor": "none"},
        )  # fmt: skip
    return _verdict(frame, names, alive, n)


def _names(plan: Plan, state: Any) -> list[str]:
    places = np.asarray(state.kinds).astype(int) if plan.draws_teams else plan.allies + plan.enemies
    return [plan.kinds[int(k)] for k in places]


def _camera(ax: "Axes", x: np.ndarray, y: np.ndarray, params: Any) -> float:
    """Shows the part of the ground where units stand or fell, in steps of 4 cells; returns points per cell."""
    window = ax.get_window_extent()  # in pixels
    dpi = ax.figure.dpi
    width, height = window.width / dpi, window.height / dpi
    edges = []
    for places, low, high in ((x, params.box[0], params.box[2]), (y, params.box[1], params.box[3])):
        first, last = np.floor((places.min() - 2) / 4) * 4, np.ceil((places.max() + 2) / 4) * 4
        edges.append([max(float(low), first) - 0.3, min(float(high), last) + 0.3])
    (left, right), (bottom, top) = edges
    cells = max((right - left) / width, (top - bottom) / height, _WIDTH / width)
    sides = ((left, right, cells * width, 0), (bottom, top, cells * height, 1))
    limits: tuple[Any, ...] = ax.set_xlim, ax.set_ylim
    for (first, last, size, axis), limit in zip(sides, limits):
        low, high = float(params.box[axis]) - 0.3, float(params.box[axis + 2]) + 0.3
        middle = np.clip((first + last) / 2, low + size / 2, high - size / 2) if size < high - low else (low + high) / 2
        limit(middle - size / 2, middle + size / 2)
    ax.set_aspect("equal", adjustable="box")
    return 72 / cells


def _ground(ax: "Axes", plan: Plan, params: Any) -> None:
    """Cells that can be walked on are light."""
    from matplotlib.patches import Rectangle

    low_x, low_y, high_x, high_y = (float(edge) for edge in np.asarray(params.box))
    if plan.is_box:
        ax.add_patch(
            Rectangle((low_x, low_y), high_x - low_x, high_y - low_y, facecolor=GROUND, edgecolor=RULE, zorder=0)
        )
        return
    rows = np.asarray(params.rows)
    cells = np.array([[int(row) >> column & 1 for column in range(SIZE)] for row in rows], float)
    cells[cells == 0] = np.nan
    from matplotlib.colors import ListedColormap

    ax.imshow(cells, origin="lower", extent=(0, SIZE, 0, SIZE), cmap=ListedColormap([GROUND]), zorder=0)
    ax.add_patch(Rectangle((low_x, low_y), high_x - low_x, high_y - low_y, facecolor=CLIFF, edgecolor=RULE, zorder=-1))
    for column, row in np.asarray(params.portals):
        ax.plot(column, row, marker="^", markersize=7, color=WHITE, markeredgecolor=MUTED, zorder=1)


def _ring(ax: "Axes", x: float, y: float, radius: float, **style: Any) -> None:
    from matplotlib.patches import Circle

    ax.add_patch(Circle((x, y), radius, fill=False, linewidth=0.9, zorder=1, **style))


def _radius(name: str) -> float:
    """Of the disc that stands for a unit of this kind, in cells; small ones are enlarged to be read."""
    return max(KINDS[name].body, 0.42)


def _rim(from_x: float, from_y: float, x: float, y: float, radius: float) -> tuple[float, float]:
    """Where the line from one point to another meets a circle around the latter; its middle if they are closer than that."""
    distance = float(np.hypot(from_x - x, from_y - y))
    share = min(radius / max(distance, 1e-6), 0.5)
    return x + share * (from_x - x), y + share * (from_y - y)


def _unit(ax: "Axes", plan: Plan, frame: Frame, u: int, name: str, x: float, y: float, pixel: float) -> None:
    """A disc with the kind's letter; around it health (full circle: unhurt) and, outside, shield."""
    from matplotlib.patches import Circle, Wedge

    kind, is_ally = KINDS[name], u < plan.n_allies
    color, params = (OURS, frame.params) if is_ally else (THEIRS, frame.params)
    table = params.allies if is_ally else params.enemies
    health = float(params.ally_health if is_ally else params.enemy_health)
    k = plan.kinds.index(name)
    whole, most = float(np.asarray(table.hp)[k]) * health, float(np.asarray(table.shield)[k]) * health
    radius, width = _radius(name), _RING
    layer = 6 if kind.flies or not kind.collides else 5
    share = float(np.clip(np.asarray(frame.state.hp)[u] / max(whole, 1e-6), 0, 1))
    ax.add_patch(Circle((x, y), radius, facecolor=color, edgecolor=WHITE, linewidth=0.6, zorder=layer, alpha=0.92))
    ax.add_patch(Circle((x, y), radius, fill=False, edgecolor=PAPER, linewidth=0.5, zorder=layer))
    health_color = GOOD if share > 0.6 else "#e3a72f" if share > 0.3 else BAD
    ax.add_patch(Wedge((x, y), radius + width, 90, 90 + 360 * share, width=width, facecolor=health_color, zorder=layer))
    if most > 0:
        left = float(np.clip(np.asarray(frame.state.shield)[u] / most, 0, 1))
        if left > 0:
            ax.add_patch(
                Wedge((x, y), radius + 2 * width, 90, 90 + 360 * left, width=width, facecolor=SHIELD, zorder=layer)
            )
    size = 1.25 * radius * pixel
    if size >= 4:
        ax.text(
            x, y, kind.letter, color=WHITE, fontsize=min(size, 11), fontweight="bold", ha="center", va="center_baseline",
            zorder=layer + 0.5, clip_on=True,
        )  # fmt: skip


def _fallen(ax: "Axes", x: float, y: float, color: str, is_new: bool) -> None:
    ax.plot(
        x, y, marker="X" if is_new else "x", markersize=9 if is_new else 5, color=color if is_new else MUTED,
        markeredgecolor=INK if is_new else MUTED, markeredgewidth=0.8, alpha=1.0 if is_new else 0.6,
        zorder=8 if is_new else 2, linestyle="none",
    )  # fmt: skip


def _shots(plan: Plan, frame: Frame, names: list[str]) -> tuple[dict[int, int], set[int]]:
    """Who shot at or healed whom in the last step, as numbers of units, and who of them healed."""
    if frame.previous is None:
        return {}, set()
    n = plan.n_allies
    before, after = frame.previous, frame.state
    was_alive = np.asarray(before.hp) > 0
    # A shot adds to the time until the next one, which otherwise only falls.
    fired = was_alive & (np.asarray(after.cool) > np.maximum(np.asarray(before.cool) - LOOPS, 0) + 1e-3)
    found: dict[int, int] = {}
    healed: set[int] = set()
    for u in map(int, np.nonzero(was_alive)[0]):
        heals = KINDS[names[u]].heals and bool(np.asarray(after.mends)[u] > 0)
        if u < n:
            target = int(np.asarray(frame.action)[u]) - 6
            if target >= 0 and (fired[u] or heals):
                found[u] = target if heals else n + target
        elif fired[u]:
            aims = [int(np.asarray(s.target)[u - n]) for s in (after, before)]
            target = next((a for a in aims if a >= 0), -1)
            if target >= 0:
                found[u] = target
        if heals and u in found:
            healed.add(u)
    return found, healed


def _verdict(frame: Frame, names: list[str], alive: np.ndarray, n: int) -> Verdict | None:
    if not frame.terminated:
        return Verdict("out of time", good=False) if frame.truncated else None
    fighters = [bool(lives) and not KINDS[name].heals for lives, name in zip(alive, names)]
    if any(fighters[:n]) and not any(fighters[n:]):
        return Verdict("won", good=True)
    if alive[:n].any():
        return Verdict("lost: only medivacs are left", good=False)
    return Verdict("lost" if alive[n:].any() else "both sides fell", good=False)
