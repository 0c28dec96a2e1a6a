"""Results in the formats of other tools: marl-eval's JSON, rliable's score dictionaries, and all rows as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.analysis.groups import Member, Series, format_setting, group_runs
from jaxmarl_suite.analysis.run import Run, normalize

Layout = Literal["marl-eval", "rliable", "csv"]
Array = NDArray[np.float64]
_OWN_FILES = (
    *("config.json", "versions.json", "metrics.jsonl", "summary.json", "checkpoints"),
    *("wandb.json", "wandb", "tensorboard"),
)


@dataclass(frozen=True)
class Scores:
    """Absolute scores for rliable: `matrices[algorithm]` is `[runs, tasks]`, tasks in the order of `tasks`."""

    matrices: Mapping[str, Array]
    tasks: tuple[str, ...]
    metric: str
    is_normalized: bool


def export(
    runs: Run | Iterable[Run],
    path: str | Path,
    *,
    layout: Layout | None = None,
    metric: str = "return",
    strict: bool = True,
    elapsed_time: bool = False,
) -> Path:
    """Writes `runs` to the file `path` for another tool, and returns it.

    Args:
        runs: one run or several.
        path: ends in .json, in .npz for rliable's arrays by algorithm (tasks are in alphabetical order), or in .csv.
        layout: "marl-eval" (see `marl_eval_data`), "rliable" (see `rliable_scores`) or "csv" (see `csv_rows`); None is
            marl-eval for .json, rliable for .npz and csv for .csv.
        metric: the metric of rliable's scores; the other layouts contain all metrics.
        strict: as for `marl_eval_data`.
        elapsed_time: as for `marl_eval_data`.

    Raises:
        ValueError: an unknown suffix or layout, a path that is one of a run's own files, or runs that the tool could
            not compare.
    """
    target = Path(path)
    _refuse_own_files(target)
    suffix = target.suffix.lower()
    chosen = layout or {".json": "marl-eval", ".npz": "rliable", ".csv": "csv"}.get(suffix)
    if (chosen, suffix) not in {("marl-eval", ".json"), ("rliable", ".json"), ("rliable", ".npz"), ("csv", ".csv")}:
        raise ValueError(
            f"{target}: cannot write layout {layout!r} to {suffix!r}; accepted: 'marl-eval' to .json, "
            "'rliable' to .npz or .json, 'csv' to .csv"
        )
    if chosen == "csv":
        rows = csv_rows(runs)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return target
    if chosen == "marl-eval":
        content: Any = marl_eval_data(runs, strict=strict, elapsed_time=elapsed_time)
    else:
        scores = rliable_scores(runs, metric)
        if suffix == ".npz":
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez(target, **dict(scores.matrices))  # type: ignore[arg-type]
            return target
        content = {
            "metric": scores.metric,
            "normalized": scores.is_normalized,
            "tasks": list(scores.tasks),
            "scores": {name: matrix.tolist() for name, matrix in scores.matrices.items()},
        }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return target


def _refuse_own_files(target: Path) -> None:
    """Rejects the run's own files: `config.json` and the like in a run folder."""
    whole = target.resolve()
    for folder in whole.parents:
        if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
            name = whole.relative_to(folder).parts[0].lower()
            if name in _OWN_FILES:
                raise ValueError(f"{target}: {name} of the run {folder} is its own; choose another name or folder")


