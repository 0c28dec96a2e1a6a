"""Drawing of a game: the pitch, the players, the ball with its height and trail, passes and shots."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, INK, MUTED, WHITE, Frame, Verdict
from jaxmarl_envs.football._kicks import POST_Y
from jaxmarl_envs.football._plan import (
    ACTIONS,
    BACK,
    CONCEDED,
    DIRECTIONS,
    GOAL,
    LONG,
    LOST,
    OFFSIDE,
    OUT,
    SHOT,
    SLIDE,
    STUNNED,
    TIME,
    Plan,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRASS, STRIPE, CHALK = "#dfead9", "#d3e2cb", "#ffffff"
THEIRS, MATES = "#6b7580", "#a9c3df"
_LENGTH, _WIDTH = 55.0, 36.0
_MARGIN = 4.0
_RADIUS = 1.05
"""Meters, of the disc that stands for a player: larger than the player, to be read."""


def draw(plan: Plan, ax: "Axes", frame: Frame) -> Verdict | None:
    """Draws the game after `frame.step` steps, with what happened in the last one."""
    state = frame.state
    scale = _camera(ax, plan, frame)
    _pitch(ax)
    _trail(ax, frame)
    for number in range(plan.n_players):
        _player(ax, plan, frame, number, scale)
    _kick(ax, plan, frame)
    _ball(ax, state, scale)
    _caption(ax, plan, frame)
    return _verdict(plan, frame)


def _camera(ax: "Axes", plan: Plan, frame: Frame) -> float:
    """Shows the part of the pitch where agents, opponents and ball are or started, in steps of 4 m; points per meter."""
    window = ax.get_window_extent()
    dpi = ax.figure.dpi
    width, height = window.width / dpi, window.height / dpi
    state, shown = frame.state, slice(plan.first_agent, None)
    start = np.asarray(frame.params.start)[shown]
    x = np.concatenate([np.asarray(state.x)[shown], start[:, 0], np.asarray(state.ball)[:1]])
    y = np.concatenate([np.asarray(state.y)[shown], start[:, 1], np.asarray(state.ball)[1:2]])
    left = -_LENGTH - _MARGIN if plan.is_match else max(np.floor(x.min() / 4) * 4 - 4, -_LENGTH - _MARGIN)
    half = _WIDTH + 2 if plan.is_match else min(np.ceil(np.abs(y).max() / 4) * 4 + 3, _WIDTH + 2)
    right = _LENGTH + _MARGIN
    meters = max((right - left) / width, 2 * half / height)
    spare = meters * width - (right - left)
    ends = (left - spare, right) if left - spare > -_LENGTH - _MARGIN else (-meters * width / 2, meters * width / 2)
    ax.set_xlim(*ends)
    ax.set_ylim(meters * height / 2, -meters * height / 2)
    ax.set_aspect("equal", adjustable="box")
    return 72 / meters


def _pitch(ax: "Axes") -> None:
    from matplotlib.patches import Arc, Circle, Rectangle

    def box(x: float, y: float, width: float, height: float, **style: Any) -> None:
        shape: dict[str, Any] = {"fill": False, "edgecolor": CHALK, "linewidth": 1.4, "zorder": 1} | style
        ax.add_patch(Rectangle((x, y), width, height, **shape))

    box(-57, -38, 114, 76, fill=True, facecolor=GRASS, edgecolor="none", zorder=0)
    for k in range(-5, 5, 2):
        box(11.0 * k, -38, 11, 76, fill=True, facecolor=STRIPE, edgecolor="none", zorder=0)
    box(-_LENGTH, -_WIDTH, 2 * _LENGTH, 2 * _WIDTH)
    ax.plot([0, 0], [-_WIDTH, _WIDTH], color=CHALK, linewidth=1.4, zorder=1)
    ax.add_patch(Circle((0, 0), 9.15, fill=False, edgecolor=CHALK, linewidth=1.4, zorder=1))
    for side in (-1, 1):
        for depth, half in ((16.4, 20.05), (5.5, 9.16)):
            box(min(side * _LENGTH, side * (_LENGTH - depth)), -half, depth, 2 * half)
        ax.plot(side * 44.0, 0, marker="o", markersize=2, color=CHALK, zorder=1)
        middle = 180 if side > 0 else 0
        ax.add_patch(
            Arc((side * 44.0, 0), 18.3, 18.3, angle=middle, theta1=-53, theta2=53, color=CHALK, linewidth=1.4, zorder=1)
        )
        box(
            side * _LENGTH - (0 if side > 0 else 2),
            -POST_Y,
            2,
            2 * POST_Y,
            fill=True,
            facecolor="#f4f6f3",
            edgecolor=INK,
        )


def _trail(ax: "Axes", frame: Frame) -> None:
    """Where the ball was in the last step, and is going."""
    if frame.previous is None:
        return
    (x0, y0), (x1, y1) = np.asarray(frame.previous.ball)[:2], np.asarray(frame.state.ball)[:2]
    if np.hypot(x1 - x0, y1 - y0) < 8:
        ax.plot([x0, x1], [y0, y1], color=WHITE, linewidth=2.5, alpha=0.9, zorder=3, solid_capstyle="round")


def _color(plan: Plan, number: int) -> str:
    if number >= plan.n_left:
        return THEIRS
    agent = number - plan.first_agent
    return AGENTS[agent % len(AGENTS)] if agent >= 0 else MATES


def _player(ax: "Axes", plan: Plan, frame: Frame, number: int, scale: float) -> None:
    """A disc with the agent's number and a tick where the player faces; a ring for an act; keepers have a dark edge."""
    from matplotlib.patches import Circle

    state = frame.state
    x, y, hx, hy = (float(np.asarray(value)[number]) for value in (state.x, state.y, state.hx, state.hy))
    color, kind = _color(plan, number), int(np.asarray(state.kind)[number])
    is_keeper = number in (0, plan.n_left)
    ax.plot([x, x + 1.9 * hx], [y, y + 1.9 * hy], color=color, linewidth=2.2, zorder=4, solid_capstyle="round")
    ax.add_patch(
        Circle(
            (x, y),
            _RADIUS,
            facecolor=color,
            edgecolor=INK if is_keeper else WHITE,
            linewidth=1.6 if is_keeper else 0.8,
            zorder=5,
        )
    )
    if kind:
        style = {STUNNED: (MUTED, ":"), SLIDE: (BAD, "-"), SHOT: (BAD, "-")}
        edge, line = style.get(kind, (GOLD, "-"))
        ax.add_patch(Circle((x, y), 1.6, fill=False, edgecolor=edge, linewidth=1.6, linestyle=line, zorder=5))
    agent = number - plan.first_agent
    text = str(agent) if 0 <= agent < plan.n_agents else "K" if is_keeper else ""
    ax.text(
        x, y, text, color=WHITE, fontsize=min(1.4 * scale, 9), fontweight="bold", ha="center", va="center_baseline",
        zorder=6, clip_on=True,
    )  # fmt: skip


