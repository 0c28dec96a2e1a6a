"""Kills `run` before its first operations on files, and starts it once more: `creation_child.py FOLDER STRIDE`.

Before each of them, or from STRIDE to STRIDE.

Every attempt is a fork of this process, in which JAX has not started yet. Prints a JSON list of what the second start said,
an item for each such operation; the last is null, where there was no operation left to be killed before.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import orbax.checkpoint  # noqa: F401  once, not in every fork
from runner_tools import toy
from runner_toy import registered

from jaxmarl_suite.runner import _train, run

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def kill_before(operation: int, folder: Path) -> None:
    """From now on, SIGKILL before the operation of that number that changes something below `folder`."""
    count = 0

    def hook(event: str, arguments: Any) -> None:
        nonlocal count
        if event not in EVENTS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        count += 1
        if count == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def attempt(folder: Path, operation: int, said: Path) -> int:
    """A start of the run in a process of its own; how it ended."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        if operation:
            kill_before(operation, folder)
        with registered():
            run(toy(), run_dir=folder)
        said.write_text("made")
    except ValueError as error:
        said.write_text(str(error))
    except BaseException:
        said.write_text(traceback.format_exc())
    os._exit(0)


def main() -> None:
    """Until there is nothing left to be killed before."""
    root, found, stride = Path(sys.argv[1]), [], int(sys.argv[2])
    operation = 1 - stride
    _train._run = lambda *_, **__: None  # the run is made, and not trained
    while not found or found[-1] is not None:
        operation += stride
        folder, said = root / str(operation) / "run", root / f"said-{operation}"
        folder.parent.mkdir()
        if attempt(folder, operation, said) == -signal.SIGKILL:
            attempt(folder, 0, said)
            found.append(said.read_text())
        else:
            found.append(None)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
