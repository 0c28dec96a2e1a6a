"""Learning curves as figures: interquartile mean over seeds with an interval band, one panel per environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxmarl_suite.analysis import style
from jaxmarl_suite.analysis.drawing import Line, Panel, draw
from jaxmarl_suite.analysis.groups import DEFAULT_POOL, Series, SeriesCurve, format_setting, group_runs
from jaxmarl_suite.analysis.run import Run
from jaxmarl_suite.analysis.statistics import DEFAULT_CONFIDENCE, DEFAULT_RESAMPLES, Band, bootstrap_band

SUFFIXES = (".png", ".svg", ".pdf")
Axis = Literal["env_steps", "updates"]


def plot(
    runs: Run | Iterable[Run],
    path: str | Path,
    metric: str = "return",
    *,
    kind: Literal["train", "eval"] = "eval",
    normalize: bool | None = None,
    axis: Axis | None = None,
    title: str | None = None,
    pool: Sequence[str] = DEFAULT_POOL,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    width: float = 6.4,
    dots_per_inch: int = 150,
) -> Path:
    """Draws the learning curves of `runs` into the file `path` and returns it.

    There is one panel per environment, with one line per algorithm or, if settings differ, per setting: the
    interquartile mean over seeds and its bootstrap interval. Extra policies (`teacher/return`) are thin dashed lines
    in the same color.

    Args:
        runs: one run or several.
        path: ends in .png, .svg or .pdf.
        metric: which metric of the rows of `kind`.
        kind: "eval" for evaluations, "train" for metrics of training. If a training row has no value (no episode
            ended), the lane's previous value is used.
        normalize: whether returns are divided by the optimum; None does so in panels where every optimum is known and
            positive. Only returns are ever divided.
        axis: the x-axis; None for environment steps, or updates if no phase takes environment steps. Evaluations of a
            phase that takes none are placed at the step where it began.
        title: headline; by default the environment if there is only one, otherwise none.
        pool: environment options whose values are pooled as instances, not compared.
        confidence: coverage of the bands.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.
        width: inches.
        dots_per_inch: resolution of PNG files; the default gives 960 pixels across.

    Raises:
        ValueError: an unknown suffix, no data for `metric`, or `normalize=True` without positive optima.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{target}: unknown figure suffix {target.suffix!r}; accepted: {', '.join(SUFFIXES)}")
    groups = group_runs(runs, pool)
    along = axis or _axis(groups, metric, kind)
    looks = _looks(groups)
    band = partial(_band, confidence=confidence, resamples=resamples, seed=seed)
    panels = []
    for env in dict.fromkeys(series.env for series in groups):
        members = [series for series in groups if series.env == env]
        is_return = is_return_metric(metric)
        divide = is_return and (all(series.can_normalize for series in members) if normalize is None else normalize)
        panels.append(
            Panel(
                env=env,
                lines=tuple(
                    _line(series, looks[series.label], metric, kind, along, divide, band) for series in members
                ),
                quantity=f"{metric} / optimum" if divide else metric,
                optimum=_reference(members, divide) if is_return else None,
            )
        )
    algorithms = {series.algorithm for series in groups}
    settings = list(dict.fromkeys(name for series in groups for name, _ in series.settings))
    with _saved(target, dots_per_inch) as figure:
        draw(
            figure,
            panels,
            title=title or _title(panels, groups),
            notes=_notes(panels, groups, metric, confidence),
            legend_title=settings[0] if len(algorithms) == 1 and len(settings) == 1 else None,
            axis_label="environment steps" if along == "env_steps" else "updates",
            width=width,
        )
    return target


