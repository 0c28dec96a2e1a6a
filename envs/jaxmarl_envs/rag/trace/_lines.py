"""Reads files of JSON lines, one line at a time, with a limit on the length of a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmarl_envs.rag.trace._schema import MAX_LINE, BadLine, Problem, TraceError


def read_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yields the number (from 1) and content of each line that is not blank; None for a line longer than `MAX_LINE` bytes.

    Raises:
      TraceError: if the file cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TraceError([Problem(path.name, 0, "(file)", reason, "missing file", f"a file {str(path)!r}")]) from None
    with file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
            elif not line.isspace():
                yield number, line


def decode_record(line: bytes | None, fields: frozenset[str]) -> dict[str, Any]:
    """The JSON object in a line, which must have exactly the fields `fields`.

    Raises:
      BadLine: for anything else, including a repeated field.
    """
    if line is None:
        raise BadLine("line too long", "(line)", f"more than {MAX_LINE} bytes", f"at most {MAX_LINE} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine("wrong encoding", "(line)", line[error.start : error.start + 8], "UTF-8") from None
    try:
        record = _DECODER.decode(text)
    except (ValueError, RecursionError):  # numbers of thousands of digits and deep nesting included
        raise BadLine("bad JSON", "(line)", text.strip(), "one whole JSON object") from None
    return expect_fields(record, "(line)", fields)


def expect_fields(record: Any, name: str, fields: frozenset[str]) -> dict[str, Any]:
    """`record`, if it is an object with exactly these fields.

    Raises:
      BadLine: otherwise.
    """
    if type(record) is not dict:
        raise BadLine("mistyped field", name, record, "an object")
    if record.keys() != fields:
        for field in sorted(fields - record.keys()):
            raise BadLine("missing field", field, "nothing", f"the fields {', '.join(sorted(fields))}")
        for field in sorted(record.keys() - fields):
            raise BadLine("extra field", field, record[field], f"the fields {', '.join(sorted(fields))}")
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadLine("extra field", twice, "the field twice", "every field once")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