def _kick(ax: "Axes", plan: Plan, frame: Frame) -> None:
    """A line along the way of a ball that has just been kicked, and where it is held to go before."""
    if frame.previous is None:
        return
    state, was = frame.state, frame.previous
    owner, last = int(was.owner[0]), int(state.last[0])
    ball = np.asarray(state.ball)
    if int(state.owner[0]) < 0 and owner == last >= 0 and int(state.since[0]) <= plan.substeps:
        is_shot = int(state.counts[3]) > int(was.counts[3])
        flat = ball[3:5] / max(float(np.hypot(*ball[3:5])), 1e-6)
        far = (55.2 - abs(ball[0])) / abs(flat[0]) if is_shot and abs(flat[0]) > 0.2 else 14.0
        end = ball[:2] + flat * min(far, 40.0)
        ax.annotate(
            "", xy=tuple(end), xytext=tuple(ball[:2]), zorder=4,
            arrowprops={"arrowstyle": "-|>", "color": BAD if is_shot else GOLD, "linewidth": 1.6, "linestyle": "--"},
        )  # fmt: skip
    now = int(state.owner[0])
    agent = now - plan.first_agent
    if 0 <= agent < plan.n_agents and LONG <= int(np.asarray(state.kind)[now]) <= SHOT:
        held = int(np.asarray(state.direction)[agent])
        way = DIRECTIONS[held - 1] if held else np.array([state.hx[now], state.hy[now]])
        place = np.array([state.x[now], state.y[now]])
        ax.annotate(
            "", xy=tuple(place + 5 * way), xytext=tuple(place + 1.5 * way), zorder=4,
            arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.2},
        )  # fmt: skip


def _ball(ax: "Axes", state: Any, scale: float) -> None:
    """The ball, larger when it is high, with its shadow below."""
    x, y, z = (float(value) for value in np.asarray(state.ball)[:3])
    size = (0.9 + 0.16 * min(max(z - 0.11, 0), 6)) * scale
    ax.plot(
        x, y, marker="o", markersize=0.9 * scale, color=INK, alpha=0.25, markeredgewidth=0, zorder=6, linestyle="none"
    )
    ax.plot(
        x, y - 0.6 * max(z - 0.11, 0), marker="o", markersize=size, color=WHITE, markeredgecolor=INK, markeredgewidth=1.1,
        zorder=8, linestyle="none",
    )  # fmt: skip
    if z > 0.6:
        ax.text(x + 1.0, y - 0.6 * z - 1.0, f"{z:.1f} m", fontsize=7.5, color=INK, zorder=8, clip_on=True)


def _caption(ax: "Axes", plan: Plan, frame: Frame) -> None:
    """What the agents chose, except for idling, below."""
    if frame.action is None:
        return
    actions = np.asarray(frame.action).reshape(-1)
    shown = [k for k in range(plan.n_agents) if actions[k]][:5]
    for place, k in enumerate(shown):
        ax.text(
            0.012 + 0.196 * place, 0.03, f"{k} {ACTIONS[int(actions[k])]}", transform=ax.transAxes, fontsize=8, color=WHITE,
            va="bottom", zorder=9,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": _color(plan, plan.first_agent + k), "edgecolor": "none"},
        )  # fmt: skip


def _verdict(plan: Plan, frame: Frame) -> Verdict | None:
    """How the episode ended, or a goal in a match."""
    state, was = frame.state, frame.previous
    if was is not None:
        gained = np.asarray(state.counts) - np.asarray(was.counts)
        if gained[0] > 0:
            return Verdict("goal", good=True)
        if gained[1] > 0:
            return Verdict("own goal" if int(state.last[0]) < plan.n_left else "conceded", good=False)
    if not (frame.terminated or frame.truncated):
        return None
    over = int(state.over[0])
    owner = int(state.owner[0])
    if over == LOST:
        if owner == plan.n_left:
            text = "saved" if was is not None and int(was.owner[0]) < 0 else "the keeper has the ball"
        else:
            tackled = was is not None and int(was.owner[0]) >= 0
            text = f"{'tackled' if tackled else 'intercepted'} by {owner - plan.n_left}"
        return Verdict(text, good=False)
    texts = {
        OUT: "out",
        BACK: "back in the left half",
        OFFSIDE: "offside",
        TIME: "out of time",
        GOAL: "goal",
        CONCEDED: "conceded",
    }
    return Verdict(texts.get(over, "over"), good=False)
