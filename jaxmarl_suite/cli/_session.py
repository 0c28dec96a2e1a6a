"""Where a command's output goes."""

import dataclasses
import sys
from typing import Any

from rich.console import Console

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
