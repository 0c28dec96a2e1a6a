"""Layout of figures of learning curves. Lengths are in inches; `figures` decides what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.analysis import style
from jaxmarl_suite.analysis.statistics import Band

LEFT, RIGHT, TOP, BOTTOM = 0.5, 0.22, 0.14, 0.46
PANEL_GAP, ROW_GAP = 0.48, 0.36
TEXT_ROW = 0.2
LABEL_GAP = 0.2  # from the end of a line to its label
MAX_DIRECT_LABELS = 8  # beyond this, or with several panels, a legend is used
FEW_EVALUATIONS = 12  # up to this many, each is marked


@dataclass(frozen=True)
class Line:
    """One series in one panel."""

    key: str  # the same for a series in all panels
    label: str
    color: str
    dashes: Any
    position: NDArray[np.int64]  # [T] along the horizontal axis
    band: Band
    policies: tuple[tuple[str, NDArray[np.int64], Band], ...]  # name, positions, band


@dataclass(frozen=True)
class Panel:
    """One environment."""

    env: str
    lines: tuple[Line, ...]
    quantity: str  # what the vertical axis measures
    optimum: float | None  # in the units of the panel; None for no reference line


class Canvas:
    """A figure being filled from the top."""

    def __init__(self, figure: Any, width: float):
        self.figure = figure
        self.width = width
        self.renderer = figure.canvas.get_renderer()

    def text_width(self, text: str, size: float, weight: str = "normal") -> float:
        """Width of `text` in inches."""
        artist = self.figure.text(0, 0, text, fontsize=size, fontweight=weight)
        width = artist.get_window_extent(self.renderer).width / self.figure.dpi
        artist.remove()
        return float(width)

    def wrap(self, parts: Sequence[str], size: float) -> list[str]:
        """Joins `parts` with middle dots into as many lines as needed."""
        lines: list[str] = []
        for part in parts:
            longer = f"{lines[-1]} · {part}" if lines else part
            if lines and self.text_width(longer, size) <= self.width - 2 * RIGHT:
                lines[-1] = longer
            else:
                lines.append(part)
        return lines

    def fit(self, text: str, width: float, size: float) -> tuple[str, float]:
        """Fits bold `text` into `width` inches: makes it smaller by up to a fifth, then truncates it. Returns text and
        size.
        """
        size *= min(1.0, max(0.8, width / self.text_width(text, size, "bold")))
        whole = text
        while self.text_width(text, size, "bold") > 1.001 * width and len(whole) > 1:
            whole = whole[:-1]
            text = whole.rstrip(" (") + "…"
        return text, size

    def write(self, text: str, below_top: float, **how: Any) -> None:
        """Writes `text` from the left edge, its top `below_top` inches below that of the figure."""
        height = self.figure.get_figheight()
        self.figure.text(RIGHT / self.width, 1 - below_top / height, text, ha="left", va="top", **how)


Entry = tuple[str, str, Any, float]  # legend: text, color, dashes, line width


def draw(
    figure: Any,
    panels: Sequence[Panel],
    *,
    title: str | None,
    notes: Sequence[str],
    legend_title: str | None,
    axis_label: str,
    width: float,
) -> None:
    """Fills `figure` with a headline, notes, a legend if lines cannot be labeled directly, and the panels."""
    canvas = Canvas(figure, width)
    looks = {line.key: line for panel in panels for line in panel.lines}
    labels = [line.label for line in looks.values()]
    widest = max(canvas.text_width(text, style.LABEL_SIZE) for text in [legend_title or "", *labels])
    is_direct = len(panels) == 1 and 1 < len(looks) <= MAX_DIRECT_LABELS and widest < 0.33 * width
    rows = _legend_rows(
        canvas, _entries(panels, list(looks.values()), is_direct), legend_title if not is_direct else None
    )
    note_lines = canvas.wrap(notes, style.NOTE_SIZE)

    columns = len(panels) if len(panels) <= 3 else 2 if len(panels) == 4 else 3 if len(panels) <= 9 else 4
    grid_rows = math.ceil(len(panels) / columns)
    has_headers = len(panels) > 1
    head = TOP + (0.28 if title else 0) + TEXT_ROW * len(note_lines) + (0.18 if has_headers else 0.08)
    head += 0.24 * len(rows) + 0.02 if rows else 0
    shows_quantity = len({panel.quantity for panel in panels}) > 1
    header = (0.22 if has_headers else 0.04) + (0.17 if shows_quantity else 0)
    panel_height = 2.55 if len(panels) == 1 else 1.75 if columns <= 2 else 1.45
    height = head + grid_rows * (header + panel_height) + (grid_rows - 1) * ROW_GAP + BOTTOM
    figure.set_size_inches(width, height)

    top = TOP
    if title:
        canvas.write(title, top, fontsize=style.TITLE_SIZE, fontweight="bold")
        top += 0.28
    for note in note_lines:
        canvas.write(note, top, fontsize=style.NOTE_SIZE, color=style.MUTED)
        top += TEXT_ROW
    _draw_legend(canvas, rows, top + 0.16, height)

    right = LABEL_GAP + widest + 0.1 if is_direct else RIGHT
    panel_width = (width - LEFT - right - PANEL_GAP * (columns - 1)) / columns
    limits = _limits(panels)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        x = LEFT + column * (panel_width + PANEL_GAP)
        y = height - head - header - panel_height - row * (header + panel_height + ROW_GAP)
        axes = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
        _draw_panel(axes, panel, limits[index], panel_width)
        if has_headers:
            offset = 0.06 + (0.17 if shows_quantity else 0)
            name, size = canvas.fit(panel.env, panel_width, style.PANEL_SIZE)
            _above(axes, name, offset, panel_height, size=size, weight="bold", color=style.INK)
        if shows_quantity:
            _above(axes, panel.quantity, 0.06, panel_height, size=style.NOTE_SIZE, weight="normal", color=style.MUTED)
        if index + columns >= len(panels):
            axes.set_xlabel(axis_label, fontsize=style.NOTE_SIZE, loc="right", labelpad=3)
        if is_direct:
            _label_lines(axes, panel, panel_width, panel_height, legend_title)


def _entries(panels: Sequence[Panel], lines: Sequence[Line], is_direct: bool) -> list[Entry]:
    entries: list[Entry] = []
    if not is_direct and len(lines) > 1:
        entries = [(line.label, line.color, line.dashes, 2.0) for line in lines]
    policies = list(dict.fromkeys(name for panel in panels for line in panel.lines for name, _, _ in line.policies))
    if policies and not entries:
        neutral = lines[0].color if len(lines) == 1 else style.MUTED
        entries.append(("learned policy", neutral, "solid", 2.0))
    else:
        neutral = style.MUTED
    for index, name in enumerate(policies):
        entries.append((name, neutral, style.POLICY_DASHES[index % len(style.POLICY_DASHES)], 1.1))
    return entries


def _legend_rows(canvas: Canvas, entries: Sequence[Entry], title: str | None) -> list[list[tuple[float, Entry | str]]]:
    """Entries with their distance from the left edge, wrapped to the width of the figure."""
    rows: list[list[tuple[float, Entry | str]]] = []
    x = math.inf
    items: list[Entry | str] = [title, *entries] if title and entries else list(entries)
    for item in items:
        text, sample = (item, 0.0) if isinstance(item, str) else (item[0], 0.36)
        needed = sample + canvas.text_width(text, style.LABEL_SIZE)
        if x + needed > canvas.width - RIGHT:
            rows.append([])
            x = RIGHT
        rows[-1].append((x, item))
        x += needed + 0.24
    return rows


def _draw_legend(canvas: Canvas, rows: Sequence[Any], top: float, height: float) -> None:
    from matplotlib.lines import Line2D

    figure = canvas.figure
    how: dict[str, Any] = {"va": "center_baseline", "fontsize": style.LABEL_SIZE}
    for number, row in enumerate(rows):
        y = 1 - (top + 0.24 * number) / height
        for x, item in row:
            if isinstance(item, str):
                figure.text(x / canvas.width, y, item, color=style.MUTED, **how)
                continue
            text, color, dashes, thickness = item
            ends = [x / canvas.width, (x + 0.28) / canvas.width]
            sample = Line2D(ends, [y, y], color=color, linestyle=dashes, linewidth=thickness)
            sample.set_transform(figure.transFigure)
            figure.add_artist(sample)
            figure.text(ends[0] + 0.36 / canvas.width, y, text, **how)


def _limits(panels: Sequence[Panel]) -> list[tuple[float, float]]:
    """Vertical limits of each panel: the same for all if that wastes little space."""
    spans = []
    for panel in panels:
        arrays = [band for line in panel.lines for band in (line.band, *(band for _, _, band in line.policies))]
        values = np.concatenate([np.concatenate([band.value, band.low, band.high]) for band in arrays])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if panel.optimum is not None:
            low, high = min(low, panel.optimum), max(high, panel.optimum)
        if 0 <= low < 0.5 * high:
            low = 0.0
        if low == high:
            low, high = low - 0.5, high + 0.5
        spans.append((low, high))
    widths = [high - low for low, high in spans]
    is_alike = len({panel.quantity for panel in panels}) == 1 and panels[0].optimum is not None
    if is_alike and max(widths) < 1.6 * min(widths) and len({panel.optimum for panel in panels}) == 1:
        spans = [(min(low for low, _ in spans), max(high for _, high in spans))] * len(panels)
    # Leave room for the name above the reference line.
    return [
        (low - 0.04 * (high - low), high + (0.09 if panel.optimum is not None else 0.04) * (high - low))
        for panel, (low, high) in zip(panels, spans, strict=True)
    ]


def _draw_panel(axes: Any, panel: Panel, limits: tuple[float, float], width: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for line in reversed(panel.lines):  # the first on top
        for index, (_, position, band) in enumerate(line.policies):
            dashes = style.POLICY_DASHES[index % len(style.POLICY_DASHES)]
            axes.plot(position, band.value, color=line.color, linestyle=dashes, linewidth=1.1, alpha=0.9, zorder=3)
        is_marked = len(line.position) <= FEW_EVALUATIONS
        axes.plot(
            line.position,
            line.band.value,
            color=line.color,
            linestyle=line.dashes,
            linewidth=2.0,
            marker="o" if is_marked else None,
            markersize=3.2,
            clip_on=False,
            zorder=4,
        )
        if line.band.has_interval:
            axes.fill_between(
                line.position, line.band.low, line.band.high, color=line.color, alpha=0.14, linewidth=0, zorder=2
            )
    positions = np.concatenate([line.position for line in panel.lines])
    first, last = min(0, int(positions.min())), int(positions.max())
    axes.set_xlim(first, last if last > first else first + 1)
    axes.set_ylim(*limits)
    if panel.optimum is not None:
        axes.axhline(panel.optimum, color=style.INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=1.5)
        axes.annotate(
            "optimum", (0, panel.optimum), xycoords=("axes fraction", "data"), xytext=(2, 2),
            textcoords="offset points", fontsize=7.5, color=style.MUTED, va="bottom", ha="left",
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width / 0.75)), steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(style.format_count))
    if max(map(abs, limits)) >= 2e3:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.format_count(value).replace("-", "−")))
    axes.grid(False, axis="x")


def _above(axes: Any, text: str, offset: float, height: float, *, size: float, weight: str, color: str) -> None:
    axes.text(
        0, 1 + offset / height, text,
        transform=axes.transAxes, fontsize=size, fontweight=weight, color=color, ha="left", va="bottom",
    )  # fmt: skip


def _label_lines(axes: Any, panel: Panel, width: float, height: float, title: str | None) -> None:
    """Puts names at the right ends of the lines, moved apart if lines end close together."""
    low, high = axes.get_ylim()
    first, last = axes.get_xlim()
    ends = [height * (line.band.value[-1] - low) / (high - low) for line in panel.lines]
    heights = spread(ends, 0.175, 0.0, height)
    for line, end, target in zip(panel.lines, ends, heights, strict=True):
        start = (float(line.position[-1]) - first) / (last - first)
        x = [start + 0.03 / width, 1 + 0.05 / width, 1 + (LABEL_GAP - 0.04) / width]
        y = [end / height, end / height, target / height]
        axes.plot(x, y, color=line.color, linewidth=0.7, alpha=0.8, transform=axes.transAxes, clip_on=False)
        axes.text(
            1 + LABEL_GAP / width, target / height, line.label,
            transform=axes.transAxes, color=style.darker(line.color, 0.3),
            fontsize=style.LABEL_SIZE, va="center_baseline",
        )  # fmt: skip
    if title:
        axes.text(
            1 + LABEL_GAP / width, (max(heights) + 0.2) / height, title,
            transform=axes.transAxes, color=style.MUTED, fontsize=style.NOTE_SIZE, va="center_baseline",
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in the order of `wanted`, at least `gap` apart and near to it (least squares), within [low, high].

    If `high - low` is too small for the gaps, positions exceed `high`.
    """
    order = np.lexsort((-np.arange(len(wanted)), np.asarray(wanted)))  # among equals, the first goes on top
    # Subtracting the gaps turns "apart by gap" into "not descending", which pooling adjacent violators solves.
    pools: list[list[float]] = []  # sum, count
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    ceiling = high - gap * (len(order) - 1)
    flat = [max(min(total / count, ceiling), low) for total, count in pools for _ in range(int(count))]
    result = [0.0] * len(order)
    for rank, index in enumerate(order):
        result[index] = flat[rank] + rank * gap
    return result
