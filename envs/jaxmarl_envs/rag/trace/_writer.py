"""Writes traces in the format that the reader accepts."""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jaxmarl_envs.rag.trace._schema import PARTS, TABLES, TRACE_FILE, WEEK
from jaxmarl_envs.rag.trace._trace import Table, Trace

_LINE = (
    '{{"timestamp": "{}", "input_length": {}, "output_length": {}, "hash_ids": {{"sys_prompt": {}, "passages_ids": {}, '
    '"history": {}, "web_search": {}, "user_input": {}}}, "session_id": {}}}\n'
)


class TraceWriter:
    """Context manager that writes a trace into a new folder, piece by piece. The folder appears when all of it is written.

    Raises:
      ValueError: if the folder exists and is not empty.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ValueError(f"a trace is written into a new folder, and {str(folder)!r} exists; choose another")
        parent = self.folder.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        self._beside = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=parent))
        names = {part: file for part, (file, _) in TABLES.items()} | {"requests": TRACE_FILE}
        self._files = {part: (self._beside / name).open("w", encoding="ascii") for part, name in names.items()}

    def __enter__(self) -> "TraceWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            for file in self._files.values():
                with file:
                    file.write("\n")  # the original files end with an empty line as well
            if error is None:
                self._beside.chmod(0o755)
                os.rename(self._beside, self.folder.absolute())
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)  # gone if it was renamed

    def write_requests(self, trace: Trace) -> None:
        """Appends requests; they must not be earlier than those already written."""
        lists = [_id_lists(trace, part) for part in PARTS]
        columns = (trace.time - trace.segment * np.int64(WEEK), trace.input_length, trace.output_length)
        names = [json.dumps(name) for name in trace.session_names]
        sessions = (names[i] for i in trace.session.tolist())
        scalars: Any = (column.tolist() for column in columns)
        self._files["requests"].writelines(map(_LINE.format, *scalars, *lists, sessions))

    def write_table(self, part: str, table: Table) -> None:
        """Appends rows to the table of one part."""
        line = '{{"' + TABLES[part][1] + '": {}, "token_length": {}}}\n'
        self._files[part].writelines(map(line.format, table.ids.tolist(), table.lengths.tolist()))


def write_trace(trace: Trace, folder: str | Path) -> Path:
    """Writes a trace as the six files that `read_trace` reads, and returns the folder.

    Args:
      trace: the trace; timestamps are written relative to each request's week.
      folder: must be new or empty.

    Raises:
      ValueError: if the folder is not empty.
    """
    with TraceWriter(folder) as writer:
        for part in PARTS:
            writer.write_table(part, trace.tables[part])
        writer.write_requests(trace)
    return Path(folder)


def write_chunks(pieces: Iterable[Trace], folder: str | Path) -> int:
    """Writes consecutive traces as one and returns the number of requests.

    The tables of each piece must contain only rows that earlier pieces do not have. Errors as for `write_trace`.
    """
    count = 0
    with TraceWriter(folder) as writer:
        for piece in pieces:
            for part in PARTS:
                writer.write_table(part, piece.tables[part])
            writer.write_requests(piece)
            count += len(piece)
    return count


def _id_lists(trace: Trace, part: str) -> list[list[int]]:
    ragged = trace.parts[part]
    ids, offsets = ragged.ids.tolist(), ragged.offsets.tolist()
    return [ids[start:stop] for start, stop in itertools.pairwise(offsets)]
