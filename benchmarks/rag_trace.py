"""RAG traces: generating, writing, reading with all checks, and summarizing, in seconds and in memory.

One trace has the size of the recorded one, another about a million requests, each in a process of its own. Seconds of
CPU time are next to those on the wall, since they depend less on what else the machine does.

    python -m benchmarks.rag_trace --json rag_trace.json
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

RECORDED, MILLION = 3990, 562_000
"""Numbers of sessions: 7,100 requests, and a million."""
TARGETS = {
    (RECORDED, "read and summarize"): 3.0,
    (MILLION, "generate and write"): 120.0,
    (MILLION, "read"): 60.0,
}
"""Seconds."""
_MAX_SUMMARIZED = 100_000


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures writing, reading and summarizing of generated traces."""

    sessions: tuple[int, ...] = (RECORDED, MILLION)
    """Sizes of the traces, in sessions of 1.78 requests on average."""
    folder: str = ""
    """Where the files are written, 400 bytes per request; the system's temporary folder if empty."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if not self.sessions or min(self.sessions) < 1:
            raise ValueError(f"sessions must be positive, got {self.sessions}")


def measure(sessions: int, folder: str) -> list[Row]:
    """One row per task."""
    from jaxmarl_envs.rag.trace import iter_trace, read_trace, statistics, write_generated

    rows = []
    with tempfile.TemporaryDirectory(dir=folder or None) as parent:
        path = Path(parent) / "trace"

        def run(task: str, work: Callable[[], int]) -> None:
            with _common.stopwatch() as spent:
                requests = work()
            found = {"seconds": spent.wall, "cpu_seconds": spent.cpu, "peak_rss": _common.peak_rss()}
            speed = requests / spent.wall
            rows.append({"sessions": sessions, "task": task, "requests": requests, "requests_per_s": speed, **found})

        def summarize() -> int:
            trace = read_trace(path)
            statistics(trace)
            return len(trace)

        run("generate and write", lambda: write_generated(path, sessions, 1))
        run("read", lambda: sum(len(piece) for piece in iter_trace(path)))
        if sessions <= _MAX_SUMMARIZED:
            run("read and summarize", summarize)
    return rows


def targets_of(rows: list[Row]) -> list[Row]:
    """Whether traces are handled fast enough."""
    return [
        _common.target(f"{row['task']}, {row['requests']:,} requests: seconds", row["seconds"], bound, at_most=True)
        for row in rows
        if (bound := TARGETS.get((row["sessions"], row["task"])))
    ]


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("requests", number("requests")),
        Column("task", plain("task")),
        Column("seconds", number("seconds", ".1f")),
        Column("CPU seconds", number("cpu_seconds", ".1f")),
        Column("requests/s", number("requests_per_s")),
        Column("peak RSS MiB", number("peak_rss", ",.0f", 2**-20)),
    )
    return Table("rag-trace", rows, columns, ("sessions", "task"), "requests_per_s")


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda request: measure(request["sessions"], task["folder"])


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("rag-trace", args)
    load = _common.machine()
    rows = []
    for sessions in args.sessions:
        environment = _processes.child_environment()
        with _processes.Worker("benchmarks.rag_trace", {"folder": args.folder}, environment) as worker:
            rows += worker.ask({"sessions": sessions})
    found = _common.hardware() | load
    return _common.finish("rag-trace", args, found, [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
