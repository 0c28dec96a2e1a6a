"""What the benchmarks share: options, clocks, the machine's description, targets, comparing with an earlier result."""

import dataclasses
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._processes import ROOT
from benchmarks._tables import Row, Table, markdown, render

README = ROOT / "benchmarks" / "README.md"
SCHEMA = 1
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that all benchmarks share."""

    json: Path | None = None
    """Where to write the result."""
    compare: Path | None = None
    """An earlier result: print old, new and their ratio for each row, and fail where something got slower."""
    tolerance: float = 0.1
    """Share of a throughput that may be lost before --compare fails."""
    readme: bool = False
    """Put the tables into benchmarks/README.md."""

    def __post_init__(self) -> None:
        """Refuses a tolerance that is no share."""
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be at least 0 and below 1, got {self.tolerance}")


@dataclasses.dataclass
class Spent:
    """Wall-clock seconds, and CPU seconds of all threads of this process."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Spent]:
    """Measures the block; the seconds are filled in when it ends."""
    spent, wall, cpu = Spent(), time.perf_counter(), time.process_time()
    yield spent
    spent.wall, spent.cpu = time.perf_counter() - wall, time.process_time() - cpu


def peak_rss() -> int:
    """Peak memory of this process in bytes; 0 if the system does not report it."""
    try:
        # Not getrusage: its maximum starts from that of the process that started this one.
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def hardware() -> dict[str, Any]:
    """Versions, devices and the machine. Starts JAX's backend; a process that only starts others asks one of them."""
    from jaxmarl_suite.runner._folder import versions

    return {**versions(), **machine()}


