"""`runs`: the runs in a folder, and how far they are."""

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite import analysis
from jaxmarl_suite.analysis.style import format_count, format_score
from jaxmarl_suite.cli._console import print_table
from jaxmarl_suite.cli._parse import parse
from jaxmarl_suite.cli._session import Result, Session
from jaxmarl_suite.runner import RunFolder


@dataclasses.dataclass(frozen=True)
class RunsArguments:
    """The arguments of `runs`."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = Path("runs")
    """A folder of run folders, at any depth, or a run folder."""


def runs(argv: list[str], session: Session) -> Result:
    """Lists the runs in a folder, the one that was written to last first."""
    about = "Lists the runs in a folder: their seeds, steps, status and last return. The latest comes first."
    folder = parse(RunsArguments, argv, "runs", about).folder
    if not folder.is_dir():
        raise ValueError(f"no folder {str(folder)!r}; give the one that holds the runs: jaxmarl-suite runs FOLDER")
    found = sorted((_describe(path) for path in _run_folders(folder)), key=lambda entry: entry["age_seconds"])
    console = session.console()
    if not found:
        console.print(f"no runs in {str(folder)!r}", markup=False)
        return {"folder": str(folder), "runs": []}
    print_table(console, [_cells(entry) for entry in found])
    console.print(
        "[dim]steps: of all lanes together; last return: interquartile mean of the newest evaluations, in a sweep of the "
        "best setting; age: since the last row[/]"
    )
    return {"folder": str(folder), "runs": found}


def _run_folders(folder: Path) -> Iterator[Path]:
    """Run folders in `folder`; they contain no others."""
    for path, folders, files in os.walk(folder):
        if "config.json" in files and "metrics.jsonl" in files:
            folders.clear()
            yield Path(path)


def _describe(path: Path) -> dict[str, Any]:
    age = max(time.time() - (path / "metrics.jsonl").stat().st_mtime, 0.0)
    entry: dict[str, Any] = {"run": str(path), "age_seconds": round(age, 1)}
    try:
        run = analysis.load_run(path)
    except (OSError, ValueError) as error:
        return entry | {"status": "damaged", "error": str(error)}
    steps = {lane.lane: 0 for lane in run.lanes}
    for row in run.rows:
        if row.kind != "absolute":
            steps[row.lane] = max(steps[row.lane], row.env_steps)
    return entry | {
        "algorithm": run.algorithm,
        "env": run.env,
        "seeds": len({lane.seed for lane in run.lanes}),
        "settings": len(run.points),
        "steps": sum(steps.values()),
        "total_steps": run.total_steps * len(run.lanes),
        "status": "running" if RunFolder(path).is_training else run.status,
        "last_return": _last_return(run),
    }


def _last_return(run: analysis.Run) -> float | None:
    """The interquartile mean over the seeds of the newest evaluations; of the best setting, if there are several."""
    newest = {row.lane: row.metrics.get("return") for row in run.rows if row.kind == "eval"}
    by_point: dict[int, list[float]] = {}
    for lane in run.lanes:
        value = newest.get(lane.lane)
        if value is not None and value == value:
            by_point.setdefault(lane.point, []).append(value)
    return max((float(analysis.iqm([values])) for values in by_point.values()), default=None)


def _cells(entry: dict[str, Any]) -> dict[str, str]:
    if "error" in entry:
        status = f"{entry['status']}: {entry['error']}"
        names = ("algorithm", "environment", "seeds", "steps", "last return")
        return {"run": entry["run"], **dict.fromkeys(names, ""), "status": status, "age": _age(entry["age_seconds"])}
    settings = f" × {entry['settings']} settings" if entry["settings"] > 1 else ""
    last = entry["last_return"]
    return {
        "run": entry["run"],
        "algorithm": entry["algorithm"],
        "environment": entry["env"],
        "seeds": f"{entry['seeds']}{settings}",
        "steps": f"{format_count(entry['steps'])} / {format_count(entry['total_steps'])}",
        "last return": "" if last is None else format_score(last),
        "status": entry["status"],
        "age": _age(entry["age_seconds"]),
    }


def _age(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
