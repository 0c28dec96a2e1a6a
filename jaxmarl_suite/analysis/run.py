"""Reading a run folder: `load_run` and the arrays it gives."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
Kind = Literal["train", "eval", "absolute"]
KINDS: tuple[str, ...] = ("train", "eval", "absolute")


@dataclass(frozen=True)
class Lane:
    """One seed of one hyper-parameter point."""

    lane: int
    point: int
    seed: int
    overrides: Mapping[str, Any]
    optimum: float | None  # best achievable return of this lane's environment, where known


@dataclass(frozen=True)
class Row:
    """One line of `metrics.jsonl`; a metric that was null is nan.

    The environment's metrics have bare names, the same in every kind of row; those of further policies are
    `POLICY/NAME`, and what the algorithm computed is `learner/NAME`.
    """

    kind: str
    lane: int
    phase: str
    update: int
    env_steps: int
    wall: float  # seconds since the run began; nan if not recorded
    episodes: int | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """One metric over the course of training, for `L` lanes and `T` evaluations."""

    env_steps: NDArray[np.int64]  # [T]
    updates: NDArray[np.int64]  # [T]
    wall: NDArray[np.float64]  # [L, T] seconds
    values: NDArray[np.float64]  # [L, T] nan where a lane has no value


@dataclass(frozen=True)
class Run:
    """What a run folder holds. Arrays have lanes in front, in the order of `lanes`."""

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
    untrained_phases: tuple[str, ...]  # in which the policy that is evaluated does not learn yet
    rows: tuple[Row, ...]  # without duplicates: the last of each (kind, lane, phase, update)

    @property
    def status(self) -> str:
        """How the run ended by its own record: finished, interrupted or failed; unfinished without a summary."""
        return "unfinished" if self.summary is None else str(self.summary.get("status", "unfinished"))

    @property
    def first_trained_step(self) -> int:
        """Environment steps of the first evaluation in a phase that trains the evaluated policy; 0 if all do."""
        if not self.untrained_phases:
            return 0
        steps = [r.env_steps for r in self.rows if r.kind == "eval" and r.phase not in self.untrained_phases]
        return min(steps, default=0)

    @property
    def points(self) -> tuple[int, ...]:
        """Hyper-parameter points, ascending."""
        return tuple(sorted({lane.point for lane in self.lanes}))

    @property
    def optimum(self) -> NDArray[np.float64]:
        """Best achievable return of each lane `[L]`; nan where unknown."""
        return np.array([math.nan if lane.optimum is None else lane.optimum for lane in self.lanes], dtype=np.float64)

    @property
    def can_normalise(self) -> bool:
        """Whether every lane has a known positive optimum."""
        return all(lane.optimum is not None and lane.optimum > 0 for lane in self.lanes)

    def lane_indices(self, point: int | None = None) -> NDArray[np.int64]:
        """Indices of the lanes of `point` (of all lanes for None) into the leading axis of this run's arrays."""
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
        normalised: bool = False,
    ) -> Curve:
        """The course of `metric`: arrays over the lanes of `point` (all lanes for None) and evaluations.

        Evaluations are those of any lane, in order of update and environment steps. `normalised` divides by each lane's
        optimum, see `normalise`.

        Raises:
            ValueError: no such metric or point, lanes that disagree about the environment steps of an update, or no
                positive optimum to normalise by.
        """
        self._check_metric(metric, kind)
        indices = self.lane_indices(point)
        position = {self.lanes[index].lane: place for place, index in enumerate(indices)}
        rows = [row for row in self.rows if row.kind == kind and row.lane in position]
        moments: dict[tuple[str, int], int] = {}
        for row in rows:
            known = moments.setdefault((row.phase, row.update), row.env_steps)
            if known != row.env_steps:
                raise ValueError(
                    f"{self.path}: {kind} rows of phase {row.phase!r}, update {row.update} disagree about env_steps: "
                    f"{known} and {row.env_steps}"
                )
        # Phases follow one another and updates may start again at 0 in each, so the phase's first appearance leads.
        phases = {phase: order for order, phase in enumerate(dict.fromkeys(phase for phase, _ in moments))}
        ordered = sorted(moments, key=lambda moment: (phases[moment[0]], moment[1]))
        column = {moment: place for place, moment in enumerate(ordered)}
        values = np.full((len(indices), len(ordered)), np.nan)
        wall = np.full_like(values, np.nan)
        for row in rows:
            at = position[row.lane], column[row.phase, row.update]
            values[at] = row.metrics.get(metric, math.nan)
            wall[at] = row.wall
        if normalised:
            values = normalise(values, self.optimum[indices], where=str(self.path))
        return Curve(
            env_steps=np.array([moments[moment] for moment in ordered], dtype=np.int64),
            updates=np.array([update for _, update in ordered], dtype=np.int64),
            wall=wall,
            values=values,
        )

    def absolute(
        self, metric: str = "return", *, point: int | None = None, normalised: bool = False
    ) -> NDArray[np.float64]:
        """The metric of each lane's best checkpoint `[L]`, from the long evaluation at the end; nan where missing."""
        values = np.full(len(self.lanes), np.nan)
        place = {lane.lane: index for index, lane in enumerate(self.lanes)}
        for row in self.rows:
            if row.kind == "absolute":
                values[place[row.lane]] = row.metrics.get(metric, math.nan)
        indices = self.lane_indices(point)
        if normalised:
            return normalise(values[indices], self.optimum[indices], where=str(self.path))
        return values[indices]

    def _check_metric(self, metric: str, kind: Kind) -> None:
        names = self.metric_names(kind)
        if metric not in names:
            held = f"it has {', '.join(names)}" if names else f"it has no {kind} rows yet"
            raise ValueError(f"{self.path}: no {kind} metric {metric!r}; {held}")


