"""Drawing of the toy tasks."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, GOOD, INK, MUTED, RULE, WHITE, Frame, Verdict, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_pendulum(ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws the rod, a ghost of where it was, and the torque as an arc."""
    angle = float(frame.state.angle)
    length = 1.0
    if frame.previous is not None:
        _rod(ax, float(frame.previous.angle), length, RULE)
    ax.plot([0, 0], [0, 1.12], color=GOLD, linewidth=1.2, linestyle=(0, (2, 3)), zorder=1)
    ax.plot(0, 1.2, marker="*", markersize=11, color=GOLD, zorder=2)
    _rod(ax, angle, length, AGENTS[0])
    ax.plot(0, 0, marker="o", markersize=7, color=INK, zorder=6)
    ax.set_xlim(-2.35, 2.35)
    ax.set_ylim(-1.2, 1.34)
    ax.set_aspect("equal", adjustable="box")
    _lines(ax, [f"angle {number(np.degrees(angle))}°", f"velocity {number(float(frame.state.velocity))} rad/s"])
    if frame.action is not None:
        _bars(ax, np.clip(np.nan_to_num(frame.action[:, 0]), -1, 1), "torque, share of the most")
    if not frame.truncated:
        return None
    good = abs(angle) < 0.2
    return Verdict("upright at the end" if good else "not upright at the end", good)


def _rod(ax: "Axes", angle: float, length: float, color: str) -> None:
    # The angle grows against the clock, as the rod's equation of motion has it.
    x, y = -length * np.sin(angle), length * np.cos(angle)
    ax.plot([0, x], [0, y], color=color, linewidth=7, solid_capstyle="round", zorder=3)
    ax.plot(x, y, marker="o", markersize=16, color=color, markeredgecolor=WHITE, markeredgewidth=1.5, zorder=4)


def draw_cart_pole(ax: "Axes", frame: Frame, track: float) -> Verdict | None:
    """Draws track, cart and pole, and the force as an arrow."""
    from matplotlib.patches import FancyBboxPatch

    x, angle = float(frame.state.position), float(frame.state.angle)
    length = float(frame.params.pole_length)
    ax.plot([-track, track], [0, 0], color=RULE, linewidth=3, solid_capstyle="round", zorder=1)
    for end in (-track, track):
        ax.plot([end, end], [-0.12, 0.12], color=BAD, linewidth=2.5, zorder=1)
    ax.plot([0, 0], [-0.05, 0.05], color=MUTED, linewidth=1.2, zorder=1)
    fallen = frame.terminated
    box = FancyBboxPatch((x - 0.22, -0.1), 0.44, 0.24, boxstyle="round,pad=0,rounding_size=0.05", facecolor=AGENTS[0],
                         edgecolor=WHITE, linewidth=1.5, zorder=3)  # fmt: skip
    ax.add_patch(box)
    shown = 1.1 * min(max(length, 0.4), 1.4)  # a pole of any length stays in the picture
    tip = (x + shown * np.sin(angle), 0.14 + shown * np.cos(angle))
    ax.plot([x, x], [0.14, 0.14 + 1.06 * shown], color=RULE, linewidth=1.2, linestyle=(0, (2, 3)), zorder=2)
    ax.plot(
        [x, tip[0]], [0.14, tip[1]], color=BAD if fallen else AGENTS[1], linewidth=7, solid_capstyle="round", zorder=4
    )
    ax.plot(x, 0.14, marker="o", markersize=6, color=INK, zorder=5)
    ax.set_xlim(-track - 0.25, track + 0.25)
    ax.set_ylim(-0.45, 2.0)
    ax.set_aspect("equal", adjustable="box")
    _lines(ax, [f"pole {number(np.degrees(angle))}°", f"cart {number(x)} m"])
    if frame.action is not None:
        _bars(ax, np.clip(np.nan_to_num(frame.action[:, 0]), -1, 1), "force, share of the most")
    if fallen:
        return Verdict("off the track" if abs(x) > track else "the pole fell", good=False)
    return None


