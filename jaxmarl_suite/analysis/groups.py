"""Grouping: sorts the lanes of one or more runs into series with the same algorithm, environment and settings.

Settings appear in a label only if they differ between the lanes of one algorithm on one environment: between the
points of a sweep, or between runs with different configurations. Environment options named in `pool` (by default
`env.seed`, which draws an instance of a random environment) do not split a series: their values are the strata of its
statistics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.analysis.run import Curve, Run

Array = NDArray[np.float64]
DEFAULT_POOL = ("env.seed",)
ALGORITHM_ORDER = (
    *("tad-ppo", "mappo", "ippo", "happo", "iql", "vdn", "qmix", "qtran", "cw-qmix", "ow-qmix", "qplex"),
)


@dataclass(frozen=True)
class Member:
    """The lanes that one run contributes to a series."""

    run: Run
    indices: tuple[int, ...]  # into run.lanes
    instances: tuple[str, ...]  # pooled environment options of each lane


@dataclass(frozen=True)
class SeriesCurve:
    """Scores of a series at the `T` evaluations that all its lanes have."""

    env_steps: NDArray[np.int64]  # [T]
    steps: NDArray[np.int64]  # [T] the same, plus one per update of a phase that takes none
    updates: NDArray[np.int64]  # [T]
    strata: tuple[Array, ...]  # each [S, T]


@dataclass(frozen=True)
class Series:
    """Lanes that differ only in their seed and, possibly, in the pooled instance of their environment."""

    env: str  # id, and options if any were given
    algorithm: str
    settings: tuple[tuple[str, Any], ...]  # what distinguishes this series from others of the same algorithm
    members: tuple[Member, ...]

    @property
    def label(self) -> str:
        """The algorithm, then the settings."""
        return " ".join((self.algorithm, *(f"{name}={format_setting(value)}" for name, value in self.settings)))

    @property
    def num_lanes(self) -> int:
        """Number of lanes: seeds, unless several instances of the environment are pooled."""
        return sum(len(member.indices) for member in self.members)

    @property
    def num_instances(self) -> int:
        """Number of different pooled instances of the environment."""
        return len({instance for member in self.members for instance in member.instances})

    @property
    def seeds(self) -> tuple[int, ...]:
        """Distinct seeds of the lanes, ascending."""
        return tuple(sorted({member.run.lanes[index].seed for member in self.members for index in member.indices}))

    @property
    def optima(self) -> Array:
        """Optimum of each lane `[L]`; nan where unknown."""
        return np.concatenate([member.run.optimum[list(member.indices)] for member in self.members])

    @property
    def can_normalize(self) -> bool:
        """Whether every lane has a known positive optimum."""
        return bool(np.all(self.optima > 0))

    @property
    def first_trained_step(self) -> int:
        """The step from which on every run of the series trains the evaluated policy; 0 if always."""
        first = [0]
        for member in self.members:
            run, lanes = member.run, {member.run.lanes[index].lane for index in member.indices}
            if run.untrained_phases:
                rows = [row for row in run.rows if row.kind == "eval" and row.lane in lanes]
                first.append(min((r.step for r in rows if r.phase not in run.untrained_phases), default=0))
        return max(first)

    def policies(self, metric: str = "return") -> tuple[str, ...]:
        """Extra policies: "teacher" if `teacher/return` exists."""
        held = [member.run.metric_names("eval") for member in self.members]
        common = [name for name in held[0] if all(name in names for names in held)]
        return tuple(name[: -len(metric) - 1] for name in common if name.endswith("/" + metric))

    def curve(
        self, metric: str = "return", *, kind: Literal["train", "eval"] = "eval", normalized: bool = False
    ) -> SeriesCurve:
        """Scores at every evaluation that all lanes have.

        Evaluations that are missing for some lane (an interrupted run, a diverged seed) are left out, because a mean
        over the surviving seeds would be too good. If a training row has no value because no episode ended, the lane's
        previous value is used.

        Raises:
            ValueError: no evaluation is common to all lanes, or no positive optimum to normalize by.
        """
        curves = [
            member.run.curve(metric, kind=kind, indices=member.indices, normalized=normalized)
            for member in self.members
        ]
        first = curves[0]
        columns = [np.arange(len(first.updates)) for _ in curves]
        if any(
            not (np.array_equal(curve.updates, first.updates) and np.array_equal(curve.steps, first.steps))
            for curve in curves
        ):
            # Environment steps alone would not distinguish the evaluations of a phase that takes none.
            common = sorted(set.intersection(*(set(curve.steps.tolist()) for curve in curves)))
            columns = [
                np.searchsorted(curve.steps, common, side="right") - 1 if common else np.array([], dtype=np.int64)
                for curve in curves
            ]
        values = np.concatenate(
            [
                (_latest(curve) if kind == "train" else curve.values)[:, chosen]
                for curve, chosen in zip(curves, columns, strict=True)
            ]
        )
        complete = ~np.isnan(values).any(axis=0)
        if not complete.any():
            paths = ", ".join(str(member.run.path) for member in self.members)
            what = "training row with" if kind == "train" else "evaluation of"
            raise ValueError(f"{self.label} on {self.env}: no {what} {metric!r} common to all lanes of {paths}")
        kept = columns[0][complete]
        return SeriesCurve(
            first.env_steps[kept], first.steps[kept], first.updates[kept], self.stratify(values[:, complete])
        )

    def final(
        self, metric: str = "return", *, kind: Literal["train", "eval"] = "eval", normalized: bool = False
    ) -> tuple[Array, ...]:
        """Strata `[S]` of the scores at the last evaluation that all lanes have."""
        return tuple(scores[:, -1] for scores in self.curve(metric, kind=kind, normalized=normalized).strata)

    def absolute(self, metric: str = "return", *, normalized: bool = False) -> tuple[Array, ...] | None:
        """Strata `[S]` of the best checkpoints' scores; None if some lane has none yet."""
        values = np.concatenate(
            [member.run.absolute(metric, normalized=normalized)[list(member.indices)] for member in self.members]
        )
        return None if np.isnan(values).any() else self.stratify(values)

    def cut(self, policy: str = "") -> float:
        """Share of the episodes of each lane's last evaluation that did not end in time, averaged over lanes."""
        name, last = f"{policy}/return" if policy else "return", []
        for member in self.members:
            found = {row.lane: row.cut.get(name, 0.0) for row in member.run.rows if row.kind == "eval"}
            last += [found.get(member.run.lanes[index].lane, 0.0) for index in member.indices]
        return float(np.mean(last))

    def stratify(self, values: Array) -> tuple[Array, ...]:
        """Splits values of all lanes `[L, ...]` by pooled instance of the environment, each `[S, ...]`."""
        instances = np.array([instance for member in self.members for instance in member.instances])
        names = list(dict.fromkeys(instances.tolist()))
        if len(names) == len(instances):
            # With one seed per instance, the instances are the sample, and are resampled.
            return (values,)
        return tuple(values[instances == name] for name in names)


