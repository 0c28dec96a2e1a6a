"""What a world model imagines beside what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.analysis import style
from jaxmarl_suite.analysis.figures import SUFFIXES

MOST_PANELS = 6
"""Entries of the state that are drawn: those that vary most, in standard deviations, over the tests."""


def check_figure_path(path: str | Path) -> Path:
    """`path`, if a figure can be written to a file of its suffix.

    Raises:
        ValueError: another suffix.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{target}: unknown figure suffix {target.suffix!r}; accepted: {', '.join(SUFFIXES)}")
    return target


def plot_model(
    true: NDArray[np.float32],
    predicted: NDArray[np.float32],
    error: NDArray[np.float32],
    path: str | Path,
    *,
    sample: int = 0,
    dots_per_inch: int = 150,
) -> Path:
    """Draws the growth of the error, and entries of the state in one test: true (line) and imagined (dashed).

    Args:
        true: [M, H + T, G] states.
        predicted: [M, T, G] of the model, from the first H true states and the true actions.
        error: [M, T, G] absolute differences in standard deviations.
        path: ends in .png, .svg or .pdf.
        sample: the test that is drawn.
        dots_per_inch: resolution of PNG files.

    Raises:
        ValueError: an unknown suffix, or a test that there is not.
    """
    target = check_figure_path(path)
    if not 0 <= sample < len(true):
        raise ValueError(f"sample must be one of the {len(true)} tests, 0 to {len(true) - 1}, got {sample}")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, history = predicted.shape[1], true.shape[1] - predicted.shape[1]
    drift = error.mean(axis=2)  # [M, T]
    shown = np.sort(np.argsort(-true.std(axis=(0, 1)), kind="stable")[:MOST_PANELS])
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(6.4, 2.2 + 1.5 * -(-len(shown) // 2)), dpi=dots_per_inch, layout="constrained")
        FigureCanvasAgg(figure)
        parts: Any = figure.subfigures(2, 1, height_ratios=(2.2, 1.5 * -(-len(shown) // 2)))
        top, below = parts
        axes = top.subplots()
        axes.fill_between(
            np.arange(1, steps + 1), *np.quantile(drift, (0.1, 0.9), axis=0), color=style.GRID, linewidth=0
        )
        axes.plot(np.arange(1, steps + 1), drift.mean(axis=0), color=style.INK)
        axes.set_title(
            f"error of {len(true)} tests in standard deviations: mean, and 10 to 90 %", loc="left", fontsize=9
        )
        axes.set_xlabel("imagined steps")
        axes.set_ylim(bottom=0)
        panels: Any = below.subplots(-(-len(shown) // 2), 2, squeeze=False, sharex=True)
        for axes, entry in zip(panels.flat, shown, strict=False):
            axes.plot(np.arange(-history + 1, steps + 1), true[sample, :, entry], color=style.INK)
            axes.plot(np.arange(1, steps + 1), predicted[sample, :, entry], color="#FF7E01", linestyle="dashed")
            axes.set_title(f"state entry {entry}", loc="left", fontsize=8.5)
        for axes in list(panels.flat)[len(shown) :]:
            axes.set_axis_off()
        target.parent.mkdir(parents=True, exist_ok=True)
        undated: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(target, dpi=dots_per_inch, facecolor="white", metadata=undated[target.suffix.lower()])
    return target
