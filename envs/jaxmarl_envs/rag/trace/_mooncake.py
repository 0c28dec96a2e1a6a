"""Reads traces in Mooncake's format (arXiv 2407.00079): times in milliseconds, prompts as hashes of 512-token blocks.

A line is `{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, ...]}`. Its hashes are
chained: each identifies a block together with everything before it. Blocks are reused as passages are, so the cache
simulators work on them as well. A request may have any number of blocks.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxmarl_envs.rag.trace._lines import decode_record, read_lines
from jaxmarl_envs.rag.trace._schema import MAX_INT, BadLine, Problem, Problems, TraceError
from jaxmarl_envs.rag.trace._trace import Ragged, offsets_of

BLOCK = 512
"""Tokens per block."""
_FIELDS = frozenset(("timestamp", "input_length", "output_length", "hash_ids"))


@dataclasses.dataclass(frozen=True)
class BlockTrace:
    """M requests, whose prompts are lists of chained blocks."""

    time: np.ndarray  # [M] int64, milliseconds, ascending
    input_length: np.ndarray  # [M] int32, tokens
    output_length: np.ndarray  # [M] int32, tokens
    blocks: Ragged  # M lists of block ids
    counts: dict[str, int]
    """Dropped lines by kind."""
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        """M."""
        return len(self.time)


def read_mooncake(path: str | Path, *, strict: bool = True) -> BlockTrace:
    """The trace in a file in Mooncake's format.

    Raises:
      TraceError: with file, line, field and value of the first 20 problems. With `strict=False` bad lines are dropped and
        counted, and only a missing file or one without a valid request raises.
    """
    path, problems = Path(path), Problems(strict)
    rows: list[tuple[int, int, int]] = []
    blocks: list[int] = []
    counts: list[int] = []
    for number, line in read_lines(path):
        try:
            record = decode_record(line, _FIELDS)
            before = rows[-1][0] if rows else 0
            time = _integer(record, "timestamp", before)
            row = time, _integer(record, "input_length", 1), _integer(record, "output_length", 1)
            ids = record["hash_ids"]
            if type(ids) is not list or any(type(i) is not int or not 0 <= i <= MAX_INT for i in ids):
                raise BadLine("mistyped field", "hash_ids", ids, "a list of integers that fit 32 bits")
            if abs(len(ids) - -(-row[1] // BLOCK)) > 1:
                expected = f"{-(-row[1] // BLOCK)} blocks of {BLOCK} tokens, or one more or less"
                raise BadLine("input length off", "hash_ids", f"{len(ids)} blocks", expected)
        except BadLine as bad:
            problems.add(bad.at(path.name, number))
            continue
        rows.append(row)
        blocks += ids
        counts.append(len(ids))
    problems.raise_if_strict()
    if not rows:
        empty = Problem(path.name, 0, "(file)", "no valid request", "empty trace", "at least one request")
        raise TraceError([empty, *problems.first])
    columns = np.array(rows, np.int64)
    ragged = Ragged(np.array(blocks, np.int32), offsets_of(np.array(counts)))
    lengths = columns[:, 1:].astype(np.int32)
    return BlockTrace(columns[:, 0], lengths[:, 0], lengths[:, 1], ragged, dict(problems.counts), tuple(problems.first))


def _integer(record: dict, field: str, low: int) -> int:
    value = record[field]
    if type(value) is not int:
        raise BadLine("mistyped field", field, value, "an integer")
    if not low <= value <= MAX_INT:
        kind = "step backwards" if field == "timestamp" and value >= 0 else "length out of range"
        raise BadLine(kind, field, value, f"an integer from {low} to {MAX_INT}")
    return value