def _latest(curve: Curve) -> Array:
    """The values [L, T] of training rows, with missing ones replaced by the lane's previous value."""
    places = np.where(np.isnan(curve.values), -1, np.arange(curve.values.shape[1]))
    latest = np.maximum.accumulate(places, axis=1)
    values = np.take_along_axis(curve.values, np.maximum(latest, 0), axis=1)
    return np.where(curve.is_recorded & (latest >= 0), values, np.nan)


def group_runs(runs: Run | Iterable[Run], pool: Sequence[str] = DEFAULT_POOL) -> list[Series]:
    """Series of all lanes of `runs`: environments in order of appearance, then algorithms, then settings.

    Raises:
        ValueError: no runs, or the same seed of the same series twice.
    """
    found = [runs] if isinstance(runs, Run) else list(runs)
    if not found:
        raise ValueError("no runs given")
    described = [_describe(run, index, pool) for run in found for index in range(len(run.lanes))]
    varying: dict[tuple[str, str], list[str]] = {}
    for key in {(lane.env, lane.algorithm) for lane in described}:
        alike = [lane.settings for lane in described if (lane.env, lane.algorithm) == key]
        names = dict.fromkeys(name for settings in alike for name in settings)
        varying[key] = [name for name in names if len({_canonical(settings.get(name)) for settings in alike}) > 1]

    grouped: dict[tuple[str, str, str], list[_Described]] = {}
    chosen: dict[tuple[str, str, str], tuple[tuple[str, Any], ...]] = {}
    for lane in described:
        settings = tuple((name, lane.settings.get(name)) for name in varying[lane.env, lane.algorithm])
        series = (lane.env, lane.algorithm, _canonical(settings))
        grouped.setdefault(series, []).append(lane)
        chosen[series] = settings
    result = [Series(key[0], key[1], chosen[key], _members(lanes)) for key, lanes in grouped.items()]
    env_order = list(dict.fromkeys(series.env for series in result))
    return sorted(
        result, key=lambda series: (env_order.index(series.env), _algorithm_rank(series), _setting_rank(series))
    )