def draw_point_mass(ax: "Axes", frame: Frame, near: float) -> Verdict | None:
    """Draws walls, goal, the mass with its last move, and the force."""
    position, goal = np.asarray(frame.state.position), np.asarray(frame.state.goal)
    _arena(ax, goal, near)
    if frame.previous is not None:
        before = np.asarray(frame.previous.position)
        ax.plot(*zip(before, position), color=AGENTS[2], alpha=0.35, linewidth=7, solid_capstyle="round", zorder=3)
    if frame.action is not None:
        force = np.clip(np.nan_to_num(np.asarray(frame.action)), -1, 1).ravel()
        if len(frame.action) == 1:
            _arrow(ax, position, force, AGENTS[0])
        else:  # each agent's own part
            for i in range(2):
                _arrow(ax, position, force * (np.arange(2) == i), AGENTS[i])
    ax.plot(*position, marker="o", markersize=13, color=AGENTS[2], markeredgecolor=WHITE, markeredgewidth=1.5, zorder=7)
    away = float(np.linalg.norm(position - goal))
    labels = ["force"] if frame.action is None or len(frame.action) == 1 else ["agent 0 (x)", "agent 1 (y)"]
    _legend(ax, labels)
    _lines(ax, [f"distance {number(away)}", f"speed {number(float(np.linalg.norm(frame.state.velocity)))}"])
    return _arrival(frame, away < near)


def draw_puck(ax: "Axes", frame: Frame, radii: tuple[float, float], near: float) -> Verdict | None:
    """Draws walls, goal, puck and agents at their true sizes, with their forces."""
    from matplotlib.patches import Circle

    position, goal = np.asarray(frame.state.position), np.asarray(frame.state.goal)
    _arena(ax, goal, near)
    if frame.previous is not None:
        for i, before in enumerate(np.asarray(frame.previous.position)):
            color = INK if i == len(position) - 1 else AGENTS[i % len(AGENTS)]
            ax.plot(*zip(before, position[i]), color=color, alpha=0.3, linewidth=4, solid_capstyle="round", zorder=2)
    ax.add_patch(Circle(position[-1], radii[1], facecolor=INK, edgecolor=WHITE, linewidth=1.5, zorder=3))
    for i, center in enumerate(position[:-1]):
        color = AGENTS[i % len(AGENTS)]
        ax.add_patch(Circle(center, radii[0], facecolor=color, edgecolor=WHITE, linewidth=1.2, alpha=0.92, zorder=4))
        ax.text(
            center[0], center[1], str(i), color=WHITE, fontsize=9, fontweight="bold", ha="center", va="center", zorder=7
        )
        if frame.action is not None:
            _arrow(ax, center, np.clip(np.nan_to_num(np.asarray(frame.action[i])), -1, 1), color)
    away = float(np.linalg.norm(position[-1] - goal))
    _legend(ax, [f"agent {i}" for i in range(min(len(position) - 1, 8))])
    _lines(ax, [f"puck to goal {number(away)}"])
    return _arrival(frame, away < near)


