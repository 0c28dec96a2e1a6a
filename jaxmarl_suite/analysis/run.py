"""The contents of a run folder, as arrays with a leading lane axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["train", "eval", "absolute"]


@dataclass(frozen=True)
class Lane:
    """One seed of one hyperparameter point."""

    lane: int
    point: int
    seed: int
    overrides: Mapping[str, Any]
    optimum: float | None  # best achievable return of this lane's environment, if known


@dataclass(frozen=True)
class Row:
    """One line of `metrics.jsonl`; a metric that was null is nan.

    The environment's metrics have bare names, the same in every kind of row; those of extra policies are
    `POLICY/NAME`, and those of the algorithm `learner/NAME`.
    """

    kind: str
    lane: int
    phase: str
    update: int
    env_steps: int
    step: int  # environment steps, plus one per update of a phase that takes none
    wall: float  # seconds since the run began; nan if not recorded
    episodes: int | None
    metrics: Mapping[str, float]
    cut: Mapping[
        str, float
    ]  # of evaluations: the share of episodes that did not end in time, by the return they count in


@dataclass(frozen=True)
class Curve:
    """One metric over the course of training, for `L` lanes and `T` evaluations."""

    env_steps: NDArray[np.int64]  # [T]
    steps: NDArray[np.int64]  # [T] the same, plus one per update of a phase that takes none: always increasing
    updates: NDArray[np.int64]  # [T]
    wall: NDArray[np.float64]  # [L, T] seconds
    values: NDArray[np.float64]  # [L, T] nan where a lane has no value
    is_recorded: NDArray[np.bool_]  # [L, T] whether the lane has a row with the metric, even if its value is null


@dataclass(frozen=True)
class Run:
    """The contents of a run folder. Arrays have a leading lane axis, in the order of `lanes`."""

    path: Path
    algorithm: str
    env: str
    env_options: Mapping[str, Any]
    total_steps: int
    config: Mapping[str, Any]
    train: Mapping[str, Any]
    lanes: tuple[Lane, ...]
    versions: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    untrained_phases: tuple[str, ...]  # phases in which the evaluated policy does not learn yet
    rows: tuple[Row, ...]  # without duplicates: the last of each (kind, lane, phase, update)

    @property
    def status(self) -> str:
        """How the run ended according to its summary: finished, interrupted or failed; unfinished without one."""
        return "unfinished" if self.summary is None else str(self.summary.get("status", "unfinished"))

    @property
    def points(self) -> tuple[int, ...]:
        """Hyperparameter points, ascending."""
        return tuple(sorted({lane.point for lane in self.lanes}))

    @property
    def optimum(self) -> NDArray[np.float64]:
        """Best achievable return of each lane `[L]`; nan where unknown."""
        return np.array([math.nan if lane.optimum is None else lane.optimum for lane in self.lanes], dtype=np.float64)

    @property
    def can_normalize(self) -> bool:
        """Whether every lane has a known positive optimum."""
        return all(lane.optimum is not None and lane.optimum > 0 for lane in self.lanes)

    def lane_indices(self, point: int | None = None) -> NDArray[np.int64]:
        """Indices of the lanes of `point` (None for all lanes) into the leading axis of this run's arrays."""
        if point is not None and point not in self.points:
            raise ValueError(f"{self.path}: no point {point}; it has {list(self.points)}")
        chosen = [index for index, lane in enumerate(self.lanes) if point is None or lane.point == point]
        return np.array(chosen, dtype=np.int64)

    def metric_names(self, kind: Kind = "eval") -> tuple[str, ...]:
        """Names of the metrics recorded in rows of `kind`, in order of appearance."""
        return tuple(dict.fromkeys(name for row in self.rows if row.kind == kind for name in row.metrics))

    def curve(
        self,
        metric: str = "return",
        *,
        kind: Literal["train", "eval"] = "eval",
        point: int | None = None,
        indices: Sequence[int] | None = None,
        normalized: bool = False,
    ) -> Curve:
        """`metric` over the course of training: arrays over the lanes of `point` (None for all lanes) and evaluations.

        The evaluations are those of any lane, in order of update and environment steps. `indices` selects lanes by
        their position in `lanes` instead of by point. `normalized` divides by each lane's optimum, see `normalize`.

        Raises:
            ValueError: no such metric or point, lanes that disagree about the environment steps of an update (points
                of a sweep over the number of environments do), or no positive optimum to normalize by.
        """
        self._check_metric(metric, kind)
        chosen = self.lane_indices(point) if indices is None else np.asarray(indices, dtype=np.int64)
        position = {self.lanes[index].lane: place for place, index in enumerate(chosen)}
        rows = [row for row in self.rows if row.kind == kind and row.lane in position]
        moments: dict[tuple[str, int], tuple[int, int]] = {}
        several = "; choose one point" if len({self.lanes[index].point for index in chosen}) > 1 else ""
        for row in rows:
            known, _ = moments.setdefault((row.phase, row.update), (row.env_steps, row.step))
            if known != row.env_steps:
                raise ValueError(
                    f"{self.path}: {kind} rows of phase {row.phase!r}, update {row.update} disagree about env_steps: "
                    f"{known} and {row.env_steps}{several}"
                )
        # Phases follow one another and updates may start again at 0 in each, so the phase's first appearance leads.
        phases = {phase: order for order, phase in enumerate(dict.fromkeys(phase for phase, _ in moments))}
        ordered = sorted(moments, key=lambda moment: (phases[moment[0]], moment[1]))
        column = {moment: place for place, moment in enumerate(ordered)}
        values = np.full((len(chosen), len(ordered)), np.nan)
        wall = np.full_like(values, np.nan)
        is_recorded = np.zeros(values.shape, dtype=np.bool_)
        for row in rows:
            at = position[row.lane], column[row.phase, row.update]
            values[at] = row.metrics.get(metric, math.nan)
            wall[at] = row.wall
            is_recorded[at] = metric in row.metrics
        if normalized:
            values = normalize(values, self.optimum[chosen], where=str(self.path))
        return Curve(
            env_steps=np.array([moments[moment][0] for moment in ordered], dtype=np.int64),
            steps=np.array([moments[moment][1] for moment in ordered], dtype=np.int64),
            updates=np.array([update for _, update in ordered], dtype=np.int64),
            wall=wall,
            values=values,
            is_recorded=is_recorded,
        )

    def absolute(
        self, metric: str = "return", *, point: int | None = None, normalized: bool = False
    ) -> NDArray[np.float64]:
        """The metric of each lane's best checkpoint `[L]`, from the long evaluation at the end; nan where missing."""
        values = np.full(len(self.lanes), np.nan)
        place = {lane.lane: index for index, lane in enumerate(self.lanes)}
        for row in self.rows:
            if row.kind == "absolute":
                values[place[row.lane]] = row.metrics.get(metric, math.nan)
        indices = self.lane_indices(point)
        if normalized:
            return normalize(values[indices], self.optimum[indices], where=str(self.path))
        return values[indices]

    def _check_metric(self, metric: str, kind: Kind) -> None:
        names = self.metric_names(kind)
        if metric not in names:
            held = f"it has {', '.join(names)}" if names else f"it has no {kind} rows yet"
            meant = f"; did you mean 'learner/{metric}'?" if f"learner/{metric}" in names else ""
            raise ValueError(f"{self.path}: no {kind} metric {metric!r}; {held}{meant}")


def normalize(scores: NDArray[np.float64], optimum: NDArray[np.float64], where: str = "scores") -> NDArray[np.float64]:
    """Scores `[L, ...]` divided by each lane's optimum `[L]`, so that 1 is optimal.

    Raises:
        ValueError: an optimum is unknown (nan), or not positive: dividing by it would turn better into worse. Compare
            such environments by their unnormalized return.
    """
    bad = [index for index, best in enumerate(optimum) if not best > 0]
    if bad:
        held = "unknown" if np.isnan(optimum[bad[0]]) else f"{optimum[bad[0]]:g}"
        raise ValueError(f"{where}: cannot normalize lane {bad[0]}: its optimum is {held}, it must be positive")
    return scores / optimum.reshape((-1,) + (1,) * (scores.ndim - 1))
