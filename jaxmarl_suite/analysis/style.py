"""Style of figures: colors, type sizes and number formats."""

from __future__ import annotations

import colorsys
import hashlib
import math
from typing import Any

INK = "#1a1a1a"
MUTED = "#6b7280"
GRID = "#e5e7eb"

# One color for each algorithm in every figure, whatever else is drawn. Chosen by search so that they stay apart with
# every common color vision (a test simulates them), the first four, which are most often drawn together, by far.
ALGORITHM_COLORS = {
    "tad-ppo": "#0046CF",
    "mappo": "#FF7E01",
    "ippo": "#00B87A",
    "happo": "#BB6FB0",
    "iql": "#2C8EE4",
    "vdn": "#BB1A00",
    "qmix": "#502D90",
    "qtran": "#748749",
    "cw-qmix": "#A73E76",
    "ow-qmix": "#104025",
    "qplex": "#650752",
}

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.8,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "svg.hashsalt": "jaxmarl_suite",  # equal figures give equal files
}

TITLE_SIZE = 12.0
PANEL_SIZE = 10.0
NOTE_SIZE = 8.5
LABEL_SIZE = 9.0

SHADE_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1, 1)), (0, (7, 2, 1, 2, 1, 2)))
POLICY_DASHES: tuple[Any, ...] = ((0, (4, 2)), (0, (1, 1.5)))


def algorithm_color(algorithm: str) -> str:
    """The fixed color of an algorithm; for others, a dark enough hue from a hash of the name."""
    known = ALGORITHM_COLORS.get(algorithm)
    if known is not None:
        return known
    digest = hashlib.sha256(algorithm.encode()).digest()
    hue = int.from_bytes(digest[:4], "big") / 2**32
    red, green, blue = colorsys.hls_to_rgb(hue, 0.38 + 0.12 * digest[4] / 255, 0.55 + 0.2 * digest[5] / 255)
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"


def ordered_colors(count: int) -> list[str]:
    """`count` colors from dark to light for the ordered points of a sweep."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["viridis"]
    # The last fifth of the scale is too light on white.
    return [to_hex(scale(0.02 + 0.8 * index / max(count - 1, 1))) for index in range(count)]


def format_count(value: float, position: int | None = None) -> str:
    """A count of steps in thousands, millions or billions: 0, 500, 20k, 1.5M. Also a matplotlib formatter."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            # 999,999 would round to 1000k in its own unit.
            scaled = float(f"{value / size:.3g}")
            return format_count(scaled * size) if abs(scaled) >= 1000 and unit != "B" else f"{scaled:g}{unit}"
    return f"{value:.3g}" if value != int(value) else f"{int(value)}"


def format_score(value: float) -> str:
    """A score with two decimals, fewer for large ones; an en dash for nan."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.2f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def format_share(value: float) -> str:
    """A share in whole percent, or as less than one percent."""
    return f"{value:.0%}" if value >= 0.01 else "< 1%"


def darker(color: str, amount: float = 0.25) -> str:
    """`color` mixed with black, for text."""
    from matplotlib.colors import to_hex, to_rgb

    return str(to_hex(_mixed(to_rgb(color), 0.0, amount)))


def lighter(color: str, amount: float) -> str:
    """`color` mixed with white."""
    from matplotlib.colors import to_hex, to_rgb

    return str(to_hex(_mixed(to_rgb(color), 1.0, amount)))


def _mixed(color: tuple[float, float, float], towards: float, amount: float) -> tuple[float, float, float]:
    red, green, blue = (channel + (towards - channel) * amount for channel in color)
    return red, green, blue
