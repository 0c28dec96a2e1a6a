"""The commit of the user's project, for the record of a run."""

import subprocess
from pathlib import Path
from typing import Any

_SECONDS = 5.0
"""Time that git gets; on a slow file system its answer is left out."""


def git_state(folder: Path) -> dict[str, Any] | None:
    """`{"commit": ..., "dirty": ...}` of the git checkout that contains `folder`; None if there is none, or git cannot tell.

    The commit is None before the first one. Dirty means that tracked files differ from the commit; files that git does not
    track, such as runs, do not count. Nothing is written, not even git's index.
    """
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, somebody else's, too slow
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    oid = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "(initial)")
    is_dirty = any(not line.startswith("#") for line in lines)
    return {"commit": None if oid == "(initial)" else oid, "dirty": is_dirty}
