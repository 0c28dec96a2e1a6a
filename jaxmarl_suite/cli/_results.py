"""`plot`, `table`, `export`: results of finished or unfinished runs, read from their folders without JAX."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxmarl_suite import analysis
from jaxmarl_suite.cli._parse import parse
from jaxmarl_suite.cli._session import Result, Session, writing

Runs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """The arguments of `plot`."""

    runs: Runs
    """Run folders."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("curves.png")
    """Output file; ends in .png, .svg or .pdf."""
    metric: str = "return"
    """The metric to draw."""
    kind: Literal["eval", "train"] = "eval"
    """Draw metrics of evaluations or of training."""


@dataclasses.dataclass(frozen=True)
class TableArguments:
    """The arguments of `table`."""

    runs: Runs
    """Run folders."""
    metric: str = "return"
    """A metric of the evaluations."""


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """The arguments of `export`."""

    runs: Runs
    """Run folders."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Output file; ends in .json (marl-eval's layout), .npz (rliable's arrays) or .csv (all rows, a column per metric)."""
    layout: Literal["marl-eval", "rliable", "csv"] | None = None
    """Layout of the file. Default: according to its suffix."""


def plot(argv: list[str], session: Session) -> Result:
    """Draws learning curves into a file."""
    given = parse(PlotArguments, argv, "plot", "Draws learning curves with confidence bands.")
    runs = _load(given.runs, "plot")
    with writing(given.out):
        path = analysis.plot(runs, given.out, given.metric, kind=given.kind)
    session.console().print(f"drawn: {path}", markup=False)
    return {"out": str(path), "runs": [str(run) for run in given.runs]}


def table(argv: list[str], session: Session) -> Result:
    """Prints results with intervals, as markdown."""
    given = parse(TableArguments, argv, "table", "Prints results with 95 % confidence intervals as markdown.")
    rows = analysis.summarize(_load(given.runs, "table"), given.metric)
    session.console().print(analysis.render_markdown(rows), markup=False, end="", soft_wrap=True)
    return {"rows": [dataclasses.asdict(row) for row in rows]}


def export(argv: list[str], session: Session) -> Result:
    """Writes results for other tools."""
    given = parse(ExportArguments, argv, "export", "Writes results for marl-eval or rliable, or all rows as CSV.")
    runs = _load(given.runs, "export")
    with writing(given.out):
        path = analysis.export(runs, given.out, layout=given.layout)
    session.console().print(f"written: {path}", markup=False)
    return {"out": str(path), "runs": [str(run) for run in given.runs]}


def _load(paths: Sequence[Path], command: str) -> list[analysis.Run]:
    if not paths:
        raise ValueError(f'missing RUN: "jaxmarl-suite {command} RUN..." needs at least one run folder')
    return [analysis.load_run(path) for path in paths]
