"""`trace`: traces of RAG requests, recorded or generated. Each command imports what it needs when it is called."""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
View = Literal["unwrapped", "overlay"]


def trace(argv: list[str], session: Session) -> Result:
    """Dispatches to one of the commands below."""
    if not argv or argv[0] in ("-h", "--help"):
        console = session.console()
        console.print(f"usage: {PROG} trace COMMAND [...]    [dim]{PROG} trace COMMAND --help lists its options[/]\n")
        for name, (_, usage, summary) in _COMMANDS.items():
            console.print(f"  [cyan]{name:10}[/] {summary}\n             [dim]{usage}[/]")
        return {"commands": list(_COMMANDS)}
    if argv[0] not in _COMMANDS:
        near = difflib.get_close_matches(argv[0], _COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown command 'trace {argv[0]}'; {hint}there are: {', '.join(_COMMANDS)}")
    return _COMMANDS[argv[0]][0](argv[1:], session)


@dataclasses.dataclass(frozen=True)
class StatsArguments:
    """The arguments of `trace stats`."""

    folder: Folder
    """A folder with 0_trace.jsonl and the five tables."""
    view: View = "unwrapped"
    """Weeks one after another (unwrapped), or on top of each other (overlay)."""
    strict: bool = True
    """Reject a trace with bad lines; otherwise skip and count them."""


def _stats(argv: list[str], session: Session) -> Result:
    """All tables."""
    given = parse(StatsArguments, argv, "trace stats", "Prints statistics of a trace: lengths, load, skew, locality.")
    from jaxmarl_envs.rag.trace import statistics

    recorded = _read(given.folder, given.strict, session)
    tables = statistics(recorded.view(given.view))
    for name, table in tables.items():
        _print_rows(session, name, table)
    return {"requests": len(recorded), "dropped": dict(recorded.counts), "tables": tables}


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """The arguments of `trace plot`."""

    folder: Folder
    """A folder with 0_trace.jsonl and the five tables."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("trace.png")
    """Output file; ends in .png, .pdf or .svg."""
    view: View = "unwrapped"
    """Weeks one after another (unwrapped), or on top of each other (overlay)."""
    strict: bool = True
    """Reject a trace with bad lines; otherwise skip and count them."""


def _plot(argv: list[str], session: Session) -> Result:
    """One sheet of figures."""
    given = parse(PlotArguments, argv, "trace plot", "Draws load, lengths, skew, locality, hit ratios and sessions.")
    from jaxmarl_envs.rag.trace import plot_trace

    path = plot_trace(_read(given.folder, given.strict, session).view(given.view), given.out)
    session.console().print(f"drawn: {path}", markup=False)
    return {"out": str(path)}


@dataclasses.dataclass(frozen=True)
class GenerateArguments:
    """The arguments of `trace generate`."""

    folder: Folder
    """A new or empty folder for the trace."""
    sessions: int = 3990
    """Number of sessions that begin within fourteen days; the recorded trace has 3990."""
    seed: int = 0
    """Equal seeds give equal traces."""


def _generate(argv: list[str], session: Session) -> Result:
    """A synthetic trace in files."""
    given = parse(
        GenerateArguments, argv, "trace generate", "Writes a synthetic trace, calibrated to the recorded one."
    )
    from jaxmarl_envs.rag.trace import write_generated

    count = write_generated(given.folder, given.sessions, given.seed)
    session.console().print(f"{count:,} requests of {given.sessions:,} sessions in {given.folder}", markup=False)
    return {"folder": str(given.folder), "requests": count, "sessions": given.sessions, "seed": given.seed}


@dataclasses.dataclass(frozen=True)
class CacheArguments:
    """The arguments of `trace cache`."""

    folder: Folder
    """A folder with 0_trace.jsonl and the five tables."""
    capacities: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Capacities of the cache in passages, or in tokens with --tokens."""
    policies: tuple[str, ...] = ()
    """Eviction rules. Default: all."""
    tokens: bool = False
    """Measure capacities in tokens of the passages."""
    strict: bool = True
    """Reject a trace with bad lines; otherwise skip and count them."""


def _cache(argv: list[str], session: Session) -> Result:
    """Hit ratios by capacity and rule."""
    given = parse(
        CacheArguments, argv, "trace cache", "Prints hit ratios over the trace for one cache that starts empty."
    )
    from jaxmarl_envs.rag.trace import POLICIES, hit_ratio_curve

    recorded = _read(given.folder, given.strict, session)
    stream = recorded.docs[recorded.docs >= 0]
    sizes = recorded.tables["passages_ids"].find(stream) if given.tokens else None
    curves = {
        policy: hit_ratio_curve(policy, stream, given.capacities, sizes).tolist()
        for policy in given.policies or POLICIES
    }
    rows = {str(size): {name: curve[i] for name, curve in curves.items()} for i, size in enumerate(given.capacities)}
    _print_rows(session, "hit ratios by capacity in " + ("tokens" if given.tokens else "passages"), rows)
    return {"references": len(stream), "capacities": list(given.capacities), "hit_ratios": curves}


@dataclasses.dataclass(frozen=True)
class ReplayArguments:
    """The arguments of `trace replay`."""

    url: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="URL")]
    """Base URL of an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1."""
    model: str
    """The model's name at the endpoint."""
    folder: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A trace. Default: one is generated."""
    sessions: int = 100
    """Number of sessions in a generated trace."""
    seed: int = 0
    """Seed of a generated trace."""
    rate: float = 1.0
    """Average requests per second; the gaps of the trace are scaled to it."""
    requests: int = 100
    """Number of requests to send, from the first on."""
    ttft_slo: float = 1.0
    """Objective for the time to the first token, in seconds."""
    tpot_slo: float = 0.02
    """Objective for the time per token after the first, in seconds."""
    timeout: float = 600.0
    """Seconds after which a request counts as failed."""


def _replay(argv: list[str], session: Session) -> Result:
    """Measures the latencies of a real server under the trace's load."""
    given = parse(ReplayArguments, argv, "trace replay", "Sends a trace to an OpenAI-compatible endpoint (open loop).")
    from jaxmarl_envs.rag.trace import generate_trace
    from jaxmarl_envs.rag.trace.replay import ReplayOptions, replay

    options = ReplayOptions(
        given.url, given.model, given.rate, given.requests, given.ttft_slo, given.tpot_slo, given.timeout
    )
    recorded = (
        generate_trace(given.sessions, given.seed) if given.folder is None else _read(given.folder, True, session)
    )
    report = replay(recorded, options, progress=session.note)
    _print_rows(session, "replay", report)
    return report


