"""The figure of the tabular part: |Q_tot| over fitted Q-iterations on the divergence MMDP."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from experiments.value_factorization.tabular import GAMMA, Curves
from jaxmarl_suite.analysis import style

# The algorithm whose color a class has, and its dashes.
CLASS_LOOKS: dict[str, tuple[str, Any]] = {
    "linear": ("vdn", "solid"),
    "monotone": ("qmix", "solid"),
    "igm-complete": ("qplex", (0, (3, 2))),
}
GAMMAS = (0.75, 0.79, 0.8, 0.81, 0.99)
EPSILONS = (0.05, 0.15, 0.19, 0.2, 0.21, 0.3, 1.0)
TITLE = "Exact fitted Q-iteration on a two-state MMDP: the data decide whether the linear class blows up"
NOTE = "Every iteration minimizes exactly over all joint actions. A line that leaves at the top diverges."
TOP = 1e6  # where the vertical axes end
Q_STAR = 1 / (1 - GAMMA)


def draw(path: Path, curves: Curves) -> None:
    """Writes the figure to `path`."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 4.6), dpi=160)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1, 3, left=0.055, right=0.945, top=0.755, bottom=0.11, wspace=0.36)
        axes = [figure.add_subplot(grid[i]) for i in range(3)]
        _classes(axes[0], curves)
        _gammas(axes[1], curves)
        _epsilons(axes[2], curves)
        for axis in axes:
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_ylim(0.8, TOP)
            axis.set_xlabel("iterations")
            axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(base=10, numticks=10))
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel("largest |Q_tot|")
        figure.text(0.055, 0.97, TITLE, fontsize=style.TITLE_SIZE, fontweight="bold", va="top")
        figure.text(0.055, 0.907, NOTE, fontsize=style.NOTE_SIZE, color=style.MUTED, va="top")
        figure.savefig(path, dpi=160, facecolor="white")


def _classes(axis: Any, curves: Curves) -> None:
    _title(axis, "Three classes", f"uniform data, γ = {GAMMA}")
    for name, norm in curves.by_class.items():
        algorithm, dashes = CLASS_LOOKS[name]
        color = style.algorithm_color(algorithm)
        # The dashed line lies on the solid one: the two classes agree on this problem, iterate by iterate.
        width = 3.4 if name == "monotone" else 2.0
        shown = style.lighter(color, 0.45) if name == "monotone" else color
        axis.plot(np.arange(1, len(norm)), norm[1:], color=shown, lw=width, ls=dashes)
    end = len(curves.by_class["monotone"]) - 1
    axis.set_xlim(1, end)
    _reference(axis, end)
    for text, algorithm, x, y, align in (
        ("linear (VDN)", "vdn", 34, 1.6e4, "right"),
        ("IGM-complete and", "qplex", 26, 9.0, "left"),
        ("monotone (QMIX's class,", "qmix", 26, 4.8, "left"),
        ("fitted exactly)", "qmix", 26, 2.56, "left"),
    ):
        color = style.darker(style.algorithm_color(algorithm), 0.1)
        axis.text(x, y, text, color=color, fontsize=style.LABEL_SIZE, ha=align)


def _gammas(axis: Any, curves: Curves) -> None:
    _title(axis, "Linear class, uniform data", "diverges for discounts above 0.8")
    end = max(len(norm) for norm in curves.by_gamma.values()) - 1
    axis.set_xlim(1, end)
    for (gamma, norm), color in zip(curves.by_gamma.items(), style.ordered_colors(len(curves.by_gamma))):
        _labeled(axis, norm, end, f"γ = {gamma:g}", color)


def _epsilons(axis: Any, curves: Curves) -> None:
    _title(axis, f"Linear class, γ = {GAMMA}", "ε-greedy data; converges for ε below 0.2010")
    end = max(len(norm) for norm in curves.by_epsilon.values()) - 1
    axis.set_xlim(1, end)
    _reference(axis, end)
    for (epsilon, norm), color in zip(curves.by_epsilon.items(), style.ordered_colors(len(curves.by_epsilon))):
        _labeled(axis, norm, end, f"ε = {epsilon:g}", color)


def _labeled(axis: Any, norm: Any, end: int, text: str, color: str) -> None:
    """A line with its name at its end: right of the axes, or above them where it leaves at the top."""
    axis.plot(np.arange(1, len(norm)), norm[1:], color=color, lw=1.9)
    ink = style.darker(color, 0.15)
    if norm[-1] < TOP:
        axis.annotate(
            text, (end, norm[-1]), (5, 0), textcoords="offset points", color=ink,
            fontsize=style.NOTE_SIZE, va="center", annotation_clip=False,
        )  # fmt: skip
        return
    leaves = int(np.argmax(norm >= TOP / 3))
    axis.text(
        leaves * 0.9, TOP / 3, text, color=ink, fontsize=style.NOTE_SIZE, ha="right", va="center",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def _reference(axis: Any, end: int) -> None:
    axis.axhline(Q_STAR, color=style.MUTED, lw=0.9, ls=(0, (1, 2)), zorder=1)
    axis.text(1.15, Q_STAR * 1.15, "Q* = 100", color=style.MUTED, fontsize=style.NOTE_SIZE, va="bottom")


def _title(axis: Any, title: str, note: str) -> None:
    axis.text(0, 1.105, title, transform=axis.transAxes, fontsize=style.PANEL_SIZE, fontweight="bold", color=style.INK)
    axis.text(0, 1.035, note, transform=axis.transAxes, fontsize=style.NOTE_SIZE, color=style.MUTED)
