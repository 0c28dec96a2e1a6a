"""Reading a run folder: `load_run`. Errors are one line that names the file and the field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxmarl_suite.analysis.run import Lane, Row, Run

SCHEMA = 1
_KINDS = ("train", "eval", "absolute")
_DEEPEST = 50
"""Maximum nesting of lists and objects: far more than any file of a run has."""


def load_run(path: str | Path) -> Run:
    """Loads the run in the folder `path`, finished or not.

    Empty lines and an unfinished last line of `metrics.jsonl` (from a killed process) are skipped, and so are rows of
    kinds other than train, eval and absolute. If a resumed run repeated rows, the last ones count. Metrics of older
    versions get their current names.

    Raises:
        ValueError: the folder or a file in it is missing or malformed; the message names the file and the field, and
            for `metrics.jsonl` the line.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such run folder")
    source = folder / "config.json"
    config = _read_object(source)
    if config.get("schema") != SCHEMA:
        raise ValueError(f"{source}: schema is {config.get('schema')!r}; this version reads schema {SCHEMA}")
    lanes = tuple(_lanes(_field(config, "lanes", list, source), source))
    untrained = _optional(config, "untrained_phases", list, [], source)
    if not all(isinstance(name, str) for name in untrained):
        raise ValueError(f"{source}: 'untrained_phases' must hold names; got {untrained!r}")
    return Run(
        path=folder,
        algorithm=_field(config, "algorithm", str, source),
        env=_field(config, "env", str, source),
        env_options=_optional(config, "env_options", dict, {}, source),
        total_steps=_field(config, "total_steps", int, source),
        config=_optional(config, "config", dict, {}, source),
        train=_optional(config, "train", dict, {}, source),
        lanes=lanes,
        versions=_read_object(folder / "versions.json", required=False) or {},
        summary=_read_summary(folder / "summary.json"),
        untrained_phases=tuple(untrained),
        rows=tuple(_rows(folder / "metrics.jsonl", {lane.lane for lane in lanes})),
    )


def _read_summary(path: Path) -> Any:
    summary = _read_object(path, required=False)
    if summary is not None:
        _optional(summary, "status", str, "", path)
        for name in ("seconds", "compile_seconds"):
            _optional(summary, name, float, 0.0, path)
    return summary


def _read_object(path: Path, required: bool = True) -> Any:
    if not path.is_file():
        if required:
            raise ValueError(f"{path}: missing; is {path.parent} a run folder?")
        return None
    content = _parse(path.read_bytes(), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(content).__name__}")
    level: list[Any] = [content]
    for _ in range(_DEEPEST):
        level = [part for parts in level for part in (parts.values() if isinstance(parts, dict) else parts)]
        level = [part for part in level if isinstance(part, dict | list)]
    if level:
        raise ValueError(f"{path}: nested too deeply to be a file of a run")
    return content


def _parse(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply to be a file of a run") from None


def _is_json(text: bytes) -> bool:
    """Whether a last line without a newline is complete, which the line of a killed process is not."""
    try:
        return isinstance(_parse(text, ""), dict)
    except ValueError:
        return False


def _lanes(entries: Sequence[Any], source: Path) -> Iterator[Lane]:
    if not entries:
        raise ValueError(f"{source}: 'lanes' is empty")
    seen: set[int] = set()
    for index, entry in enumerate(entries):
        where = f"{source}: lanes[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected a JSON object, found {type(entry).__name__}")
        optimum = _number(entry.get("optimum"))
        if optimum is None or math.isinf(optimum):
            raise ValueError(f"{where}: 'optimum' must be a number or null; got {entry['optimum']!r}")
        lane = Lane(
            lane=_field(entry, "lane", int, where),
            point=_field(entry, "point", int, where),
            seed=_field(entry, "seed", int, where),
            overrides=_optional(entry, "overrides", dict, {}, where),
            optimum=None if math.isnan(optimum) else optimum,
        )
        if lane.lane in seen:
            raise ValueError(f"{where}: lane {lane.lane} appears twice")
        seen.add(lane.lane)
        yield lane


def _rows(path: Path, lanes: set[int]) -> list[Row]:
    if not path.is_file():
        raise ValueError(f"{path}: missing")
    rows: dict[tuple[Any, ...], Row] = {}
    *lines, torn = path.read_bytes().split(b"\n")
    if _is_json(torn):
        lines.append(torn)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = _row(_parse(line, where), where, lanes)
        if row is None:
            continue
        key: tuple[Any, ...] = (row.kind, row.lane)
        if row.kind != "absolute":  # there is one per lane
            key += (row.phase, row.update)
        rows[key] = row
    return _named_as_today(list(rows.values()))


def _named_as_today(rows: list[Row]) -> list[Row]:
    """Renames the metrics of rows written by older versions.

    These called the environment's counts `episode_return` and `episode_length` (in evaluations: `return`), and gave
    the algorithm's metrics bare names too: these are the ones that no evaluation has.
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
    if kind not in _KINDS:
        return None
    lane = _field(content, "lane", int, where)
    if lane not in lanes:
        raise ValueError(f"{where}: lane {lane} is not in config.json")
    metrics = _numbers(_field(content, "metrics", dict, where), "metric ", where)
    update = _field(content, "update", int, where)
    env_steps = _field(content, "env_steps", int, where)
    return Row(
        kind=kind,
        lane=lane,
        phase=_optional(content, "phase", str, "", where),
        update=update,
        env_steps=env_steps,
        step=_optional(content, "step", int, env_steps, where),
        wall=_optional(content, "wall", float, math.nan, where),
        episodes=_optional(content, "episodes", int, None, where),
        metrics=metrics,
        cut=_numbers(_optional(content, "cut", dict, {}, where), "cut ", where),
    )


def _numbers(found: Mapping[str, Any], what: str, where: str) -> dict[str, float]:
    numbers = {}
    for name, value in found.items():
        number = _number(value)
        if number is None:
            raise ValueError(f"{where}: {what}{name!r} must be a number or null; got {_short(value)}")
        numbers[name] = number if math.isfinite(number) else math.nan
    return numbers


def _number(value: Any) -> float | None:
    """The value as a float, nan for null; None if it is not a number, or too large for a float."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _field(content: Mapping[str, Any], name: str, kind: type, where: Any) -> Any:
    if name not in content:
        raise ValueError(f"{where}: {name!r} is missing")
    value = content[name]
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is float and (number := _number(value)) is not None:
        return number
    is_kind = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if not is_kind or (kind is int and abs(value) >= 2**63):
        raise ValueError(f"{where}: {name!r} must be {_KIND_NAMES[kind]}; got {_short(content[name])}")
    return value


_KIND_NAMES = {str: "str", int: "int", float: "a number", dict: "dict", list: "list"}


def _optional(content: Mapping[str, Any], name: str, kind: type, default: Any, where: Any) -> Any:
    """The field, or `default` if it is missing or null."""
    return default if content.get(name) is None else _field(content, name, kind, where)


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