@contextmanager
def _saved(target: Path, dots_per_inch: int) -> Iterator[Any]:
    """An empty figure, saved when the block ends; without a date, so that equal figures are equal files."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style.RC):
        figure = Figure(dpi=dots_per_inch)
        FigureCanvasAgg(figure)  # measures text; needs no display
        yield figure
        target.parent.mkdir(parents=True, exist_ok=True)
        undated: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        metadata = undated[target.suffix.lower()]
        figure.savefig(target, dpi=dots_per_inch, facecolor="white", metadata=metadata)


def _band(curve: SeriesCurve, *, confidence: float, resamples: int, seed: int) -> Band:
    """The interquartile mean of a curve and its interval."""
    return bootstrap_band(curve.strata, confidence=confidence, resamples=resamples, seed=seed)


def _line(
    series: Series,
    look: tuple[str, str, Any],
    metric: str,
    kind: Literal["train", "eval"],
    along: Axis,
    divide: bool,
    band: Callable[[SeriesCurve], Band],
) -> Line:
    """A series as it is drawn: its own curve from where it learns, and those of extra policies in evaluations."""
    label, color, dashes = look
    curve = series.curve(metric, kind=kind, normalized=divide)
    if kind == "eval":  # a student is not shown before it learns
        start = int(np.searchsorted(curve.steps, series.first_trained_step))
        if 0 < start < len(curve.steps):
            strata = tuple(stratum[:, start:] for stratum in curve.strata)
            curve = SeriesCurve(curve.env_steps[start:], curve.steps[start:], curve.updates[start:], strata)
    policies = []
    for policy in series.policies(metric) if kind == "eval" else ():
        other = series.curve(f"{policy}/{metric}", normalized=divide)
        policies.append((policy, getattr(other, along), band(other)))
    return Line(series.label, label, color, dashes, getattr(curve, along), band(curve), tuple(policies))


def is_return_metric(metric: str) -> bool:
    """Whether `metric` is a policy's return, which is bounded by the optimum of the environment."""
    return metric == "return" or (metric.endswith("/return") and not metric.startswith("learner/"))


def _axis(groups: Sequence[Series], metric: str, kind: Literal["train", "eval"]) -> Axis:
    curves = [series.curve(metric, kind=kind) for series in groups]
    stands_still = all(curve.env_steps[0] == curve.env_steps[-1] for curve in curves)
    return "updates" if stands_still and any(len(curve.updates) > 1 for curve in curves) else "env_steps"


def _looks(groups: Sequence[Series]) -> dict[str, tuple[str, str, Any]]:
    """Displayed label, color and dashes of each series by its full label, the same in all panels."""
    series_of = {series.label: series for series in groups}
    algorithms = list(dict.fromkeys(series.algorithm for series in groups))
    looks: dict[str, tuple[str, str, Any]] = {}
    if len(algorithms) == 1 and len(series_of) > 1:
        # One algorithm with several settings: an ordered color scale, and the name is not repeated on every line.
        ranked = list(series_of.items())
        varied = {name for _, series in ranked for name, _ in series.settings}
        for (label, series), color in zip(ranked, style.ordered_colors(len(ranked)), strict=True):
            shown = [
                format_setting(value) if len(varied) == 1 else f"{name}={format_setting(value)}"
                for name, value in series.settings
            ]
            looks[label] = (" ".join(shown) or series.algorithm, color, "solid")
        return looks
    for algorithm in algorithms:
        labels = [label for label, series in series_of.items() if series.algorithm == algorithm]
        for index, label in enumerate(labels):
            color = style.lighter(style.algorithm_color(algorithm), 0.4 * index / max(len(labels) - 1, 1))
            looks[label] = (label, color, style.SHADE_DASHES[index % len(style.SHADE_DASHES)])
    return looks


def _reference(members: Sequence[Series], divide: bool) -> float | None:
    """The optimum in a panel: 1 if returns are divided by it, otherwise the value that all lanes share."""
    if divide:
        return 1.0
    optima = np.concatenate([series.optima for series in members])
    return None if np.isnan(optima).any() or np.ptp(optima) > 0 else float(optima[0])


def _title(panels: Sequence[Panel], groups: Sequence[Series]) -> str | None:
    algorithms = {series.algorithm for series in groups}
    if len(panels) > 1:
        return algorithms.pop() if len(algorithms) == 1 else None
    return f"{panels[0].env}, {algorithms.pop()}" if len(algorithms) == 1 else panels[0].env


def _notes(panels: Sequence[Panel], groups: Sequence[Series], metric: str, confidence: float) -> list[str]:
    quantities = {panel.quantity for panel in panels}
    name = metric.replace("_", " ").capitalize()
    if len(quantities) > 1:
        name += ", divided by the optimum where known"
    elif quantities != {metric}:
        name += " as a fraction of the optimum"
    counts = sorted({series.num_lanes for series in groups})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    unit = "runs" if any(series.num_instances > 1 for series in groups) else "seeds"
    if counts == [1]:
        return [name, "a single seed, so no interval"]
    return [name, f"interquartile mean of {number} {unit}, {100 * confidence:g} % interval"]