def machine() -> dict[str, Any]:
    """The processor, the cores that may be used, and how busy the machine is with other work."""
    from jaxmarl_suite.runner import usable_cores

    return {
        "cpu": _cpu_name(),
        "usable_cores": usable_cores(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def hardware_line(found: Mapping[str, Any]) -> str:
    """One sentence about the machine."""
    device = "" if found["platform"] == "cpu" else f"{found['devices']} x {found['device']}, "
    packages = ", ".join(f"{name} {found[name]}" for name in _PACKAGES if found.get(name))
    line = f"{device}{found['cpu']}, {found['usable_cores']} cores, {found['system']}; Python {found['python']}, {packages}"
    if found.get("load_average") is not None:
        line += f"; load average before it {found['load_average']}"
    return line + "."


def target(name: str, value: float, bound: float, *, at_most: bool = False) -> Row:
    """Whether a measured value meets its bound."""
    is_met = value <= bound if at_most else value >= bound
    return {
        "name": name,
        "value": value,
        "bound": bound,
        "kind": "at most" if at_most else "at least",
        "is_met": is_met,
    }


def _target_line(found: Row) -> str:
    verdict = "met" if found["is_met"] else "MISSED"
    return f"- {found['name']}: {found['value']:.3g}, {found['kind']} {found['bound']:g}: {verdict}"


class Change(NamedTuple):
    """One row, before and now."""

    key: tuple[Any, ...]
    old: float
    new: float
    ratio: float
    """Throughput now over throughput before: below 1 is slower."""
    is_regression: bool


def compare(old_rows: Sequence[Row], table: Table, tolerance: float) -> list[Change]:
    """The rows that are in both results, in the order of the new one."""

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in table.key)

    before = {key(row): row for row in old_rows}
    changes = []
    for row in table.rows:
        old, new = before.get(key(row), {}).get(table.metric), row.get(table.metric)
        if not old or not new:
            continue
        ratio = old / new if table.is_time else new / old
        changes.append(Change(key(row), old, new, ratio, ratio < 1 - tolerance))
    return changes


def load(path: Path, benchmark: str) -> dict[str, Any]:
    """An earlier result of the same benchmark.

    Raises:
      ValueError: the file is missing or is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{str(path)!r} is not a result of a benchmark: it is not valid JSON") from None
    if not isinstance(found, dict) or (found.get("benchmark"), found.get("schema")) != (benchmark, SCHEMA):
        raise ValueError(f"{str(path)!r} is not a result of the benchmark {benchmark!r} in this version's format")
    return found


def _report_changes(old: Mapping[str, Any], now: Mapping[str, Any], tables: Sequence[Table], tolerance: float) -> bool:
    """Prints what changed; returns whether nothing got slower."""
    same = ("platform", "device", "devices", "cpu", "usable_cores")
    moved = [n for n in same if old["hardware"].get(n) != now["hardware"].get(n)]
    if moved:
        print(f"\nthe two were measured on different machines: {', '.join(moved)} differ")
    changes = [(t, c) for t in tables for c in compare(old["tables"].get(t.name, []), t, tolerance)]
    if not changes:
        raise ValueError("the two results have no row in common: run with the options of the earlier one")
    lines = []
    for t, c in changes:
        name, verdict = " ".join(str(k) for k in c.key if k != ""), "SLOWER" if c.is_regression else "ok"
        lines.append((name, t.metric, f"{c.old:,.4g}", f"{c.new:,.4g}", f"{c.ratio:.2f}", verdict))
    print("\n" + markdown(("row", "measure", "old", "new", "speed ratio", f"tolerance {tolerance:.0%}"), lines))
    rows = sum(len(t.rows) for t in tables)
    if rows > len(changes):
        print(f"{rows - len(changes)} rows are not in the earlier result")
    slower = sum(c.is_regression for _, c in changes)
    if slower:
        print(f"{slower} of {len(changes)} rows are slower than before")
    return not slower


def begin(name: str, options: Options) -> Mapping[str, Any] | None:
    """Checks the options before anything is measured; the earlier result, if one is to be compared with."""
    if options.json and not options.json.parent.is_dir():
        raise ValueError(f"cannot write {str(options.json)!r}: there is no such folder")
    return load(options.compare, name) if options.compare else None


def finish(
    name: str,
    options: Options,
    found: Mapping[str, Any],
    tables: Sequence[Table],
    targets: Sequence[Row] = (),
    *,
    old: Mapping[str, Any] | None = None,
    readme: Path = README,
) -> dict[str, Any]:
    """Prints, writes and compares a result; returns it.

    Args:
      name: of the benchmark.
      options: what to do.
      found: the `hardware()` that it was measured on.
      tables: what was measured.
      targets: see `target`.
      old: what `begin` returned.
      readme: the page with a section for each table.

    Raises:
      SystemExit: with code 1, where something is slower than in the earlier result.
    """
    asked = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    shared = {f.name for f in dataclasses.fields(Options)}
    result = {
        "benchmark": name,
        "schema": SCHEMA,
        "hardware": dict(found),
        "options": {k: _plain(v) for k, v in asked.items() if k not in shared},
        "tables": {table.name: table.rows for table in tables},
        "targets": list(targets),
    }
    line = hardware_line(found)
    for table in tables:
        print(f"\n{render(table)}")
    print(f"\n{line}")
    if targets:
        print("\ntargets:\n" + "\n".join(map(_target_line, targets)))
    if options.json:
        options.json.write_text(json.dumps(_finite(result), indent=1) + "\n", encoding="utf-8")
    if options.readme:
        from jaxmarl_suite.analysis import update_section

        suffix = "" if found["platform"] == "cpu" else f"-{found['platform']}"
        for table in tables:
            update_section(readme, f"table:{table.name}{suffix}", f"{render(table)}\n\n{line}")
    if old is not None and not _report_changes(old, result, tables, options.tolerance):
        raise SystemExit(1)
    return result


def _plain(value: Any) -> Any:
    """An option's value as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _finite(value: Any) -> Any:
    """JSON has no infinities."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_script(main: Callable[[Any], Any], arguments: type) -> None:
    """`main` with the arguments of the command line; mistakes of the user in one line."""
    import tyro

    try:
        main(tyro.cli(arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