def normalise(scores: NDArray[np.float64], optimum: NDArray[np.float64], where: str = "scores") -> NDArray[np.float64]:
    """Scores `[L, ...]` divided by each lane's optimum `[L]`, so that 1 is optimal.

    Raises:
        ValueError: an optimum is unknown (nan), or not positive: dividing by it would turn better into worse. Compare
            such environments by their unnormalised return.
    """
    bad = [index for index, best in enumerate(optimum) if not best > 0]
    if bad:
        held = "unknown" if np.isnan(optimum[bad[0]]) else f"{optimum[bad[0]]:g}"
        raise ValueError(f"{where}: cannot normalise lane {bad[0]}: its optimum is {held}, it must be positive")
    return scores / optimum.reshape((-1,) + (1,) * (scores.ndim - 1))


def load_run(path: str | Path) -> Run:
    """The run kept in the folder `path`, finished or not.

    A last line of `metrics.jsonl` cut short by a killed process is left out; rows of kinds other than train, eval and
    absolute are skipped; of rows repeated by a resumed run the last counts. Metrics of older versions get their names of
    today.

    Raises:
        ValueError: the folder or a file in it is missing or malformed; the message names the file, and for
            `metrics.jsonl` the line.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such run folder")
    source = folder / "config.json"
    config = _read_object(source)
    if config.get("schema") != SCHEMA:
        raise ValueError(f"{source}: schema is {config.get('schema')!r}; this version reads schema {SCHEMA}")
    lanes = tuple(_lanes(_field(config, "lanes", list, source), source))
    return Run(
        path=folder,
        algorithm=_field(config, "algorithm", str, source),
        env=_field(config, "env", str, source),
        env_options=config.get("env_options") or {},
        total_steps=_field(config, "total_steps", int, source),
        config=config.get("config") or {},
        train=config.get("train") or {},
        lanes=lanes,
        versions=_read_object(folder / "versions.json", required=False) or {},
        summary=_read_object(folder / "summary.json", required=False),
        untrained_phases=tuple(config.get("untrained_phases") or ()),
        rows=tuple(_rows(folder / "metrics.jsonl", {lane.lane for lane in lanes})),
    )


def _read_object(path: Path, required: bool = True) -> Any:
    if not path.is_file():
        if required:
            raise ValueError(f"{path}: missing; is {path.parent} a run folder?")
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _lanes(entries: Sequence[Any], source: Path) -> Iterator[Lane]:
    if not entries:
        raise ValueError(f"{source}: 'lanes' is empty")
    seen: set[int] = set()
    for index, entry in enumerate(entries):
        where = f"{source}: lanes[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected a JSON object, found {type(entry).__name__}")
        optimum = entry.get("optimum")
        if optimum is not None and (isinstance(optimum, bool) or not isinstance(optimum, int | float)):
            raise ValueError(f"{where}: 'optimum' must be a number or null; got {optimum!r}")
        lane = Lane(
            lane=_field(entry, "lane", int, where),
            point=_field(entry, "point", int, where),
            seed=_field(entry, "seed", int, where),
            overrides=entry.get("overrides") or {},
            optimum=None if optimum is None else float(optimum),
        )
        if lane.lane in seen:
            raise ValueError(f"{where}: lane {lane.lane} appears twice")
        seen.add(lane.lane)
        yield lane


def _rows(path: Path, lanes: set[int]) -> list[Row]:
    if not path.is_file():
        raise ValueError(f"{path}: missing")
    rows: dict[tuple[Any, ...], Row] = {}
    lines = [(number, line) for number, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            content = json.loads(line)
        except ValueError as error:
            if number == lines[-1][0]:
                break  # the process was killed while writing it
            raise ValueError(f"{path}, line {number}: not valid JSON: {error}") from error
        row = _row(content, f"{path}, line {number}", lanes)
        if row is None:
            continue
        key: tuple[Any, ...] = (row.kind, row.lane)
        if row.kind != "absolute":  # of which there is one a lane
            key += (row.phase, row.update)
        rows[key] = row
    return _named_as_today(list(rows.values()))


def _named_as_today(rows: list[Row]) -> list[Row]:
    """The rows with names as they are written now, where an older version wrote them.

    It called the environment's counts `episode_return` and `episode_length` (in evaluations: `return`), and gave what
    the algorithm computed bare names, too: these are the ones that no evaluation has.
    """
    counted = {"episode_return": "return", "episode_length": "length"}

    def rename(name: str) -> str:
        policy, separator, last = name.rpartition("/")
        return policy + separator + counted.get(last, last)

    evaluated = {rename(name) for row in rows if row.kind != "train" for name in row.metrics} | {*counted.values()}

    def source(name: str) -> str:
        shown = counted.get(name, name)
        return shown if shown in evaluated else f"learner/{name}"

    def named(row: Row) -> Row:
        if row.kind != "train":
            return replace(row, metrics={rename(name): value for name, value in row.metrics.items()})
        if any(name.startswith("learner/") for name in row.metrics):
            return row
        return replace(row, metrics={source(name): value for name, value in row.metrics.items()})

    return [named(row) for row in rows]


def _row(content: Any, where: str, lanes: set[int]) -> Row | None:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(content).__name__}")
    kind = _field(content, "kind", str, where)
    if kind not in KINDS:
        return None
    lane = _field(content, "lane", int, where)
    if lane not in lanes:
        raise ValueError(f"{where}: lane {lane} is not in config.json")
    metrics = {}
    for name, value in _field(content, "metrics", dict, where).items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{where}: metric {name!r} must be a number or null; got {value!r}")
        metrics[name] = math.nan if value is None else float(value)
    wall = content.get("wall")
    return Row(
        kind=kind,
        lane=lane,
        phase=str(content.get("phase", "")),
        update=_field(content, "update", int, where),
        env_steps=_field(content, "env_steps", int, where),
        wall=float(wall) if isinstance(wall, int | float) else math.nan,
        episodes=content.get("episodes"),
        metrics=metrics,
    )


def _field(content: Mapping[str, Any], name: str, kind: type, where: Any) -> Any:
    if name not in content:
        raise ValueError(f"{where}: {name!r} is missing")
    value = content[name]
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {name!r} must be {kind.__name__}; got {value!r}")
    return value
