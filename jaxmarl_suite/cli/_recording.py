"""`record`: stores a run's replay in a folder, for other runs to learn from."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from rich.text import Text

from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session


@dataclasses.dataclass(frozen=True)
class RecordArguments:
    """The arguments of `record`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder of a method with replay; the run may be unfinished."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A new folder for the replay."""
    lane: int = 0
    """The lane whose replay is stored."""


def record(argv: list[str], session: Session) -> Result:
    """Stores one lane's replay."""
    given = parse(RecordArguments, argv, "record", "Stores the replay in a run's newest checkpoint.")
    from jaxmarl_suite import runner

    size = runner.record(given.run, given.folder, lane=given.lane, warn=session.note)
    session.console().print(f"{size:,} sequences in {given.folder}", markup=False)
    if not session.quiet:
        command = f"{PROG} train ALGO --env ID --data {given.folder}"
        session.console().print(Text.assemble((command, "dim"), "  learns from them only"))
    return {"run_dir": str(given.run), "folder": str(given.folder), "sequences": size}