def marl_eval_data(
    runs: Run | Iterable[Run], *, strict: bool = True, elapsed_time: bool = False
) -> dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]:
    """Evaluations in marl-eval's nesting: environment, task, algorithm, run, step, metric.

    `matrix/climbing` is the task `climbing` of the environment `matrix`; options of an environment belong to its task,
    other settings to the name of the algorithm. A run is `seed_3`, its steps are `step_0` and so on with `step_count`
    and one-element lists of metrics (means over episodes), and `absolute_metrics` holds the best checkpoint's. Metrics
    that are missing for some lane of an environment at some step are left out, because marl-eval needs the same ones
    everywhere.

    Args:
        runs: one run or several.
        strict: reject runs that marl-eval cannot aggregate: within one environment, every task needs the same
            algorithms, runs and number of steps, and every run its absolute metrics. False writes what there is.
        elapsed_time: also write seconds since the first evaluation into each step, as marl-eval's own logger does. Left
            out by default: its check of data errors then reports unequal metrics, since `absolute_metrics` has none.

    Raises:
        ValueError: see `strict`; or no metric is common to all steps.
    """
    data: dict[str, Any] = {}
    for series in _task_series(runs):
        family, task = _family(series.env)
        algorithm = series.label.replace(",", ";")  # marl-eval rejects commas
        seeds = data.setdefault(family, {}).setdefault(task, {}).setdefault(algorithm, {})
        for member in series.members:
            for index in member.indices:
                lane = member.run.lanes[index]
                seeds[f"seed_{lane.seed}"] = dict(_lane_steps(member, lane.lane, elapsed_time))
    for family, tasks in data.items():
        _keep_common_metrics(family, tasks)
        if strict:
            _check_comparable(family, tasks)
    return data


def rliable_scores(runs: Run | Iterable[Run], metric: str = "return", *, normalized: bool | None = None) -> Scores:
    """Absolute scores of every algorithm as a matrix `[runs, tasks]`, runs in the order of their seeds.

    Args:
        runs: one run or several.
        metric: a metric of the absolute evaluation.
        normalized: whether to divide by the optimum; None does so for the return where every optimum is known and
            positive.

    Raises:
        ValueError: a lane has no absolute score, or an algorithm lacks a task or has another number of runs in it.
    """
    found = _task_series(runs)
    divide = metric == "return" and all(series.can_normalize for series in found) if normalized is None else normalized
    columns: dict[str, dict[str, Array]] = {}
    for series in found:
        scores = series.absolute(metric)
        if scores is None:
            raise ValueError(f"{series.label} on {series.env}: some lane has no absolute {metric!r}; is it finished?")
        values = np.concatenate(scores)
        if divide:
            values = normalize(values, series.optima, where=f"{series.label} on {series.env}")
        seeds = [member.run.lanes[index].seed for member in series.members for index in member.indices]
        columns.setdefault(series.label, {})[series.env] = values[np.argsort(seeds, kind="stable")]
    tasks = tuple(sorted({series.env for series in found}))
    matrices = {}
    for algorithm, by_task in columns.items():
        missing = [task for task in tasks if task not in by_task]
        if missing:
            raise ValueError(f"{algorithm} has no run on {missing[0]}; rliable compares algorithms on the same tasks")
        counts = {task: len(by_task[task]) for task in tasks}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{algorithm} has different numbers of runs: {counts}; rliable needs the same everywhere")
        matrices[algorithm] = np.stack([by_task[task] for task in tasks], axis=1)
    return Scores(matrices, tasks, metric, divide)


_CSV_COLUMNS = (
    *("run", "environment", "algorithm", "lane", "seed", "kind", "phase"),
    *("update", "env_steps", "step", "wall", "episodes"),
)


def csv_rows(runs: Run | Iterable[Run]) -> list[list[Any]]:
    """All rows of `runs`, training and evaluations, for a spreadsheet or a data frame; the first one is the header.

    Columns: where a row is from (`run`, `environment`, `algorithm`, `lane`, `seed`), what it is (`kind`: "train", "eval" or
    "absolute"; `phase`, `update`, `env_steps`, `step`, `wall` in seconds, `episodes`), the settings of a sweep
    (`config.NAME`, `env.NAME`) and the environment's options, then a column per metric. A cell is empty where a row has no
    value. A metric called like another column is `metric.NAME`.

    Raises:
        ValueError: no runs.
    """
    found = [runs] if isinstance(runs, Run) else list(runs)
    if not found:
        raise ValueError("no runs given")
    settings = [{lane.lane: _lane_settings(run, lane.overrides) for lane in run.lanes} for run in found]
    varied = list(dict.fromkeys(name for lanes in settings for one in lanes.values() for name in one))
    metrics = list(dict.fromkeys(name for run in found for row in run.rows for name in row.metrics))
    taken = {*_CSV_COLUMNS, *varied}
    result: list[list[Any]] = [
        [*_CSV_COLUMNS, *varied, *(f"metric.{name}" if name in taken else name for name in metrics)]
    ]
    for run, lanes in zip(found, settings, strict=True):
        seeds = {lane.lane: lane.seed for lane in run.lanes}
        for row in run.rows:
            head = [str(run.path), run.env, run.algorithm, row.lane, seeds[row.lane], row.kind, row.phase]
            when = [row.update, row.env_steps, row.step, row.wall, row.episodes]
            values = [row.metrics.get(name) for name in metrics]
            result.append([_cell(cell) for cell in (*head, *when, *map(lanes[row.lane].get, varied), *values)])
    return result


