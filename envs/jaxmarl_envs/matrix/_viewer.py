"""Drawing of matrix games: the payoff matrix of the stage, or a ranking of all joint actions if it is large."""

from typing import TYPE_CHECKING

import numpy as np

from jaxmarl_envs.core._viewer import AGENTS, BAD, GOLD, GOOD, INK, MUTED, RULE, WHITE, Frame, Verdict, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CELLS_A_SIDE = 8


def draw(ax: "Axes", frame: Frame, n_agents: int, num_actions: int, n_stages: int, *, named: bool) -> Verdict | None:
    """Draws the stage that `frame.action` was taken in, or the first one, with the chosen joint action marked.

    Args:
      ax: axes to draw into.
      frame: frame with a game's state and parameters.
      n_agents: N.
      num_actions: A.
      n_stages: S.
      named: stages are states of a game, not the rounds of a repeated one.
    """
    shown = frame.state if frame.previous is None else frame.previous
    stage = min(int(shown.stage), n_stages - 1)
    tables = np.asarray(frame.params.payoff)
    payoff = tables[min(stage, len(tables) - 1)].reshape((num_actions,) * n_agents)
    action = None if frame.action is None else tuple(int(a) for a in frame.action)
    if n_stages > 1:
        name = f"stage {stage}" if named else f"round {stage + 1} of {n_stages}"
        ax.figure.text(0.05, 0.84, name, fontsize=11, color=MUTED, va="center")
    if n_agents <= 2 and num_actions <= _MOST_CELLS_A_SIDE:
        _draw_matrix(ax, payoff.reshape(-1, num_actions) if n_agents == 1 else payoff, action)
    else:
        _draw_ranking(ax, payoff, action)
    if action is None or np.asarray(frame.params.successor).shape[1] > 1:
        return None  # nothing done yet, or a step that cannot be judged by its own payoff
    if frame.terminated and len(tables) == 1 and n_stages > 1:
        return None  # the whole episode counts
    best = float(payoff.max())
    good = frame.reward >= best - 1e-4 * (1 + abs(best))
    return Verdict("best cell" if good else f"best cell pays {number(best)}", good)


def _color(value: float, low: float, high: float) -> tuple[float, float, float]:
    """From a pale red over white to a pale green, white at 0 or at the middle of tables of one sign."""
    zero = 0.0 if low < 0 < high else (low + high) / 2
    span = max(high - zero, zero - low) or 1.0
    weight = float(np.clip((value - zero) / span, -1, 1))
    target = np.array([int((GOOD if weight > 0 else BAD)[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    red, green, blue = 1 + (target - 1) * 0.42 * abs(weight)
    return red, green, blue


def _draw_matrix(ax: "Axes", payoff: np.ndarray, action: tuple[int, ...] | None) -> None:
    from matplotlib.patches import FancyBboxPatch

    rows, columns = payoff.shape
    one_player = rows == 1 and (action is None or len(action) == 1)
    chosen = None if action is None else ((0, *action) if one_player else action)
    for r in range(rows):
        for c in range(columns):
            at = (r, c) == chosen
            box = FancyBboxPatch(
                (c + 0.05, r + 0.06),
                0.90,
                0.88,
                boxstyle="round,pad=0,rounding_size=0.09",
                facecolor=_color(payoff[r, c], payoff.min(), payoff.max()),
                edgecolor=INK if at else RULE,
                linewidth=2.6 if at else 1.0,
                zorder=3 if at else 2,
            )
            ax.add_patch(box)
            ax.text(
                c + 0.5,
                r + 0.5,
                number(payoff[r, c]),
                fontsize=min(17, 60 / max(rows, columns)),
                fontweight="bold" if at else "normal",
                color=INK,
                ha="center",
                va="center_baseline",
                zorder=4,
            )
            if payoff[r, c] == payoff.max() > payoff.min():
                ax.plot(c + 0.86, r + 0.19, marker="*", markersize=10, color=GOLD, zorder=4)
    for c in range(columns):
        picked = chosen is not None and chosen[1] == c
        color = AGENTS[0 if one_player else 1]
        ax.text(c + 0.5, -0.16, str(c), ha="center", va="bottom", fontsize=11, color=color if picked else MUTED,
                fontweight="bold" if picked else "normal")  # fmt: skip
    ax.text(columns / 2, -0.46, f"agent {0 if one_player else 1}", ha="center", va="bottom", fontsize=11,
            color=AGENTS[0 if one_player else 1])  # fmt: skip
    if not one_player:
        for r in range(rows):
            picked = chosen is not None and chosen[0] == r
            ax.text(-0.16, r + 0.5, str(r), ha="right", va="center", fontsize=11, color=AGENTS[0] if picked else MUTED,
                    fontweight="bold" if picked else "normal")  # fmt: skip
        ax.text(-0.44, rows / 2, "agent 0", ha="right", va="center", fontsize=11, color=AGENTS[0], rotation=90)
    ax.set_xlim(-0.8, columns + 0.8)
    ax.set_ylim(rows + 0.05, -0.85)
    ax.set_aspect(0.72 if rows > 1 else 1.0, adjustable="box")


def _draw_ranking(ax: "Axes", payoff: np.ndarray, action: tuple[int, ...] | None) -> None:
    values = np.sort(payoff.ravel())[::-1]
    ax.set_axis_on()
    ax.set_facecolor(WHITE)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(RULE)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.set_position((0.12, 0.25, 0.82, 0.55))
    ax.set_xlabel("joint actions, best first", color=MUTED, fontsize=10)
    ax.set_ylabel("payoff", color=MUTED, fontsize=10)
    ranks = np.arange(1, len(values) + 1)
    ax.axhline(0, color=RULE, linewidth=1)
    ax.fill_between(ranks, values, color=AGENTS[0], alpha=0.12, linewidth=0)
    ax.plot(ranks, values, color=AGENTS[0], linewidth=1.6)
    ax.plot(1, values[0], marker="*", markersize=13, color=GOLD, zorder=5, clip_on=False)
    best = ", ".join(map(str, np.unravel_index(int(payoff.argmax()), payoff.shape)))
    ax.annotate(f"({best})", (1, values[0]), xytext=(9, 2), textcoords="offset points", fontsize=10, color=MUTED)
    if action is not None:
        value = float(payoff[action])
        rank = int((values > value).sum()) + 1
        ax.plot(rank, value, marker="o", markersize=9, color=INK, zorder=6, clip_on=False)
        right = rank > 0.75 * len(values)
        text = f"({', '.join(map(str, action))})  {number(value)}, rank {rank} of {len(values)}"
        ax.annotate(text, (rank, value), xytext=(-8 if right else 8, 12), textcoords="offset points",
                    fontsize=11, color=INK, fontweight="bold", ha="right" if right else "left")  # fmt: skip
