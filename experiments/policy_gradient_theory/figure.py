"""The study's figure."""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from experiments.policy_gradient_theory.study import NamedRow, RandomRow

INK, MUTED, GRID = "#22252b", "#6b7280", "#e5e7eb"
COLORS = {"decentralized": "#d1603d", "sequential": "#2a6f97"}
TINTS = {"decentralized": "#f0c4b4", "sequential": "#a9cbe0"}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}


def draw(
    path: Path,
    named: list[NamedRow],
    random: list[RandomRow],
    steps: NDArray[np.int64],
    curves: dict[str, dict[str, NDArray[np.float32]]],
) -> None:
    """Writes the figure to `path`."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11, 6.6), dpi=160)
        rows = figure.add_gridspec(2, 1, left=0.06, right=0.985, top=0.875, bottom=0.085, hspace=0.42)
        top = rows[0].subgridspec(1, 4, wspace=0.24)
        bottom = rows[1].subgridspec(1, 2, wspace=0.16, width_ratios=(1.15, 1))
        optima = {row.game: row.optimum for row in named}

        for i, (game, by_name) in enumerate(curves.items()):
            axis = figure.add_subplot(top[i])
            axis.axhline(optima[game], color=MUTED, lw=0.9, ls=(0, (1, 2)), zorder=1)
            for name, values in by_name.items():
                kind, gradient = name.split(", ")
                dashes = "-" if gradient == "natural" else (0, (4, 1.6))
                median, low, high = np.quantile(values, (0.5, 0.0, 1.0), axis=0)
                axis.fill_between(steps, low, high, color=TINTS[kind], alpha=0.5, lw=0, zorder=2)
                axis.plot(steps, median, color=COLORS[kind], lw=1.9, ls=dashes, zorder=3)
            axis.set_xscale("log")
            axis.set_xlim(1, steps[-1])
            axis.set_title(f"{game}  (optimum {optima[game]:g})")
            axis.set_xlabel("gradient steps")
            axis.grid(axis="y", color=GRID, lw=0.7)
            axis.set_axisbelow(True)
            if i == 0:
                axis.set_ylabel("expected return J")

        axis = figure.add_subplot(bottom[0])
        wide = [row for row in named if row.init_sd == max(r.init_sd for r in named)]
        order = ("decentralized, plain", "decentralized, natural", "sequential, plain", "sequential, natural")
        for j, name in enumerate(order):
            kind, gradient = name.split(", ")
            heights = [row.optimal[name] for row in wide]
            x = np.arange(len(wide)) + (j - 1.5) * 0.2
            fill = COLORS[kind] if gradient == "natural" else TINTS[kind]
            axis.bar(x, heights, width=0.18, color=fill, label=name)
            for xi, h in zip(x, heights):
                axis.text(xi, h + 0.02, _short(h), ha="center", va="bottom", fontsize=7, color=INK)
        _fractions(axis, f"Wide start (sd {wide[0].init_sd:g}): seeds at the optimum; light plain, dark natural")
        axis.set_xticks(np.arange(len(wide)), [row.game for row in wide])
        axis.set_ylabel("fraction of seeds")

        axis = figure.add_subplot(bottom[1])
        x = np.arange(len(random))
        for kind in ("decentralized", "sequential"):
            y = np.array([row.optimal[kind] for row in random])
            axis.plot(x, y, color=COLORS[kind], lw=1.9, marker="o", ms=6, mec="white", mew=1.2, zorder=3)
            for xi, yi in zip(x, y):
                above = kind == "sequential"
                axis.annotate(
                    _short(yi),
                    (xi, yi),
                    (0, 6) if above else (-7, -10),
                    textcoords="offset points",
                    ha="center" if above else "right",
                    fontsize=7.5,
                )
        axis.fill_between(
            x,
            [row.optimal["decentralized"] for row in random],
            [row.optimal["sequential"] for row in random],
            color=GRID,
            alpha=0.6,
            lw=0,
            zorder=1,
        )
        _fractions(axis, "Random games, natural gradient: games solved")
        axis.set_xlim(-0.45, len(random) - 0.6)
        axis.set_xticks(x, [f"{row.num_agents} agents\n{row.num_actions} actions" for row in random])
        axis.set_ylabel("fraction of games")

        figure.text(
            0.06, 0.967, "Independent policies climb the wrong hill",
            fontsize=13, fontweight="bold", va="center",
        )  # fmt: skip
        figure.text(
            0.06, 0.932, "Top: exact gradient ascent from nearly uniform policies (sd 0.01), median and range",
            fontsize=9, color=MUTED, va="center",
        )  # fmt: skip
        handles = [
            plt.Line2D(
                [],
                [],
                color=COLORS[name.split(", ")[0]],
                lw=1.9,
                ls="-" if "natural" in name else (0, (4, 1.6)),
                label=name,
            )
            for name in order
        ]
        figure.legend(
            handles=handles,
            loc="center right",
            bbox_to_anchor=(0.99, 0.951),
            ncols=2,
            fontsize=8.5,
            columnspacing=1.4,
            handlelength=2.4,
        )
        figure.savefig(path)
        plt.close(figure)


def _short(fraction: float) -> str:
    """Two digits, but `1` and `0` only where nothing was rounded."""
    if fraction in (0.0, 1.0):
        return f"{fraction:.0f}"
    return f"{min(max(fraction, 0.01), 0.99):.2f}".lstrip("0")


def _fractions(axis: "matplotlib.axes.Axes", title: str) -> None:
    axis.set_title(title)
    axis.set_ylim(0, 1.12)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axis.grid(axis="y", color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(axis="x", length=0)
