"""The figure of the deep part: |Q_tot| over target copies on the divergence MMDP."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jaxmarl_suite.analysis import style

GAMMA = 0.99
Q_STAR = 100.0
FIXED_POINT = 106.529
"""Of the linear class at ε = 0.05."""
TITLE = "Deep Q-learning on the two-state MMDP"
NOTE = (
    "Largest |Q_tot| in the batches between two target copies; median and range of six seeds. "
    "Black dashes: the linear class, fitted exactly. Dots: Q* = 100."
)
FIRST, TOP = 0.8, 3e6
LOOKS: Mapping[str, dict[str, Any]] = {"qplex-coarse": {"dashes": (0, (3, 1.5)), "shade": 0.35}}


def draw(path: Path, curves: Mapping[str, NDArray[np.float64]], label: Callable[[str], str]) -> None:
    """Writes the figure to `path`; `curves` [L, K] by method, "vdn-on-policy" on its own, shown as `label` says."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 4.8), dpi=160)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            1, 2, left=0.055, right=0.925, top=0.755, bottom=0.11, wspace=0.5, width_ratios=(1.45, 1)
        )
        left, right = (figure.add_subplot(grid[i]) for i in range(2))
        uniform = {name: values for name, values in curves.items() if name != "vdn-on-policy"}
        _title(left, "Seven methods", f"uniform data, γ = {GAMMA}")
        end = max(values.shape[1] for values in uniform.values())
        exact = _exact_linear(end)
        left.plot(np.arange(1, end + 1), exact, color=style.INK, lw=1.1, ls=(0, (4, 2)), zorder=4)
        for name, values in uniform.items():
            _band(left, name, values[:, :end], **LOOKS.get(name, {}))
        _labels(left, {label(name): (name, values) for name, values in uniform.items()}, end)
        _title(right, "VDN and its data", f"uniform, or ε = 0.05 on its own policy, γ = {GAMMA}")
        longest = curves["vdn-on-policy"].shape[1]
        _band(right, "vdn", curves["vdn"])
        _band(right, "vdn", curves["vdn-on-policy"], dashes=(0, (5, 1.5)), shade=0.3)
        right.axhline(FIXED_POINT, color=style.MUTED, lw=0.9, ls=(0, (4, 2)), zorder=1)
        _labels(
            right,
            {"uniform": ("vdn", curves["vdn"]), "ε = 0.05": ("vdn", curves["vdn-on-policy"])},
            longest,
        )
        right.text(
            longest, FIXED_POINT * 1.5, "fixed point 106.5", ha="right", fontsize=style.NOTE_SIZE, color=style.MUTED
        )
        for axis, last in ((left, end), (right, longest)):
            axis.axhline(Q_STAR, color=style.MUTED, lw=0.9, ls=(0, (1, 2)), zorder=1)
            axis.set_yscale("log")
            axis.set_ylim(FIRST, TOP)
            axis.set_xlim(1, last)
            axis.set_xlabel("target copies")
            axis.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.grid(axis="x", visible=False)
        left.set_ylabel("largest |Q_tot|")
        figure.text(0.055, 0.97, TITLE, fontsize=style.TITLE_SIZE, fontweight="bold", va="top")
        figure.text(0.055, 0.907, NOTE, fontsize=style.NOTE_SIZE, color=style.MUTED, va="top")
        figure.savefig(path, dpi=160, facecolor="white")


def _exact_linear(copies: int) -> NDArray[np.float64]:
    value, result = 0.0, []
    for _ in range(copies):
        value = 0.75 + 1.25 * GAMMA * value
        result.append(value)
    return np.array(result)


def _band(axis: Any, name: str, values: NDArray[np.float64], dashes: Any = "solid", shade: float = 0.0) -> None:
    x = np.arange(1, values.shape[1] + 1)
    color = style.lighter(_color(name), shade)
    axis.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
    axis.plot(x, np.median(values, axis=0), color=color, lw=1.9, ls=dashes)


def _labels(axis: Any, lines: Mapping[str, tuple[str, NDArray[np.float64]]], end: int) -> None:
    """Names right of the axes, in the order of their lines' ends and at least a line of text apart."""
    gap = 0.052 * np.log(TOP / FIRST)
    height = -np.inf
    last = {text: float(np.median(v[:, min(end, v.shape[1]) - 1])) for text, (_, v) in lines.items()}
    ends = {text: float(np.log(np.clip(value, FIRST, TOP))) for text, value in last.items()}
    for text in sorted(ends, key=ends.__getitem__):
        height = max(height + gap, ends[text])
        color = style.darker(_color(lines[text][0]), 0.1)
        axis.annotate(
            text, (end, float(np.exp(height))), (6, 0), textcoords="offset points", color=color,
            fontsize=style.LABEL_SIZE, va="center", annotation_clip=False,
        )  # fmt: skip


def _color(name: str) -> str:
    """Of the algorithm; a name may say more after a hyphen."""
    known = style.ALGORITHM_COLORS
    return known[name] if name in known else known[name.partition("-")[0]]


def _title(axis: Any, title: str, note: str) -> None:
    axis.text(0, 1.105, title, transform=axis.transAxes, fontsize=style.PANEL_SIZE, fontweight="bold", color=style.INK)
    axis.text(0, 1.035, note, transform=axis.transAxes, fontsize=style.NOTE_SIZE, color=style.MUTED)