_COMMANDS: dict[str, tuple[Callable[[list[str], Session], Result], str, str]] = {
    "stats": (_stats, "DIR [--view overlay] [--no-strict]", "print statistics of a trace"),
    "plot": (_plot, "DIR [--out FILE]", "draw statistics of a trace"),
    "generate": (_generate, "DIR [--sessions N] [--seed S]", "write a synthetic trace"),
    "cache": (_cache, "DIR [--capacities C ...] [--tokens]", "print hit ratios of eviction rules"),
    "replay": (_replay, "URL --model NAME [--folder DIR] [--rate R]", "send a trace to a server and measure it"),
}


def _read(folder: Path, strict: bool, session: Session) -> Any:
    """Reads the trace in a folder, and reports skipped lines."""
    from jaxmarl_envs.rag.trace import read_trace

    recorded = read_trace(folder, strict=strict)
    if recorded.counts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(recorded.counts.items()))
        session.note(f"left out {sum(recorded.counts.values())} lines: {kinds}; the first: {recorded.problems[0]}")
    return recorded


def _print_rows(session: Session, title: str, table: dict[str, Any]) -> None:
    """Prints a table of numbers, or of rows of numbers, by name."""
    from jaxmarl_suite.cli._console import print_table

    rows = []
    for name, value in table.items():
        cells = value if isinstance(value, dict) else {"value": value}
        rows.append({"": name, **{column: _cell(cell) for column, cell in cells.items()}})
    console = session.console()
    print_table(console, rows, title=title)
    console.print()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = float(value)
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 1000 else f"{number:.4g}"
