"""Dispatch, global flags, exit codes. Imports nothing heavy, so that `--help` is fast."""

import contextlib
import difflib
import importlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxmarl_suite.cli._errors import PATH_ERRORS

PROG = "jaxmarl-suite"
USER_ERROR, FAILURE, INTERRUPTED = 2, 1, 130

COMMANDS: dict[str, dict[str, tuple[str, str, str]]] = {
    "Train": {
        "train": ("_training", "ALGO --env ID [--seeds N] [--total-steps N]", "train an algorithm, all seeds at once"),
        "sweep": ("_training", "ALGO --env ID --grid FIELD=A,B ...", "train a grid of settings, with seeds for each"),
        "tune": ("_tuning", "ALGO --env ID --space FIELD=LOW:HIGH:log ...", "search settings by successive halving"),
        "resume": ("_training", "RUN", "continue a run that was interrupted or killed"),
        "plan": ("_planning", "ALGO --env ID [--seeds N] [--grid ...]", "compile only: seconds, memory, what is logged"),
    },
    "Inspect runs": {
        "runs": ("_runs", "[FOLDER]", "list runs with their progress, status and last return"),
        "eval": ("_evaluating", "RUN [--render FILE] | --env ID [--rule NAME ...]", "evaluate a run's policies, or rules"),
        "model": ("_model", "RUN [--out FILE]", "test a run's world model against its environment"),
        "export-policy": ("_deploying", "RUN FOLDER [--lane N]", "write a trained policy as files that run with JAX alone"),
        "plot": ("_results", "RUN... [--out FILE]", "draw learning curves"),
        "table": ("_results", "RUN...", "print results with confidence intervals"),
        "export": ("_results", "RUN... --out FILE", "write results for other tools: CSV, marl-eval, rliable"),
    },
    "Environments, algorithms, tools": {
        "dataset": ("_datasets", "make|card|list|import|export [...]", "data to train from: of runs, of files"),
        "envs": ("_catalogue", "[--family F] [--check MODULE:CLASS]", "list environments, or check your own"),
        "recipes": ("_recipes", "[NAME]", "list tuned settings, or show one with its source and results"),
        "reproduce": ("_recipes", "NAME [--seeds N]", "train a recipe again and compare with its stored result"),
        "algos": ("_catalogue", "[NAME]", "list algorithms, or the settings of one"),
        "bench": ("_bench", "[NAME ...]", "measure throughput, compile time, memory"),
        "trace": ("_trace", "stats|plot|generate|cache|replay [...]", "RAG workloads: inspect, generate, replay"),
    },
}  # fmt: skip
GLOBAL_FLAGS = {
    "--json": "the last line of stdout is one JSON object; everything else goes to stderr",
    "--quiet": "print no progress and no remarks",
    "--debug": "print errors with their full traceback",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0, 1 (failure), 2 (user error) or 130 (interrupted)."""
    with _escaping(sys.stdout), _escaping(sys.stderr):
        return _main(list(sys.argv[1:] if argv is None else argv))


@contextlib.contextmanager
def _escaping(stream: Any) -> Iterator[None]:
    """Escapes characters that the stream's encoding cannot represent: file names may contain any bytes."""
    errors = getattr(stream, "errors", None)
    if not hasattr(stream, "reconfigure") or errors is None:
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def _main(argv: list[str]) -> int:
    flags, argv = _take_global_flags(argv)
    command = argv[0] if argv else "--help"
    if command in ("-h", "--help", "help"):
        _print_help()
        return 0
    if command == "--version":
        print(f"{PROG} {_version()}")
        return 0
    stdout, outcome = sys.stdout, {"command": command}
    redirect: Any = contextlib.redirect_stdout(sys.stderr) if flags["--json"] else contextlib.nullcontext()
    with redirect:
        code, result = _guarded(lambda: _run(command, argv[1:], flags), flags["--debug"])
    if flags["--json"] and result is not None:
        print(json.dumps(_plain({**outcome, "exit_code": code, **result})), file=stdout, flush=True)
    return code


def _take_global_flags(argv: list[str]) -> tuple[dict[str, bool], list[str]]:
    """Takes the global flags at any position, but not after `bench NAME`, because scripts have their own flags."""
    words = [index for index, word in enumerate(argv) if not word.startswith("-")]
    end = len(argv)
    if words and argv[words[0]] == "bench":
        end = words[1] if len(words) > 1 else end
    head, tail = argv[:end], argv[end:]
    return {flag: flag in head for flag in GLOBAL_FLAGS}, [a for a in head if a not in GLOBAL_FLAGS] + tail


def _run(command: str, argv: list[str], flags: dict[str, bool]) -> dict[str, Any]:
    modules = {name: entry[0] for group in COMMANDS.values() for name, entry in group.items()}
    if command not in modules:
        kind = "option" if command.startswith("-") else "command"
        near = difflib.get_close_matches(command, modules, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f'unknown {kind} {command!r}; {hint}there are: {", ".join(modules)}; see "{PROG} --help"')
    from jaxmarl_suite.cli._session import Session

    session = Session(json=flags["--json"], quiet=flags["--quiet"], debug=flags["--debug"])
    module = importlib.import_module(f"jaxmarl_suite.cli.{modules[command]}")
    run: Callable[[list[str], Session], dict[str, Any]] = getattr(module, command.replace("-", "_"))
    return run(argv, session)


def _guarded(run: Callable[[], dict[str, Any]], debug: bool) -> tuple[int, dict[str, Any] | None]:
    """Exit code and JSON result of `run`, including its errors. None if there is nothing to report (only help)."""
    try:
        return 0, run()
    except SystemExit as error:  # the help text of a command
        return (error.code if isinstance(error.code, int) else 0), None
    except KeyboardInterrupt:
        return INTERRUPTED, _report(
            "interrupted", "stopped at once; nothing was saved since the last checkpoint", debug
        )
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141, None
    except ValueError as error:
        return USER_ERROR, _report("error", str(error), debug)
    except OSError as error:
        if error.filename is None or error.errno not in PATH_ERRORS:
            return FAILURE, _report("error", f"{type(error).__name__}: {error}", debug)
        return USER_ERROR, _report("error", f"{str(error.filename)!r}: {error.strerror}", debug)
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("jaxmarl_suite.")}
        if "Interrupted" in kinds:
            return INTERRUPTED, _report("interrupted", str(error), debug)
        if kinds & {"Diverged", "StorageError"}:
            return FAILURE, _report("error", str(error), debug)
        if debug:
            return FAILURE, _report("error", f"{type(error).__name__}: {error}", debug)
        text = (str(error).strip().splitlines() or [""])[0]
        if "TracingError" in kinds:
            return FAILURE, _report("error", f"{text} (run with --debug for the traceback)", debug)
        return FAILURE, _report("error", f"{type(error).__name__}: {text} (run with --debug for the traceback)", debug)