def draw_handover(ax: "Axes", frame: Frame, radii: tuple[float, float], near: float, middle: float) -> Verdict | None:
    """Draws walls, goal, the strip that both palms reach, the object, and the hands: palms, fingers, fingertips."""
    from matplotlib.patches import Circle, Rectangle

    position, goal = np.asarray(frame.state.position), np.asarray(frame.state.goal)
    thing, fingers = position[-1], (len(position) - 3) // 2
    _arena(ax, goal, near)
    ax.add_patch(Rectangle((-middle, -1), 2 * middle, 2, facecolor=RULE, alpha=0.5, zorder=1))
    if frame.previous is not None:
        before = np.asarray(frame.previous.position)[-1]
        ax.plot(*zip(before, thing), color=INK, alpha=0.3, linewidth=4, solid_capstyle="round", zorder=2)
    ax.add_patch(Circle(thing, radii[1], facecolor=INK, edgecolor=WHITE, linewidth=1.5, zorder=3))
    for i, palm in enumerate(position[:2]):
        first = 2 + i * fingers
        for tip in position[first : first + fingers]:
            ax.plot(*zip(palm, tip), color=AGENTS[i], alpha=0.6, linewidth=3, solid_capstyle="round", zorder=4)
            ax.add_patch(Circle(tip, radii[0], facecolor=AGENTS[i], edgecolor=WHITE, linewidth=1.2, zorder=5))
        ax.plot(*palm, marker="o", markersize=9, color=AGENTS[i], markeredgecolor=WHITE, markeredgewidth=1.2, zorder=6)
        if frame.action is not None:
            _arrow(ax, palm, np.clip(np.nan_to_num(np.asarray(frame.action[i, :2])), -1, 1), AGENTS[i])
    away = float(np.linalg.norm(thing - goal))
    _legend(ax, ["hand 0", "hand 1"])
    _lines(ax, [f"object to goal {number(away)}"])
    return _arrival(frame, away < near)


