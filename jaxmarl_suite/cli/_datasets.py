"""`dataset`: makes, lists, imports and exports datasets. Each command imports what it needs when it is called."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.text import Text

from jaxmarl_suite.cli._console import print_table
from jaxmarl_suite.cli._parse import PROG, parse, take_env_options
from jaxmarl_suite.cli._session import Result, Session

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]


def dataset(argv: list[str], session: Session) -> Result:
    """Dispatches to one of the commands below."""
    if not argv or argv[0] in ("-h", "--help"):
        console = session.console()
        console.print(
            f"usage: {PROG} dataset COMMAND [...]    [dim]{PROG} dataset COMMAND --help lists its options[/]\n"
        )
        for name, (_, usage, summary) in _COMMANDS.items():
            console.print(Text.assemble(f"  {name:8} {summary}\n           ", (usage, "dim")))
        return {"commands": list(_COMMANDS)}
    if argv[0] not in _COMMANDS:
        near = difflib.get_close_matches(argv[0], _COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown command 'dataset {argv[0]}'; {hint}there are: {', '.join(_COMMANDS)}")
    return _COMMANDS[argv[0]][0](argv[1:], session)


@dataclasses.dataclass(frozen=True)
class MakeArguments:
    """The arguments of `dataset make`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder; the run may be unfinished."""
    folder: Folder
    """A new folder for the dataset."""
    tier: str = "replay"
    """replay: that of the newest checkpoint. Of a run with --lasting-checkpoints: random, medium, medium-replay, expert,
    medium-expert."""
    steps: int = 50_000
    """Steps to play; a replay is stored as it is."""
    lane: int = 0
    """The lane whose policies play."""
    seed: int = 0
    """Seed of the episodes."""


def _make(argv: list[str], session: Session) -> Result:
    given = parse(MakeArguments, argv, "dataset make", "Stores a dataset made from a run's replay or policies.")
    from jaxmarl_suite import runner

    card = runner.make_dataset(
        given.run,
        given.folder,
        tier=given.tier,
        steps=given.steps,
        lane=given.lane,
        seed=given.seed,
        warn=session.note,
    )
    return _show(given.folder, card, session)


@dataclasses.dataclass(frozen=True)
class CardArguments:
    """The arguments of `dataset card`."""

    folder: Folder
    """The dataset."""


def _card(argv: list[str], session: Session) -> Result:
    given = parse(CardArguments, argv, "dataset card", "Prints where a dataset comes from, its size and returns.")
    from jaxmarl_suite.replay import read_vault

    return _show(given.folder, read_vault(given.folder).about, session)


@dataclasses.dataclass(frozen=True)
class ListArguments:
    """The arguments of `dataset list`."""

    folder: Folder = Path("data")
    """A folder with datasets in it, at any depth."""


def _list(argv: list[str], session: Session) -> Result:
    given = parse(ListArguments, argv, "dataset list", "Lists the datasets below a folder.")
    from jaxmarl_suite.replay import KIND, find_vaults

    if not given.folder.is_dir():
        raise ValueError(f"no folder {str(given.folder)!r}")
    found, damaged = find_vaults(given.folder)
    for problem in damaged:
        session.note(problem)
    cards = [(path, about) for path, about in found if about.get("kind") == KIND]
    print_table(session.console(), [_row(path, about) for path, about in cards])
    return {"datasets": [{"folder": str(path), **about} for path, about in cards], "damaged": damaged}


@dataclasses.dataclass(frozen=True)
class ImportArguments:
    """The arguments of `dataset import`."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A .npz or .hdf5 file, by episode as Minari or flat as D4RL."""
    folder: Folder
    """A new folder for the dataset."""
    env: Annotated[str, tyro.conf.arg(metavar="ID")]
    """The environment of the episodes."""


def _import(argv: list[str], session: Session) -> Result:
    env_options, rest = take_env_options(argv)
    about = "Stores the episodes of a file as a dataset. Options of the environment: --env.NAME VALUE"
    given = parse(ImportArguments, rest, "dataset import", about)
    from jaxmarl_suite import runner

    card = runner.import_dataset(given.file, given.folder, env=given.env, env_options=env_options)
    return _show(given.folder, card, session)


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """The arguments of `dataset export`."""

    folder: Folder
    """The dataset."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A new .npz file."""


def _export(argv: list[str], session: Session) -> Result:
    given = parse(ExportArguments, argv, "dataset export", "Writes a dataset to a .npz file, by episode.")
    from jaxmarl_suite import runner

    episodes = runner.export_dataset(given.folder, given.file)
    session.console().print(f"{episodes:,} episodes in {given.file}", markup=False)
    return {"folder": str(given.folder), "file": str(given.file), "episodes": episodes}


def _row(path: Path, about: Mapping[str, Any]) -> dict[str, str]:
    def number(value: Any, digits: int = 1) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    returns = about.get("returns") or {}
    return {
        "dataset": str(path),
        "environment": str(about.get("env")),
        "tier": str(about.get("tier")),
        "steps": f"{about.get('size', 0):,}",
        "episodes": f"{about.get('episodes', 0):,}",
        "return": number(returns.get("mean"), 2),
        "std": number(returns.get("std"), 2),
        "min": number(returns.get("min"), 2),
        "max": number(returns.get("max"), 2),
        "score": number(about.get("score")),
    }


def _show(path: Path, about: Mapping[str, Any], session: Session) -> Result:
    """Prints a card."""
    print_table(session.console(), [_row(path, about)])
    if not session.quiet:
        command = f"{PROG} train ALGO --env {about['env']} --data {path}"
        session.console().print(Text.assemble((command, "dim"), "  learns from it only"))
    return {"folder": str(path), **about}


_COMMANDS: dict[str, tuple[Callable[[list[str], Session], Result], str, str]] = {
    "make": (_make, "RUN FOLDER [--tier TIER] [--steps N]", "record a run's replay, or its policies at play"),
    "card": (_card, "FOLDER", "origin, size, returns, score and digests; checks the data"),
    "list": (_list, "[FOLDER]", "the datasets below a folder"),
    "import": (_import, "FILE FOLDER --env ID", "episodes of another program"),
    "export": (_export, "FOLDER FILE.npz", "episodes for another program"),
}
