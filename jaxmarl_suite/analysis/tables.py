"""Result tables: one row per series of runs, as values or as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmarl_suite.analysis import style
from jaxmarl_suite.analysis.groups import DEFAULT_POOL, Series, group_runs
from jaxmarl_suite.analysis.run import Run
from jaxmarl_suite.analysis.statistics import (
    DEFAULT_CONFIDENCE,
    DEFAULT_RESAMPLES,
    Estimate,
    bootstrap_estimate,
    fraction_estimate,
)

DEFAULT_TOLERANCE = 0.01


@dataclass(frozen=True)
class TableRow:
    """The results of one series. Estimates are None if a quantity is unknown or not measured yet."""

    env: str
    label: str  # algorithm and settings
    policy: str  # "" is the learned policy; otherwise an extra one, such as "teacher"
    metric: str
    final: Estimate  # interquartile mean at the last evaluation that all lanes have
    final_median: float
    absolute: Estimate | None  # interquartile mean of the best checkpoints
    normalized_final: Estimate | None  # divided by the optimum
    normalized_absolute: Estimate | None
    solved: Estimate | None  # fraction of lanes that end within the tolerance of the optimum or above it
    cut: float  # share of the last evaluation's episodes that did not end in time
    env_steps: int  # of the last evaluation
    num_lanes: int
    num_instances: int
    seeds: tuple[int, ...]
    status: str  # "" if every run of the series is finished; otherwise how the others ended, see `Run.status`


def summarize(
    runs: Run | Iterable[Run],
    metric: str = "return",
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    pool: Sequence[str] = DEFAULT_POOL,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> list[TableRow]:
    """One row per environment, algorithm and setting, each followed by rows for its extra policies.

    Args:
        runs: one run or several.
        metric: a metric of the evaluations. Normalized and solved columns exist only for "return".
        tolerance: largest distance from the optimum, in units of the return, that counts as solved.
        pool: environment options whose values are pooled as instances, not compared.
        confidence: coverage of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: no runs, or a series without an evaluation common to its lanes.
    """
    rows = []
    for series in group_runs(runs, pool):
        for policy in ("", *series.policies(metric)):
            rows.append(_row(series, metric, policy, tolerance, confidence, resamples, seed))
    return rows


def _row(
    series: Series, metric: str, policy: str, tolerance: float, confidence: float, resamples: int, seed: int
) -> TableRow:
    def estimate(strata: Sequence[np.ndarray] | None) -> Estimate | None:
        if strata is None:
            return None
        return bootstrap_estimate(strata, confidence=confidence, resamples=resamples, seed=seed)

    name = f"{policy}/{metric}" if policy else metric
    curve = series.curve(name)
    final = [scores[:, -1] for scores in curve.strata]
    found = estimate(final)
    assert found is not None
    normalizes = metric == "return" and series.can_normalize
    solved = None
    if metric == "return" and not np.isnan(series.optima).any():
        short = [best - scores for scores, best in zip(final, series.stratify(series.optima), strict=True)]
        reached = int(sum(np.count_nonzero(gap <= tolerance) for gap in short))
        solved = fraction_estimate(reached, series.num_lanes, confidence=confidence)
    return TableRow(
        env=series.env,
        label=series.label,
        policy=policy,
        metric=metric,
        final=found,
        final_median=float(np.median(np.concatenate(final))),
        absolute=estimate(series.absolute(name)),
        normalized_final=estimate(series.final(name, normalized=True)) if normalizes else None,
        normalized_absolute=estimate(series.absolute(name, normalized=True)) if normalizes else None,
        solved=solved,
        cut=series.cut(policy),
        env_steps=int(curve.env_steps[-1]),
        num_lanes=series.num_lanes,
        num_instances=series.num_instances,
        seeds=series.seeds,
        status=_status([member.run for member in series.members]),
    )


def _status(runs: Sequence[Run]) -> str:
    """`interrupted`, or `1 of 3 runs interrupted`."""
    left = [run.status for run in runs if run.status != "finished"]
    names = ", ".join(dict.fromkeys(left))
    return names if len(runs) == 1 or not left else f"{len(left)} of {len(runs)} runs {names}"


def table(
    runs: Run | Iterable[Run],
    metric: str = "return",
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    pool: Sequence[str] = DEFAULT_POOL,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> str:
    """The rows of `summarize` as a markdown table without empty columns; takes the same arguments."""
    rows = summarize(
        runs, metric, tolerance=tolerance, pool=pool, confidence=confidence, resamples=resamples, seed=seed
    )
    return render_markdown(rows)


def render_markdown(rows: Sequence[TableRow]) -> str:
    """A markdown table, ending in a newline. Point estimates are followed by their intervals in brackets.

    The columns of scores carry the name of their metric unless it is the return.
    """
    if not rows:
        raise ValueError("no rows to render")
    of = "" if rows[0].metric == "return" else f" {rows[0].metric}"
    columns: list[tuple[str, str, list[str]]] = [
        ("environment", ":--", [row.env for row in rows]),
        ("algorithm", ":--", [f"{row.label}: {row.policy}" if row.policy else row.label for row in rows]),
        (f"final{of}", "--:", [_estimate(row.final) for row in rows]),
        (f"median{of}", "--:", [style.format_score(row.final_median) for row in rows]),
        (f"absolute{of}", "--:", [_estimate(row.absolute) for row in rows]),
        ("final / optimum", "--:", [_estimate(row.normalized_final) for row in rows]),
        ("solved", "--:", [_fraction(row.solved) for row in rows]),
        ("cut", "--:", [style.format_share(row.cut) if row.cut else "–" for row in rows]),
        ("env steps", "--:", [style.format_count(row.env_steps) for row in rows]),
        ("seeds", "--:", [_lanes(row) for row in rows]),
        ("status", ":--", [row.status or "–" for row in rows]),
    ]
    columns = [column for column in columns if any(cell != "–" for cell in column[2])]
    lines = [[head for head, _, _ in columns], [rule for _, rule, _ in columns]]
    lines += [[cells[index].replace("|", "\\|") for _, _, cells in columns] for index in range(len(rows))]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    value = style.format_score(estimate.value)
    if not estimate.has_interval:
        return value
    return f"{value} [{style.format_score(estimate.low)}, {style.format_score(estimate.high)}]"


def _fraction(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{round(estimate.value * estimate.count)}/{estimate.count} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _lanes(row: TableRow) -> str:
    if row.num_instances == 1:
        return str(row.num_lanes)
    return f"{len(row.seeds)} × {row.num_instances} instances"


def update_section(path: str | Path, name: str, markdown: str) -> bool:
    """Replaces the text between the lines `<!-- NAME begin -->` and `<!-- NAME end -->` of a file with `markdown`.

    Returns whether the file changed.

    Raises:
        ValueError: the file or a marker is missing, a marker appears more than once, or they are in the wrong order.
    """
    target = Path(path)
    if not target.is_file():
        raise ValueError(f"{target}: no such file")
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    with target.open(encoding="utf-8", newline="") as file:
        text = file.read()
    for marker in (begin, end):
        if text.count(marker) != 1:
            raise ValueError(f"{target}: expected the marker {marker!r} once; found it {text.count(marker)} times")
    if text.index(end) < text.index(begin):
        raise ValueError(f"{target}: the marker {end!r} comes before {begin!r}")
    newline = "\r\n" if "\r\n" in text else "\n"
    # Blank lines around it: a table directly below a comment is not rendered as one.
    body = newline.join(["", "", *markdown.strip("\n").splitlines(), "", ""])
    updated = text[: text.index(begin) + len(begin)] + body + text[text.index(end) :]
    if updated == text:
        return False
    with target.open("w", encoding="utf-8", newline="") as file:
        file.write(updated)
    return True
