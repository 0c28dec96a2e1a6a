"""Atomic file writes, and temporary names unique to a process."""

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from jaxmarl_suite.replay import machine_error

_LEFTOVER = re.compile(r"([a-z]+(\.json)?\.[0-9]+-[0-9a-f]{8}|config|versions|summary|waves)\.tmp")
"""Matches names from `own_name`, and those of earlier versions."""


class StorageError(RuntimeError):
    """A file could not be written. The previous contents are intact."""


def own_name(name: str) -> str:
    """A temporary name for `name` that only this process uses."""
    return f"{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def is_leftover(name: str) -> bool:
    """Whether `name` is such a temporary name, left by a killed process. Only valid where nobody else writes."""
    return _LEFTOVER.fullmatch(name) is not None


def write_whole(path: Path, text: str) -> None:
    """Replaces a file atomically, even if the machine loses power.

    Raises:
      OSError: with the file's name; no temporary file is left.
    """
    temporary = path.with_name(own_name(path.name))
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      ValueError: the file contains something else; its name is given.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, found {type(content).__name__}")
    return content


def move_aside(path: Path, ending: str) -> Path:
    """Renames a folder by adding `ending` and, if that name exists, a number; returns the new path."""
    number = 1
    while True:
        target = path.with_name(f"{path.name}.{ending}{number if number > 1 else ''}")
        try:
            if not target.exists():
                return path.rename(target)
        except OSError:  # another process has taken the name since
            if not target.exists():
                raise
        number += 1


def reason(error: BaseException) -> str:
    """What went wrong, in one line; for system errors, the system's own words."""
    if found := machine_error(error):
        return found.strerror or str(found)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