def format_setting(value: Any) -> str:
    """A setting as a label shows it: numbers in their shortest form."""
    if value is None:
        return "default"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class _Described:
    run: Run
    index: int
    env: str
    algorithm: str
    settings: Mapping[str, Any]
    instance: str


def _describe(run: Run, index: int, pool: Sequence[str]) -> _Described:
    lane = run.lanes[index]
    options = {name: value for name, value in run.env_options.items() if f"env.{name}" not in pool}
    env = run.env
    if options:
        env += " (" + ", ".join(f"{name}={format_setting(value)}" for name, value in options.items()) + ")"
    given = {f"env.{name}": value for name, value in run.env_options.items()} | dict(lane.overrides)
    overrides = {name: value for name, value in lane.overrides.items() if name not in pool}
    settings = _flatten(run.config) | overrides
    for name, value in (("total_steps", run.total_steps), ("data", run.train.get("data"))):
        settings[f"train.{name}" if name in settings else name] = value  # an algorithm may have a setting of this name
    # 1 and 1.0 are the same setting.
    settings = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in settings.items()}
    instance = _canonical({name: given[name] for name in pool if name in given})
    return _Described(run, index, env, run.algorithm, settings, instance)


def _members(lanes: Sequence[_Described]) -> tuple[Member, ...]:
    seen: dict[tuple[int, str], _Described] = {}
    by_run: dict[int, list[_Described]] = {}
    for lane in lanes:
        key = (lane.run.lanes[lane.index].seed, lane.instance)
        if key in seen:
            raise ValueError(
                f"seed {key[0]} of {lane.algorithm} on {lane.env} appears twice with the same settings: "
                f"in {seen[key].run.path} and {lane.run.path}"
            )
        seen[key] = lane
        by_run.setdefault(id(lane.run), []).append(lane)
    return tuple(
        Member(group[0].run, tuple(lane.index for lane in group), tuple(lane.instance for lane in group))
        for group in by_run.values()
    )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _algorithm_rank(series: Series) -> tuple[int, str]:
    known = series.algorithm in ALGORITHM_ORDER
    return (ALGORITHM_ORDER.index(series.algorithm) if known else len(ALGORITHM_ORDER), series.algorithm)


def _setting_rank(series: Series) -> tuple[tuple[int, float, str], ...]:
    def rank(value: Any) -> tuple[int, float, str]:
        if isinstance(value, int | float):
            return (0, float(value), "")
        return (1, 0.0, format_setting(value))

    return tuple(rank(value) for _, value in series.settings)
