"""The study's figure: bias over the number of stops, tables over episodes with slip, and how far a reward has traveled."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.gem_theory.study import LENGTH, BiasRow
from jaxmarl_suite.analysis import style

RED, BLUE, GREEN = "#BB1A00", "#0046CF", "#00875A"
TITLE = "Letting one estimator choose where to stop, and another say what it is worth, keeps the bias from growing"
NOTE = "Exact computations on problems whose values are known; circles: sampled through the code that learners use."
# Kind and group size: color, dashes, label, where it stands (places, bias).
BIAS_LOOKS: dict[tuple[str, int], tuple[str, Any, str, tuple[float, float]]] = {
    ("single", 1): (RED, "solid", "one estimator", (9.0, 1.72)),
    ("floor", 1): (BLUE, "solid", "two, with the floor", (50, 0.65)),
    ("double", 1): (BLUE, (0, (4, 2)), "two, crossed", (50, 0.07)),
    ("floor", 2): (GREEN, "solid", "two groups of two, with the floor", (50, -0.28)),
    ("double", 2): (GREEN, (0, (4, 2)), "two groups of two, crossed", (50, -0.49)),
}


def draw(
    path: Path,
    bias: list[BiasRow],
    places: NDArray[np.int64],
    curves: dict[tuple[str, int], NDArray[np.float64]],
    excess: dict[tuple[float, int], NDArray[np.float64]],
    reach: dict[int | None, NDArray[np.int64]],
) -> None:
    """Writes the figure to `path`."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11.5, 4.5), dpi=160)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1, 3, left=0.05, right=0.985, top=0.745, bottom=0.115, wspace=0.24)
        axes = [figure.add_subplot(grid[i]) for i in range(3)]
        _bias(axes[0], bias, places, curves)
        _excess(axes[1], excess)
        _reach(axes[2], reach)
        figure.text(0.05, 0.97, TITLE, fontsize=style.TITLE_SIZE, fontweight="bold", va="top")
        figure.text(0.05, 0.905, NOTE, fontsize=style.NOTE_SIZE, color=style.MUTED, va="top")
        figure.savefig(path, dpi=160, facecolor="white")


def _bias(
    axis: Any, bias: list[BiasRow], places: NDArray[np.int64], curves: dict[tuple[str, int], NDArray[np.float64]]
) -> None:
    _title(axis, "Bias by number of stops", "all stops equally good, noise N(0, 1)")
    axis.axhline(0.0, color=style.MUTED, lw=0.8)
    for (kind, size), (color, dashes, label, at) in BIAS_LOOKS.items():
        axis.plot(places, curves[kind, size], color=color, ls=dashes, lw=1.8)
        found = [r for r in bias if not r.gap and (r.kind, r.group_size) == (kind, size)]
        axis.plot([r.places for r in found], [r.sampled for r in found], "o", color=color, ms=4.5, mec="white", mew=0.8)
        axis.text(*at, label, color=style.darker(color, 0.1), fontsize=style.LABEL_SIZE, ha="right")
    axis.set_xscale("log")
    axis.set_xlim(1, 55)
    axis.set_ylim(-0.75, 2.4)
    axis.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.set_xlabel("places to stop")
    axis.set_ylabel("target minus best true value")
    axis.grid(axis="x", visible=False)


def _excess(axis: Any, excess: dict[tuple[float, int], NDArray[np.float64]]) -> None:
    _title(axis, "Tabular GEM, random MDPs", "optimism grows with the chance that a step slips")
    slips = sorted({slip for slip, _ in excess})
    axis.axhline(0.0, color=style.MUTED, lw=0.8)
    lowest, highest = -0.45, 0.0
    for slip, color in zip(slips, style.ordered_colors(len(slips))):
        for estimators, dashes in ((2, "solid"), (1, (0, (4, 2)))):
            y = excess[slip, estimators]
            axis.plot(np.arange(1, len(y) + 1), y, color=color, ls=dashes, lw=1.8)
            highest = max(highest, float(y.max()))
        end = float(excess[slip, 2][-1])
        text = f"slip {slip:g}" + (": never above Q*" if slip == 0 else "")
        below = slip == 0
        axis.annotate(
            text, (len(excess[slip, 2]), end), (0, -10 if below else 4), textcoords="offset points",
            color=style.darker(color, 0.1), fontsize=style.LABEL_SIZE, ha="right", va="top" if below else "bottom",
        )  # fmt: skip
    axis.set_ylim(lowest, max(highest * 1.35, 0.1))
    axis.set_xlim(0, len(y))
    axis.text(
        0.985, 0.045, "solid: two estimators; dashed: one", transform=axis.transAxes, color=style.MUTED,
        fontsize=style.NOTE_SIZE, ha="right",
    )  # fmt: skip
    axis.set_xlabel("episodes of 50 random steps")
    axis.set_ylabel("mean of Q - Q*")


def _reach(axis: Any, reach: dict[int | None, NDArray[np.int64]]) -> None:
    _title(axis, "How far a reward has traveled", "one stored success at the end of a chain of 50 steps")
    colors = dict(zip(reach, style.ordered_colors(len(reach))))
    for cap, steps in reach.items():
        axis.plot(np.arange(len(steps) + 1), np.append(0, steps), color=colors[cap], lw=1.9, clip_on=False, zorder=3)
    for cap, x, y in ((None, 4.3, 52.2), (20, 11.5, 45.5), (5, 9.4, 38.5), (1, 27.5, 24.0)):
        label = {None: "whole trajectory (GEM)", 1: "one-step targets"}.get(cap, f"at most {cap} rewards")
        axis.text(x, y, label, color=style.darker(colors[cap], 0.1), fontsize=style.LABEL_SIZE, va="center")
    axis.set_xlim(0, LENGTH + 4)
    axis.set_ylim(0, LENGTH + 5)
    axis.set_xlabel("refreshes")
    axis.set_ylabel("steps from the reward that know its worth")


def _title(axis: Any, title: str, note: str) -> None:
    axis.text(0, 1.085, title, transform=axis.transAxes, fontsize=style.PANEL_SIZE, fontweight="bold")
    axis.text(0, 1.025, note, transform=axis.transAxes, fontsize=style.NOTE_SIZE, color=style.MUTED)