def draw_linear_team(ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws the state's entries as bars, beside the actions."""
    x = np.asarray(frame.state.x)
    ax.set_axis_on()
    ax.set_facecolor(WHITE)
    ax.set_position((0.12, 0.24, 0.52, 0.56))
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_color(RULE)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    places = np.arange(len(x))
    if frame.previous is not None:
        ax.bar(places, np.asarray(frame.previous.x), width=0.78, color=RULE, zorder=2)
    ax.bar(places, x, width=0.5, color=AGENTS[2], zorder=3)
    ax.axhline(0, color=MUTED, linewidth=1, zorder=4)
    top = max(1.0, 1.1 * float(np.abs(x).max()))
    ax.set_ylim(-top, top)
    ax.set_xlim(-0.6, max(len(x), 4) - 0.4)
    ax.set_xticks(places if len(x) <= 20 else [])
    ax.set_xlabel("entries of the state (pale: before)", color=MUTED, fontsize=10)
    _lines(ax, [f"mean square {number(float(np.mean(x**2)))}"], right=True)
    if frame.action is not None:
        action = np.clip(np.nan_to_num(np.asarray(frame.action)), -1, 1)
        _bars(ax, action.ravel(), "actions", per_agent=action.shape[1])
    return Verdict("time limit", good=True) if frame.truncated else None  # noise decides how one episode compares


def draw_chain(ax: "Axes", frame: Frame, length: int) -> Verdict | None:
    """Draws the cells row by row, those behind the team filled, and where the last step came from."""
    from matplotlib.patches import FancyBboxPatch

    columns = min(length, 10) if length <= 200 else int(np.ceil(np.sqrt(2 * length)))
    rows = -(-length // columns)
    cell = int(frame.state.cell)
    before = None if frame.previous is None else int(frame.previous.cell)
    won = cell == length and before == length - 1 and frame.reward > 0
    stands = before if cell == length else cell

    def at(index: int) -> tuple[float, float]:
        return index % columns, -(index // columns)

    for index in range(length):
        x, y = at(index)
        last = index == length - 1
        passed = won or index < cell < length
        box = FancyBboxPatch(
            (x - 0.42, y - 0.42),
            0.84,
            0.84,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor="#fbf0d6" if last else ("#dfeee6" if passed else WHITE),
            edgecolor=GOLD if last else RULE,
            linewidth=1.8 if last else 1.0,
            zorder=2,
        )
        ax.add_patch(box)
        if length <= 200:
            ax.text(x, y, str(index), color=INK if last else MUTED, fontsize=8, ha="center", va="center", zorder=3)
    size = float(np.clip(150 / max(columns, 2 * rows), 4, 20))
    if before is not None and cell < before < length:
        ax.plot(*at(before), marker="x", markersize=size, color=BAD, markeredgewidth=2.5, zorder=5)
    if stands is not None and stands < length:
        color = GOOD if won else (BAD if cell == length else AGENTS[0])
        ax.plot(
            *at(stands), marker="o", markersize=size, color=color, markeredgecolor=WHITE, markeredgewidth=1.5, zorder=6
        )
        if length <= 200:
            x, y = at(stands)
            ax.text(x, y, str(stands), color=WHITE, fontsize=8, fontweight="bold", ha="center", va="center", zorder=7)
    ax.set_xlim(-0.9, columns - 0.1)
    ax.set_ylim(-rows + 0.3, 0.7)
    ax.set_aspect("equal", adjustable="box")
    if won:
        return Verdict("left the last cell", good=True)
    if frame.terminated:
        return Verdict(f"wrong in cell {before}", good=False)
    return Verdict("out of time", good=False) if frame.truncated else None


def _arrival(frame: Frame, is_near: bool) -> Verdict | None:
    if not frame.truncated:
        return None
    return Verdict("at the goal" if is_near else "not at the goal", is_near)


def _arena(ax: "Axes", goal: np.ndarray, near: float) -> None:
    """The square [-1, 1]² and the goal's disc."""
    from matplotlib.patches import Circle, Rectangle

    ax.add_patch(Rectangle((-1, -1), 2, 2, facecolor=WHITE, edgecolor=RULE, linewidth=1.5, zorder=0))
    ax.add_patch(Circle((goal[0], goal[1]), near, facecolor="#fbf0d6", edgecolor=GOLD, linewidth=1.8, zorder=1))
    ax.plot(*goal, marker="*", markersize=9, color=GOLD, zorder=1)
    ax.set_xlim(-1.9, 1.9)
    ax.set_ylim(-1.06, 1.06)
    ax.set_aspect("equal", adjustable="box")


def _arrow(ax: "Axes", start: np.ndarray, force: np.ndarray, color: str) -> None:
    if np.abs(force).max() < 0.02:
        return
    end = start + 0.3 * force
    style: Any = {
        "arrowstyle": "-|>",
        "color": color,
        "linewidth": 2.2,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 12,
    }
    ax.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=style, zorder=6, annotation_clip=False)


def _legend(ax: "Axes", labels: list[str]) -> None:
    for i, label in enumerate(labels):
        ax.figure.text(
            0.95, 0.80 - 0.055 * i, label, fontsize=10, color=AGENTS[i % len(AGENTS)], ha="right", va="center"
        )


def _lines(ax: "Axes", lines: list[str], right: bool = False) -> None:
    for i, line in enumerate(lines):
        x, side = (0.95, "right") if right else (0.05, "left")
        ax.figure.text(x, 0.80 - 0.055 * i, line, fontsize=10, color=MUTED, ha=side, va="center")


def _bars(ax: "Axes", action: np.ndarray, title: str, per_agent: int = 1) -> None:
    """Numbers in [-1, 1] as horizontal bars in the agents' colors, on the right below the line of text there."""
    height = min(0.05 * len(action), 0.45)
    inset = ax.figure.add_axes((0.70, 0.70 - height, 0.25, height))
    inset.set_axis_off()
    for i, value in enumerate(action):
        color = AGENTS[(i // per_agent) % len(AGENTS)]
        inset.barh(-i, 2.0, left=-1.0, height=0.72, color=WHITE, edgecolor=RULE, linewidth=1, zorder=1)
        inset.barh(-i, value, height=0.72, color=color, zorder=2)
    inset.plot([0, 0], [0.5, 0.5 - len(action)], color=MUTED, linewidth=1, zorder=3)
    inset.set_xlim(-1.02, 1.02)
    inset.set_ylim(0.5 - len(action), 0.5)
    inset.set_title(title, fontsize=10, color=MUTED, loc="right", pad=4)
