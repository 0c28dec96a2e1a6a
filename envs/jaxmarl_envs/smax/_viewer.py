"""Drawing of SMAX: units with their health, and who shoots at whom."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import BAD, GOLD, GOOD, MUTED, RULE, WHITE, Frame, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, THEIRS, GROUND = "#2f6db5", "#c23b2e", "#eef0e6"
_RING = 0.16
"""Width of the ring that shows health, in units of the map."""


def draw(env: Any, ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws `frame` of JaxMARL's `env`."""
    from matplotlib.patches import Rectangle

    state = _smax(frame.state)
    place, alive = np.asarray(state.unit_positions), np.asarray(state.unit_alive).astype(bool)
    kinds = np.asarray(state.unit_types)
    left, right, bottom, top = _camera(ax, env, place)
    ax.add_patch(Rectangle((0, 0), env.map_width, env.map_height, facecolor=GROUND, edgecolor=RULE, zorder=0))
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_aspect("equal")
    for shooter, target in _shots(env, frame, alive):
        color = OURS if shooter < env.num_allies else THEIRS
        ax.annotate(
            "", xy=place[target], xytext=place[shooter], zorder=3,
            arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.3, "alpha": 0.75, "shrinkB": 7},
        )  # fmt: skip
    for unit in np.argsort(alive, kind="stable"):
        color = OURS if unit < env.num_allies else THEIRS
        if alive[unit]:
            _unit(
                ax,
                env,
                kinds[unit],
                (place[unit, 0], place[unit, 1]),
                float(np.asarray(state.unit_health)[unit]),
                color,
            )
        else:
            ax.plot(*place[unit], marker="x", color=MUTED, markersize=6, linestyle="none", zorder=2)
    counts = (alive[: env.num_allies].sum(), alive[env.num_allies :].sum())
    for x, name, count, whole, color in (
        (0.02, "allies", counts[0], env.num_allies, OURS), (0.98, "enemies", counts[1], env.num_enemies, THEIRS),
    ):  # fmt: skip
        ax.text(
            x, 0.96, f"{name} {count}/{whole}", transform=ax.transAxes, ha="left" if x < 0.5 else "right", va="top",
            fontsize=9, color=WHITE, fontweight="bold", zorder=9,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": color, "edgecolor": "none"},
        )  # fmt: skip
    if not (frame.terminated or frame.truncated):
        return None
    if counts[0] and counts[1]:
        return Verdict("out of time", good=False)
    return Verdict("won" if counts[0] else "lost" if counts[1] else "both sides fell", good=bool(counts[0]))


def _smax(state: Any) -> Any:
    """SMAX's own state: a heuristic's state holds it."""
    return getattr(state, "state", state)


def _camera(ax: "Axes", env: Any, place: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom, top: the part of the map where units stand, in steps of 4, with the shape of the axes."""
    window = ax.get_window_extent()
    low, high = np.floor((place.min(0) - 2) / 4) * 4, np.ceil((place.max(0) + 2) / 4) * 4
    whole = np.array([env.map_width, env.map_height], float)
    scale = max((high[0] - low[0]) / window.width, (high[1] - low[1]) / window.height, 16 / window.width)
    size = scale * np.array([window.width, window.height])
    middle = np.where(
        size < whole, np.clip((low + high) / 2, size / 2, np.maximum(whole - size / 2, size / 2)), whole / 2
    )
    (left, bottom), (right, top) = middle - size / 2, middle + size / 2
    return left, right, bottom, top


def _unit(ax: "Axes", env: Any, kind: int, place: tuple[float, float], health: float, color: str) -> None:
    """A disc with the kind's letter and a ring for its health."""
    from matplotlib.patches import Circle, Wedge

    radius = max(float(env.unit_type_radiuses[kind]), 0.5)
    share = min(max(health / float(env.unit_type_health[kind]), 0.0), 1.0)
    ring = GOOD if share > 0.6 else GOLD if share > 0.3 else BAD
    ax.add_patch(Circle(place, radius, facecolor=color, edgecolor=WHITE, linewidth=0.6, zorder=5))
    ax.add_patch(Wedge(place, radius + _RING, 90, 90 + 360 * share, width=_RING, facecolor=ring, zorder=5))
    ax.text(
        place[0], place[1], env.unit_type_shorthands[kind], color=WHITE, fontsize=8, fontweight="bold", ha="center",
        va="center_baseline", zorder=6, clip_on=True,
    )  # fmt: skip


def _shots(env: Any, frame: Frame, alive: np.ndarray) -> list[tuple[int, int]]:
    """Who shot at whom in the last step: a shot starts a weapon's cooldown."""
    if frame.previous is None:
        return []
    state, was = _smax(frame.state), _smax(frame.previous)
    orders = np.asarray(state.prev_attack_actions)
    cooldown, before = np.asarray(state.unit_weapon_cooldowns), np.asarray(was.unit_weapon_cooldowns)
    fired = np.asarray(was.unit_alive).astype(bool) & (cooldown > before)
    found = []
    for unit in map(int, np.nonzero(fired)[0]):
        number = int(orders[unit]) - env.num_movement_actions
        if number >= 0:
            is_ally = unit < env.num_allies
            target = number + env.num_allies if is_ally else env.num_allies - 1 - number
            if 0 <= target < len(alive):
                found.append((unit, target))
    return found