def _report(label: str, text: str, debug: bool) -> dict[str, Any]:
    if debug:
        traceback.print_exc()
    print(f"{label}: {text}", file=sys.stderr, flush=True)
    return {label: text}


def _plain(value: Any) -> Any:
    """Converts to JSON values: numbers that JSON cannot represent become null, unknown types become text."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):  # NumPy numbers
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(PROG)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _print_help() -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"[bold]{PROG}[/] [dim]{_version()}[/]  cooperative multi-agent RL as one compiled program\n")
    console.print(f"usage: {PROG} COMMAND [...]    [dim]{PROG} COMMAND --help lists a command's options[/]")
    for title, commands in COMMANDS.items():
        console.print(f"\n[bold]{title}[/]")
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=8, no_wrap=True)
        table.add_column(ratio=1)
        for name, (_, usage, summary) in commands.items():
            table.add_row(Text(f"  {name}", "cyan"), Text.assemble(summary, ("\n" + usage, "dim")))
        console.print(table)
    console.print("\n[bold]For every command[/]")
    table = Table.grid(padding=(0, 2))
    for flag, summary in GLOBAL_FLAGS.items():
        table.add_row(Text(f"  {flag}", "cyan"), summary)
    console.print(table)
    console.print(f"\n[dim]first run:[/] {PROG} train mappo --env matrix/climbing --seeds 8")
