"""Reads traces, checks every line, and reports where each problem is."""

import dataclasses
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmarl_envs.rag.trace._lines import decode_record, expect_fields, read_lines
from jaxmarl_envs.rag.trace._schema import (
    DAY,
    MAX_CHUNK,
    MAX_INT,
    MAX_PASSAGES,
    MAX_TEMPLATE,
    PARTS,
    REQUEST_FIELDS,
    TABLES,
    TRACE_FILE,
    WEEK,
    BadLine,
    Problem,
    Problems,
    TraceError,
)
from jaxmarl_envs.rag.trace._trace import Ragged, Table, Trace, distinct_docs, folder_of, join, offsets_of

_FIELDS, _PARTS = frozenset(REQUEST_FIELDS), frozenset(PARTS)
_INT, _WHOLE = {int}, "a whole number of seconds in a string, such as '4242'"


def read_trace(folder: str | Path, *, strict: bool = True) -> Trace:
    """The trace in `folder`, after checking every line.

    Args:
      folder: holds `0_trace.jsonl` and the five tables.
      strict: raise if there are problems; otherwise drop bad lines and count them by kind in `Trace.counts`.

    Raises:
      TraceError: with file, line, field and value of the first 20 problems, or if there is no valid request.
      ValueError: if `folder` is not a folder.
    """
    return join(list(iter_trace(folder, strict=strict)))


def iter_trace(folder: str | Path, *, strict: bool = True, chunk: int = 65_536) -> Iterator[Trace]:
    """Yields the trace in `folder` in chunks of at most `chunk` requests; needs memory for the tables and two chunks.

    Sessions are renumbered in every chunk; times continue. Arguments and errors are those of `read_trace`. Strict reading
    raises at the first chunk with problems. The last chunk has the final counts.
    """
    folder, problems = folder_of(folder), Problems(strict)
    tables = _read_tables(folder, problems)
    clock, kept, last = _Clock(), 0, None
    for lines in _parsed_chunks(folder / TRACE_FILE, chunk):
        trace = _checked(lines, tables, clock, problems)
        problems.raise_if_strict()
        if last is not None:
            yield last
        last, kept = (trace if len(trace) else None), kept + len(trace)
    problems.raise_if_strict()
    if last is None:
        if not kept:
            empty = Problem(TRACE_FILE, 0, "(file)", "no valid request", "empty trace", "at least one request")
            raise TraceError([empty, *problems.first])
        return
    yield dataclasses.replace(last, counts=dict(problems.counts), problems=tuple(problems.first))


def _read_tables(folder: Path, problems: Problems) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for part in PARTS:
        file, id_name = TABLES[part]
        tables[part] = _read_table(folder / file, id_name, problems, tables)
    problems.raise_if_strict()
    return tables


def _read_table(path: Path, id_name: str, problems: Problems, others: dict[str, Table]) -> Table:
    ids, lengths, numbers = array("i"), array("i"), array("q")
    fields = frozenset((id_name, "token_length"))
    for number, line in read_lines(path):
        try:
            record = decode_record(line, fields)
            ids.append(_whole(record[id_name], id_name, 0, MAX_INT))
            lengths.append(_whole(record["token_length"], "token_length", 1, MAX_CHUNK, pair=ids))
            numbers.append(number)
        except BadLine as bad:
            problems.add(bad.at(path.name, number))
    id_array, length_array, line_array = np.array(ids, np.int32), np.array(lengths, np.int32), np.array(numbers)
    first = np.zeros(len(id_array), bool)
    first[np.unique(id_array, return_index=True)[1]] = True
    for other in others.values():
        first &= other.find(id_array) == 0
    for place in np.flatnonzero(~first):
        twice = BadLine("duplicate id", id_name, int(id_array[place]), "every id once in all tables")
        problems.add(twice.at(path.name, int(line_array[place])))
    order = np.argsort(id_array[first])
    return Table(id_array[first][order], length_array[first][order])


def _whole(value: Any, field: str, low: int, high: int, pair: "array[int] | None" = None) -> int:
    """`value`, if it is an integer from `low` to `high`. Otherwise removes the last entry of `pair` and raises `BadLine`."""
    if type(value) is int and low <= value <= high:
        return value
    if pair is not None:
        pair.pop()
    kind = "mistyped field" if type(value) is not int else "length out of range" if pair is not None else "bad id"
    raise BadLine(kind, field, value, f"an integer from {low} to {high}")


class _Lines:
    """Columns of the requests that are well-formed, before they are checked against the tables."""

    def __init__(self) -> None:
        self.number: list[int] = []
        self.scalars: list[tuple[int, int, int]] = []  # time, input and output length
        self.ids: dict[str, list[int]] = {part: [] for part in PARTS}
        self.counts: dict[str, list[int]] = {part: [] for part in PARTS}
        self.session: list[str] = []
        self.bad: list[tuple[int, BadLine]] = []  # numbers and problems of the other lines


def _parsed_chunks(path: Path, size: int) -> Iterator[_Lines]:
    lines = _Lines()
    for number, line in read_lines(path):
        try:
            _parse_request(line, lines)
            lines.number.append(number)
        except BadLine as bad:
            lines.bad.append((number, bad))
        if len(lines.number) + len(lines.bad) == size:
            yield lines
            lines = _Lines()
    yield lines


