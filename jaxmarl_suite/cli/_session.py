"""The output of commands."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxmarl_suite.cli._errors import PATH_ERRORS

WIDE = 160
"""Width in columns of tables that are written to a file or a pipe."""


@dataclasses.dataclass(frozen=True)
class Session:
    """The global flags and the console."""

    json: bool = False
    quiet: bool = False
    debug: bool = False

    def console(self) -> Console:
        """The console for readable output: stdout, or stderr with --json."""
        file = sys.stderr if self.json else sys.stdout
        is_terminal = bool(getattr(file, "isatty", lambda: False)())
        return Console(file=file, highlight=False, soft_wrap=False, width=None if is_terminal else WIDE)

    def note(self, text: str) -> None:
        """Prints a remark to stderr; nothing with --quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


Result = dict[str, Any]
"""The result of a command, as JSON values."""


@contextlib.contextmanager
def writing(path: Path, option: str = "") -> Iterator[None]:
    """Names a file that cannot be written: `ValueError` for an invalid path, `OSError` for a failure of the machine."""
    try:
        yield
    except OSError as error:
        text = f"{option}{str(path)!r} cannot be written: {error.strerror or error}"
        if error.errno in PATH_ERRORS:
            raise ValueError(text) from None
        raise OSError(error.errno, text) from None
