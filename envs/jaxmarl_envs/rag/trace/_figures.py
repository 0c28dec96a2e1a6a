"""Draws figures of a trace on one page. matplotlib is imported on first use."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmarl_envs.rag.trace._caches import POLICIES, hit_ratio_curve
from jaxmarl_envs.rag.trace._schema import PARTS
from jaxmarl_envs.rag.trace._statistics import (
    CAPACITIES,
    HOUR,
    hourly_overlap,
    hourly_profile,
    popularity,
    reuse_times,
    shuffle_requests,
    turn_gaps,
)
from jaxmarl_envs.rag.trace._trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".pdf", ".svg")
_TURNS_SHOWN = 10


def plot_trace(trace: Trace, path: str | Path) -> Path:
    """Draws nine panels (load, lengths, skew, locality, hit ratios, sessions) into a file and returns its path.

    Raises:
      ValueError: for an unknown suffix, or a trace without passages.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a figure's name ends in {', '.join(SUFFIXES)}, got {str(path)!r}")
    if not (trace.docs >= 0).any():
        raise ValueError("a trace in which no request has a passage has nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (_rates, _lengths, _components, _frequency, _hourly, _ranks, _reuse, _hits, _sessions)
    for ax, draw in zip(figure.subplots(3, 3).flat, panels):
        draw(ax, trace)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _label(ax: "Axes", title: str, x: str, y: str, legend: bool = False) -> None:
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if legend:
        ax.legend(framealpha=0.7, edgecolor="none", fontsize=8)


def _rates(ax: "Axes", trace: Trace) -> None:
    hourly = np.bincount(trace.time // HOUR)
    ax.step(np.arange(len(hourly)) / 24, hourly, linewidth=0.8)
    day = ax.inset_axes((0.55, 0.6, 0.42, 0.36))
    day.bar(np.arange(24), hourly_profile(trace), width=0.9)
    day.set_title("by hour of the day", fontsize=7)
    day.tick_params(labelsize=6)
    _label(ax, "Requests per hour", "day", "requests")


def _cumulative(ax: "Axes", values: np.ndarray, label: str) -> None:
    ax.plot(np.sort(values), np.arange(1, len(values) + 1) / len(values), label=label)


def _lengths(ax: "Axes", trace: Trace) -> None:
    for label, values in (
        ("input", trace.input_length),
        ("output", trace.output_length),
        ("passage, corpus", trace.tables["passages_ids"].lengths),
        ("question", np.maximum(trace.part_tokens("user_input"), 1)),
    ):
        _cumulative(ax, values, label)
    ax.set_xscale("log")
    _label(ax, "Lengths", "tokens", "share at most as long", legend=True)


def _components(ax: "Axes", trace: Trace) -> None:
    """Token shares of the prompt's parts, in ten groups of requests by length."""
    groups = np.array_split(np.argsort(trace.input_length, kind="stable"), min(10, len(trace)))
    middle = [float(np.median(trace.input_length[group])) for group in groups]
    tokens = {part: trace.part_tokens(part) for part in PARTS}
    shares = [[tokens[part][group].sum() / trace.input_length[group].sum() for group in groups] for part in PARTS]
    ax.stackplot(middle, shares, labels=PARTS)
    _label(ax, "Parts of the prompt", "input tokens", "share of tokens", legend=True)


def _frequency(ax: "Axes", trace: Trace) -> None:
    _cumulative(ax, popularity(trace), "")
    ax.set_xscale("symlog")
    ax.set_ylim(0, 1.02)
    _label(ax, "How often passages are used", "references", "share of the corpus")


def _hourly(ax: "Axes", trace: Trace) -> None:
    ax.plot(hourly_overlap(trace), linewidth=0.8)
    ax.set_ylim(0, 1)
    _label(ax, "Hourly overlap", "hour with requests", "share used by two or more")


def _ranks(ax: "Axes", trace: Trace) -> None:
    counts = popularity(trace)
    counts = counts[counts > 0]
    ax.loglog(np.arange(1, len(counts) + 1), counts)
    _label(ax, "Rank and frequency", "rank", "references")


def _reuse(ax: "Axes", trace: Trace) -> None:
    for label, view in (("as recorded", trace), ("requests shuffled", shuffle_requests(trace))):
        seconds = np.sort(reuse_times(view)[0])
        share = np.arange(1, len(seconds) + 1) / len(seconds)
        finite = np.isfinite(seconds)
        ax.plot(np.maximum(seconds[finite], 1), share[finite], label=label)
    ax.set_xscale("log")
    ax.set_ylim(0, 1)
    _label(ax, "Time until used again", "seconds", "share of references", legend=True)


def _hits(ax: "Axes", trace: Trace) -> None:
    stream = trace.docs[trace.docs >= 0]
    for policy in POLICIES:
        if policy != "GDSF":  # with equal sizes it is LFU-DA
            ax.plot(CAPACITIES, hit_ratio_curve(policy, stream, CAPACITIES), marker="o", markersize=3, label=policy)
    ax.set_xscale("log", base=2)
    _label(ax, "Hit ratio of one cache", "passages held", "hit ratio", legend=True)


def _sessions(ax: "Axes", trace: Trace) -> None:
    turns = np.bincount(trace.session)
    turns = np.minimum(turns[turns > 0], _TURNS_SHOWN)
    ax.bar(np.arange(1, _TURNS_SHOWN + 1), np.bincount(turns, minlength=_TURNS_SHOWN + 1)[1:] / len(turns))
    gaps = turn_gaps(trace)
    if len(gaps):
        inner = ax.inset_axes((0.5, 0.5, 0.47, 0.45))
        _cumulative(inner, np.maximum(gaps, 1), "")
        inner.set_xscale("log")
        inner.set_title("seconds between turns", fontsize=7)
        inner.tick_params(labelsize=6)
    _label(ax, "Turns per session", f"turns ({_TURNS_SHOWN}: or more)", "share of sessions")