def _parse_request(line: bytes | None, lines: _Lines) -> None:
    """Appends a request to all columns except `number`.

    Raises:
      BadLine: if the line is malformed; nothing has been appended then.
    """
    record = decode_record(line, _FIELDS)
    time, session = record["timestamp"], record["session_id"]
    if type(time) is not str:
        raise BadLine("mistyped field", "timestamp", time, _WHOLE)
    if not (time.isdecimal() and time.isascii() and len(time) <= 10 and int(time) <= MAX_INT):
        raise BadLine("bad timestamp", "timestamp", time, _WHOLE)
    lengths = []
    for field in ("input_length", "output_length"):
        value = record[field]
        if type(value) is not int:
            raise BadLine("mistyped field", field, value, "an integer")
        if not 1 <= value <= MAX_INT:
            raise BadLine("length out of range", field, value, f"an integer from 1 to {MAX_INT}")
        lengths.append(value)
    if type(session) is not str or not session:
        raise BadLine("mistyped field", "session_id", session, "a string that is not empty")
    parts = expect_fields(record["hash_ids"], "hash_ids", _PARTS)
    for part, ids in parts.items():
        if type(ids) is not list:
            raise BadLine("mistyped field", f"hash_ids.{part}", ids, "a list of integers")
        if ids and (set(map(type, ids)) != _INT or min(ids) < 0 or max(ids) > MAX_INT):
            _explain_ids(part, ids)
    if len(parts["passages_ids"]) > MAX_PASSAGES:
        raise BadLine(
            "too many passages", "hash_ids.passages_ids", parts["passages_ids"], f"at most {MAX_PASSAGES} passages"
        )
    lines.scalars.append((int(time), *lengths))  # type: ignore[arg-type]
    lines.session.append(session)
    for part, ids in parts.items():
        lines.ids[part] += ids
        lines.counts[part].append(len(ids))


def _explain_ids(part: str, ids: list[Any]) -> None:
    for value in ids:
        if type(value) is not int:
            raise BadLine("mistyped field", f"hash_ids.{part}", value, "a list of integers")
        if not 0 <= value <= MAX_INT:
            raise BadLine("unknown id", f"hash_ids.{part}", value, f"ids of {TABLES[part][0]}")


@dataclasses.dataclass
class _Clock:
    """The time of the last valid request."""

    time: int = 0  # seconds, unwrapped
    segment: int = 0


def _checked(lines: _Lines, tables: dict[str, Table], clock: _Clock, problems: Problems) -> Trace:
    """The requests of a chunk whose ids and lengths match the tables and whose times are in order."""
    count = len(lines.number)
    scalars = np.array(lines.scalars, np.int64).reshape(count, 3)
    found: dict[int, BadLine] = {}
    parts, total = {}, np.zeros(count)
    for part in PARTS:
        ids = np.array(lines.ids[part], np.int32)
        parts[part] = Ragged(ids, offsets_of(np.array(lines.counts[part], np.int64)))
        lengths, owners = tables[part].find(ids), parts[part].owners
        total += np.bincount(owners, weights=lengths, minlength=count)
        for place in np.flatnonzero(lengths == 0):
            bad = BadLine("unknown id", f"hash_ids.{part}", int(ids[place]), f"ids of {TABLES[part][0]}")
            found.setdefault(int(owners[place]), bad)
    for i in np.flatnonzero(np.abs(scalars[:, 1] - total) > MAX_TEMPLATE):
        expected = f"within {MAX_TEMPLATE} of {total[i]:.0f}, the sum over its ids"
        found.setdefault(int(i), BadLine("input length off", "input_length", int(scalars[i, 1]), expected))
    time, segment = _unwrap(scalars[:, 0], clock, found)
    bad_lines = dict(lines.bad) | {lines.number[i]: bad for i, bad in found.items()}
    for number in sorted(bad_lines):
        problems.add(bad_lines[number].at(TRACE_FILE, number))
    keep = np.ones(count, bool)
    keep[list(found)] = False
    kept = np.flatnonzero(keep)
    if len(kept) < count:
        parts = {part: ragged.take(kept) for part, ragged in parts.items()}
    numbers: dict[str, int] = {}
    session = [numbers.setdefault(name, len(numbers)) for name in (lines.session[i] for i in kept.tolist())]
    names = np.empty(len(numbers), object)
    names[:] = list(numbers)
    return Trace(
        time=time[kept],
        segment=segment[kept],
        input_length=scalars[kept, 1].astype(np.int32),
        output_length=scalars[kept, 2].astype(np.int32),
        docs=distinct_docs(parts["passages_ids"]),
        parts=parts,
        session=np.array(session, np.int32),
        session_names=names,
        tables=tables,
    )


def _unwrap(stamps: np.ndarray, clock: _Clock, found: dict[int, BadLine]) -> tuple[np.ndarray, np.ndarray]:
    """Times and segments, [M] each. A timestamp more than a day below the last one starts the next week.

    Skips the requests in `found`, adds those that step back to it, and advances `clock`.
    """
    time, segment = np.zeros(len(stamps), np.int64), np.zeros(len(stamps), np.int32)
    shifted = stamps + clock.segment * WEEK
    if not found and len(stamps) and shifted[0] >= clock.time and (np.diff(stamps) >= 0).all():
        time[:], segment[:] = shifted, clock.segment
        clock.time = int(shifted[-1])
        return time, segment
    for i, stamp in enumerate(stamps.tolist()):
        if i in found:
            continue
        now = stamp + clock.segment * WEEK
        if now < clock.time:
            before = clock.time - clock.segment * WEEK
            if before - stamp <= DAY or now + WEEK < clock.time:
                expected = f"at least {before}, or a fall of more than a day"
                found[i] = BadLine("step backwards", "timestamp", stamp, expected)
                continue
            clock.segment += 1
            now += WEEK
        clock.time = now
        time[i], segment[i] = now, clock.segment
    return time, segment