def _lane_settings(run: Run, overrides: Mapping[str, Any]) -> dict[str, Any]:
    given = {f"env.{name}": value for name, value in run.env_options.items()}
    return given | {name if name.startswith("env.") else f"config.{name}": value for name, value in overrides.items()}


def _cell(value: Any) -> Any:
    """Empty where there is no value; lists as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _task_series(runs: Run | Iterable[Run]) -> list[Series]:
    """Series in which every environment option, pooled or not, is a separate task."""
    result = []
    for series in group_runs(runs, pool=()):
        options = [(name[4:], value) for name, value in series.settings if name.startswith("env.")]
        env = series.env
        if options:
            env += " (" + ", ".join(f"{name}={format_setting(value)}" for name, value in options) + ")"
        rest = tuple((name, value) for name, value in series.settings if not name.startswith("env."))
        result.append(Series(env, series.algorithm, rest, series.members))
    return result


def _family(env: str) -> tuple[str, str]:
    family, separator, task = env.partition("/")
    return (family, task) if separator else (env, env)


def _lane_steps(member: Member, lane: int, elapsed_time: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = [row for row in member.run.rows if row.lane == lane]
    evaluations = [row for row in rows if row.kind == "eval"]
    for index, row in enumerate(evaluations):
        step: dict[str, Any] = {"step_count": row.env_steps}
        if elapsed_time and not math.isnan(row.wall):
            step["elapsed_time"] = row.wall - evaluations[0].wall
        yield f"step_{index}", step | _lists(row.metrics)
    for row in rows:
        if row.kind == "absolute":
            yield "absolute_metrics", _lists(row.metrics)


def _lists(metrics: Mapping[str, float]) -> dict[str, list[float]]:
    reserved = ("step_count", "elapsed_time")
    return {name: [value] for name, value in metrics.items() if math.isfinite(value) and name not in reserved}


def _keep_common_metrics(family: str, tasks: Mapping[str, Any]) -> None:
    steps = [
        step
        for algorithms in tasks.values()
        for runs in algorithms.values()
        for r in runs.values()
        for step in r.values()
    ]
    held = [{name for name, value in step.items() if isinstance(value, list)} for step in steps]
    common = set.intersection(*held) if held else set()
    if not common:
        raise ValueError(f"{family}: no metric is common to all evaluations")
    for step, names in zip(steps, held, strict=True):
        for name in names - common:
            del step[name]


def _check_comparable(family: str, tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    expected: Sequence[Any] | None = None
    for task, algorithms in tasks.items():
        for algorithm, runs in algorithms.items():
            where = f"{family}/{task}, {algorithm}"
            for name, steps in runs.items():
                if "absolute_metrics" not in steps:
                    raise ValueError(f"{where}, {name}: no absolute metrics; is the run finished?")
            shape = (sorted(algorithms), sorted(runs), *{len(steps) for steps in runs.values()})
            if expected is None:
                expected, first = shape, where
            elif shape != expected:
                raise ValueError(
                    f"{where} differs from {first} in its algorithms, seeds or number of evaluations; marl-eval "
                    "needs the same ones for every task of an environment (strict=False writes them anyway)"
                )
