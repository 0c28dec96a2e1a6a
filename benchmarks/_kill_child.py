"""One training that may kill itself: `train|resume|record FOLDER EXPERIMENT OPERATION`, with the experiment as JSON.

Counts what it does to files of the run folder and of the folder above, and kills itself before the operation of that number
(0: never). Prints "ready" when training may begin, and the number of operations at the end.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "fcntl.flock")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Operations:
    """A hook that counts what changes files below a folder."""

    def __init__(self, folder: Path, last: int) -> None:
        """Kills the process before operation number `last`."""
        self.count, self._folder, self._last = 0, str(folder), last

    def __call__(self, event: str, arguments: Any) -> None:
        """What Python calls before every operation."""
        if event not in _EVENTS or (event == "open" and not arguments[2] & _WRITES):
            return
        path = arguments[0]
        # A number is that of an open file: a lock's.
        if not isinstance(path, int) and not os.fsdecode(path or "").startswith(self._folder):
            return
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Runs the command."""
    command, folder, description, last = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    from jaxmarl_suite import runner

    runner.configure()
    experiment = runner.Experiment.from_json(json.loads(description))
    experiment.groups()
    operations = Operations(folder.parent, last)
    sys.addaudithook(operations)
    print("ready", flush=True)
    try:
        if command == "train":
            runner.run(experiment, run_dir=folder)
        elif command == "resume":
            runner.resume(folder)
        else:
            runner.make_dataset(folder, folder.with_name("recorded"))
    except ValueError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(2)
    print(operations.count, flush=True)


if __name__ == "__main__":
    main()
