"""Where a command's output goes."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxmarl_suite.cli._errors import PATH_ERRORS

WIDE = 160
"""Columns of a table that goes into a file or a pipe."""


@dataclasses.dataclass(frozen=True)
class Session:
    """The global flags, and a console for people."""

    json: bool = False
    quiet: bool = False
    debug: bool = False

    def console(self) -> Console:
        """Prints for people: to stdout, or to stderr where stdout is for a program."""
        file = sys.stderr if self.json else sys.stdout
        is_terminal = bool(getattr(file, "isatty", lambda: False)())
        return Console(file=file, highlight=False, soft_wrap=False, width=None if is_terminal else WIDE)

    def note(self, text: str) -> None:
        """A line on stderr that is no result; nothing with --quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


Result = dict[str, Any]
"""What a command found, as JSON values."""


@contextlib.contextmanager
def writing(path: Path, option: str = "") -> Iterator[None]:
    """Says of a file that cannot be written which, and whose mistake that is: the user's path, or the machine's failure."""
    try:
        yield
    except OSError as error:
        text = f"{option}{str(path)!r} cannot be written: {error.strerror or error}"
        if error.errno in PATH_ERRORS:
            raise ValueError(text) from None
        raise OSError(error.errno, text) from None
