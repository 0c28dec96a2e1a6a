"""Start-up: seconds from the start of the process to the first row of metrics, with an empty cache and a full one.

Each repetition trains twice with a new cache of compiled programs: the first start finds it empty (cold), the second
finds what the first one wrote (warm). The command runs as it is, with the clock at the borders of its stages.

    python -m benchmarks.startup --json startup.json
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

TARGET_WARM = 10.0
STAGES = ("interpreter", "import_jax", "import_suite", "build", "trace", "compile", "first_row")
"""Stages of a start, in this order: Python itself; imports; arguments, backend, environment and run folder; tracing and
lowering the programs; compiling them or reading them from the cache; initial states, small programs and the updates
before the first row."""


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures how long a training takes to show its first row."""

    algorithm: str = "mappo"
    """Algorithm."""
    env: str = "matrix/climbing"
    """Environment id."""
    seeds: int = 8
    """Seeds of the training."""
    total_steps: int = 20_480
    """Environment steps of the training."""
    repetitions: int = 3
    """Cold starts, and as many warm ones."""
    help_repetitions: int = 5
    """Starts of `jaxmarl-suite --help`."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.repetitions, self.help_repetitions) < 1:
            raise ValueError("repetitions and help_repetitions must be at least 1")


def start(algorithm: str, env: str, seeds: int, total_steps: int, cache: Path) -> tuple[Row, dict[str, Any]]:
    """Seconds of the stages of one start, and the versions that the run recorded.

    Raises:
      RuntimeError: the training failed, with what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        times, run = Path(folder) / "times.json", Path(folder) / "run"
        arguments = ["train", algorithm, "--env", env, "--seeds", str(seeds), "--total-steps", str(total_steps)]
        command = [sys.executable, "-m", "benchmarks._startup_child", str(times), *arguments, "--run-dir", str(run)]
        environment = _processes.child_environment(JAXMARL_SUITE_CACHE=str(cache))
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        began = time.monotonic()
        done = subprocess.run(command, cwd=_processes.ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the training failed with exit code {done.returncode}: {done.stderr[-2000:]}")
        ended = time.monotonic()
        found = json.loads(times.read_text(encoding="utf-8"))
        versions = json.loads((run / "versions.json").read_text(encoding="utf-8"))
    wall = {name: at - began for name, (at, _) in found["marks"].items()}
    compiling = found["compiler"]["programs"]
    row = {
        "interpreter": wall["python"],
        "import_jax": wall["jax"] - wall["python"],
        "import_suite": wall["suite"] - wall["jax"],
        "build": wall["programs"] - wall["suite"],
        "trace": wall["compiled"] - wall["programs"] - compiling,
        "compile": compiling,
        "first_row": wall["row"] - wall["compiled"],
        "wall_seconds": wall["row"],
        "cpu_seconds": found["marks"]["row"][1],
        "exit_seconds": ended - began,
        "cache_hits": found["compiler"]["cache_hits"],
        "cache_misses": found["compiler"]["cache_misses"],
        "small_programs": found["compiler"]["other"],
    }
    return row, versions


def start_help() -> Row:
    """Seconds of `jaxmarl-suite --help`, from start to exit."""
    command = [sys.executable, "-m", "jaxmarl_suite.cli", "--help"]
    before, began = os.times(), time.monotonic()
    subprocess.run(
        command, cwd=_processes.ROOT, env=_processes.child_environment(), check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.monotonic() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_seconds": wall, "cpu_seconds": cpu}


def medians(command: str, cache: str, starts: list[Row]) -> Row:
    """One row of a table from several starts."""
    fields = {name: statistics.median(s[name] for s in starts) for name in starts[0]}
    walls = [s["wall_seconds"] for s in starts]
    return {"command": command, "cache": cache, **fields, "best_wall_seconds": min(walls), "repetitions": len(starts)}


def measure(args: Args) -> tuple[list[Row], dict[str, Any]]:
    """Rows for cold and warm starts and for the help text; the machine."""
    starts: dict[str, list[Row]] = {"cold": [], "warm": []}
    found = _common.machine()
    for repetition in range(args.repetitions):
        with tempfile.TemporaryDirectory() as cache:
            for kind in starts:
                print(f"{kind} start {repetition + 1} ...", file=sys.stderr, flush=True)
                row, versions = start(args.algorithm, args.env, args.seeds, args.total_steps, Path(cache))
                starts[kind].append(row)
    command = f"train {args.algorithm} --env {args.env} --seeds {args.seeds} --total-steps {args.total_steps}"
    rows = [medians(command, kind, rows) for kind, rows in starts.items()]
    rows.append(medians("--help", "none", [start_help() for _ in range(args.help_repetitions)]))
    return rows, {**versions, **found}


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("command", lambda row: f"`{row['command']}`"),
        Column("cache", plain("cache")),
        Column("wall s", number("wall_seconds", ".2f")),
        Column("CPU s", number("cpu_seconds", ".2f")),
        Column("best s", number("best_wall_seconds", ".2f")),
        *(Column(name.replace("_", " "), number(name, ".2f")) for name in STAGES),
    )
    return Table("startup", rows, columns, ("command", "cache"), "wall_seconds", is_time=True)


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("startup", args)
    rows, found = measure(args)
    (warm,) = (r["wall_seconds"] for r in rows if r["cache"] == "warm")
    targets = [_common.target("seconds to the first row, warm", warm, TARGET_WARM, at_most=True)]
    return _common.finish("startup", args, found, [table_of(rows)], targets, old=old)


if __name__ == "__main__":
    _common.run_script(main, Args)
