"""Progress of training: a few live lines on a terminal, plain lines in a pipe."""

import contextlib
import difflib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxmarl_envs import EnvSpec
from jaxmarl_envs.core import quantile_name
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from jaxmarl_suite.analysis import Estimate, bootstrap_estimate
from jaxmarl_suite.analysis.style import format_count, format_score, format_share
from jaxmarl_suite.cli._parse import flat_settings
from jaxmarl_suite.cli._session import Session
from jaxmarl_suite.runner import Experiment, RunFolder

PIPE_SECONDS = 5.0
"""Seconds between two lines in a pipe."""
_RESAMPLES = 500
_RATE_SECONDS = 10.0
"""Seconds over which the speed is averaged."""


def shown_metrics(spec: EnvSpec, names: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics of evaluations to show beside the return: `names`, or for None the environment's first one, if any.

    Raises:
      ValueError: evaluations have no such metric.
    """
    if names is None:
        return spec.metrics[:1]
    known = [
        "length",
        *spec.metrics,
        *(quantile_name(name, level) for name, levels in spec.quantiles for level in levels),
    ]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"--show: {spec.id!r} has no metric {name!r}; {hint}there are: {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def score(estimate: Estimate | None) -> Text:
    """`6.12 [5.00, 7.10]`."""
    if estimate is None:
        return Text("–", "dim")
    text = Text(format_score(estimate.value), "bold")
    if estimate.has_interval:
        text.append(f" [{format_score(estimate.low)}, {format_score(estimate.high)}]", "not bold dim")
    return text


def duration(seconds: float) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TrainingConsole:
    """The `Listener` of the command line."""

    def __init__(
        self,
        session: Session,
        experiment: Experiment,
        folder: Path,
        total: int,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """Prints nothing yet.

        Args:
          session: says where to print.
          experiment: what is trained.
          folder: its run folder.
          total: number of environment steps of all lanes together.
          metrics: what to show beside the return; None as in `shown_metrics`.
        """
        self._metrics = shown_metrics(experiment.groups()[0].eval_env.spec, metrics)
        self._session, self._experiment, self._total = session, experiment, max(total, 1)
        self._folder = folder
        self._console: Console = session.console()
        self._points = experiment.points()
        self._steps: dict[int, int] = {}  # by lane
        self._found: dict[
            int, tuple[int, dict[str, float | None]]
        ] = {}  # by lane: its grid point and newest evaluation
        self._cut: dict[int, float] = {}  # by lane: share of episodes that did not end in time
        self._done = 0
        self._marks: list[tuple[float, int]] = []  # (seconds, steps since the start) for the speed
        self._optimum: float | None = None
        self._results: list[tuple[str, Estimate | None, str]] = []
        self._last_line = -float("inf")
        self._live: Live | None = None
        self._has_spoken = False

    def __enter__(self) -> "TrainingConsole":
        """Starts the display."""
        self._begin = time.monotonic()
        if not self._session.quiet and self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=4, redirect_stderr=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last state on the screen if training has begun, otherwise nothing."""
        if self._live is not None:
            self._live.transient = not self._marks
            self._live.stop()
        elif self._marks and not self._session.quiet:
            self._plain_line()

    def take_up(self, folder: Path) -> None:
        """Continues from the progress of the run in `folder`."""
        for row in RunFolder(folder).rows():
            if row["kind"] != "absolute":
                self._steps[row["lane"]] = max(self._steps.get(row["lane"], 0), row.get("step", row["env_steps"]))
            if row["kind"] == "eval":
                self._found[row["lane"]] = row["point"], row["metrics"]
                self._cut[row["lane"]] = row.get("cut", {}).get("return", 0.0)
        self._done = sum(self._steps.values())

    def announce(self, text: str) -> None:
        """Prints a line above the progress. The first one is preceded by the run folder, which exists only now."""
        if not self._session.quiet:
            if not self._has_spoken:
                self._has_spoken = True
                self._console.print(Text.assemble("run folder ", (str(self._folder), "bold")))
            self._console.print(text, style="dim" if text.startswith(("program", "continuing")) else "", markup=False)

    def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
        """Updates the progress and shows new results."""
        now = time.monotonic()
        taken = (self._marks[-1][1] if self._marks else 0) + env_steps
        self._marks = [*(m for m in self._marks if now - m[0] < _RATE_SECONDS), (now, taken)]
        self._done += env_steps
        for row in rows:
            if row["kind"] != "absolute":
                self._steps[row["lane"]] = row.get("step", row["env_steps"])
            if row["kind"] == "eval":
                self._found[row["lane"]] = row["point"], row["metrics"]
                self._cut[row["lane"]] = row.get("cut", {}).get("return", 0.0)
        self._done = min(max(self._done, sum(self._steps.values())), self._total)
        if not self._session.quiet and any(row["kind"] == "eval" for row in rows):
            self._results = list(self._summaries())
        if not self._session.quiet and self._live is None and self._results and now - self._last_line >= PIPE_SECONDS:
            self._plain_line()

    def _summaries(self) -> Iterable[tuple[str, Estimate | None, str]]:
        """`(name, estimate, remark)` of the policy and the extra policies; in a sweep, of the best grid point."""
        by_point: dict[int, list[dict[str, float | None]]] = {}
        for point, metrics in self._found.values():
            by_point.setdefault(point, []).append(metrics)
        estimates = {point: _estimate(found, "return") for point, found in by_point.items()}
        known = {point: e for point, e in estimates.items() if e is not None}
        if not known:
            return
        best = max(known, key=lambda point: known[point].value)
        seeds = len(by_point[best])
        of = f"IQM of {seeds} seeds" if seeds > 1 else "1 seed"
        if len(self._points) > 1:
            of = f"{of}, best of {len(known)} settings: {flat_settings(self._points[best])}"
        shares = [self._cut[lane] for lane, (point, _) in self._found.items() if point == best]
        if any(shares):
            of = f"{of}, {format_share(sum(shares) / len(shares))} of the episodes cut"
        yield "return", known[best], of
        for name in self._metrics:
            yield name, _estimate(by_point[best], name), ""
        names = {name for name in by_point[best][0] if name.endswith("/return")}
        for name in sorted(names):
            yield name.removesuffix("/return"), _estimate(by_point[best], name), ""

    @property
    def _speed(self) -> float | None:
        if len(self._marks) < 2:
            return None
        (first, a), (last, b) = self._marks[0], self._marks[-1]
        return (b - a) / (last - first) if last > first else None

    def _numbers(self) -> tuple[str, str, str]:
        speed = self._speed
        left = duration((self._total - self._done) / speed) + " left" if speed and self._done < self._total else ""
        steps = f"{format_count(self._done)} / {format_count(self._total)} steps"
        return steps, f"{format_count(speed)}/s" if speed else "", left

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The live lines."""
        if not self._marks:
            self._spinner = getattr(self, "_spinner", None) or Spinner("dots", style="cyan")
            waited = duration(time.monotonic() - self._begin)
            line = Table.grid(padding=(0, 1))
            line.add_row(self._spinner, Text.assemble("compiling ", (waited, "dim")))
            yield line
            return
        steps, speed, left = self._numbers()
        share = self._done / self._total
        text = Text.assemble((f"{share:4.0%}", "bold"), f"  {steps}", (f"  {speed}  {left}", "dim"))
        width = max(10, min(40, options.max_width - 52))
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=self._total, completed=self._done, width=width, complete_style="cyan"), text)
        yield line
        names = max((len(name) for name, _, _ in self._results), default=0)
        for name, estimate, remark in self._results:
            found = Text.assemble(f"{name:{names}}  ", score(estimate), (f"  {remark}", "dim"), no_wrap=True)
            found.truncate(options.max_width, overflow="ellipsis")
            yield found

    def _plain_line(self) -> None:
        self._last_line = time.monotonic()
        parts = [f"{self._done / self._total:4.0%}", *(part for part in self._numbers() if part)]
        parts += [f"{name} {score(estimate).plain}" for name, estimate, _ in self._results]
        self._console.print("  ".join(parts), markup=False, soft_wrap=True)


def _estimate(rows: list[dict[str, float | None]], name: str) -> Estimate | None:
    values = [value for row in rows if (value := row.get(name)) is not None and value == value]
    return bootstrap_estimate([values], resamples=_RESAMPLES) if values else None


def print_summary(session: Session, path: Path, summary: dict[str, Any], metrics: Sequence[str] = ()) -> None:
    """Prints the results of a run, one row per setting and policy: returns, and `metrics` of the same evaluations."""
    from jaxmarl_suite.analysis import TableRow, load_run, summarize

    console = session.console()
    run = load_run(path)
    rows = summarize([run])
    more: dict[str, dict[tuple[str, str], TableRow]] = {}
    for name in metrics:
        with contextlib.suppress(ValueError):  # some lane has no value
            more[name] = {(row.label, row.policy): row for row in summarize([run], name)}
    is_sweep = len({row.label for row in rows}) > 1
    cells = [
        {
            "setting": row.label.removeprefix(f"{run.algorithm} ") if is_sweep else row.label,
            "policy": row.policy,
            "final return": score(row.final),
            "best policy": score(row.absolute),
            **_more_cells(more, (row.label, row.policy)),
            "solved": Text(f"{round(row.solved.value * row.solved.count)}/{row.solved.count}")
            if row.solved
            else Text(""),
            "cut": Text(format_share(row.cut) if row.cut else ""),
            "seeds": Text(str(row.num_lanes)),
        }
        for row in rows
    ]
    print_table(console, cells, title=f"{run.algorithm} on {run.env}")
    optima = {lane.optimum for lane in run.lanes}
    optimum = f"optimum {format_score(optima.pop())}; " if len(optima) == 1 and None not in optima else ""  # type: ignore[arg-type]
    seconds = f"{summary.get('seconds', 0.0):.1f} s, {summary.get('compile_seconds', 0.0):.1f} s of them compiling"
    cut = "cut: episodes that did not end within eval_max_steps steps; " if any(row.cut for row in rows) else ""
    console.print(f"[dim]{optimum}interquartile means with 95 % intervals; {cut}took {seconds}[/]")


def _more_cells(more: dict[str, dict[tuple[str, str], Any]], row: tuple[str, str]) -> dict[str, Text]:
    """`final NAME` and `best NAME` of one row of the summary."""
    cells = {}
    for name, rows in more.items():
        found = rows.get(row)
        cells[f"final {name}"] = score(found.final) if found else Text("")
        cells[f"best {name}"] = score(found.absolute) if found else Text("")
    return cells


def print_table(console: Console, rows: list[dict[str, Any]], title: str | None = None) -> None:
    """Prints a plain table of `rows` without its empty columns."""
    heading = None if title is None else Text(title)
    table = Table(
        title=heading, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0), pad_edge=False
    )
    shown = [name for name in rows[0] if any(str(row[name]) for row in rows)] if rows else []
    for name in shown:
        table.add_column(Text(name), header_style="dim", overflow="fold")
    for row in rows:
        table.add_row(*(row[name] if isinstance(row[name], Text) else Text(str(row[name])) for name in shown))
    console.print(table)
