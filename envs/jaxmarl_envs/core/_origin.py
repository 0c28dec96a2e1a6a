"""Finds where in user code an exception was raised."""

import sysconfig
import traceback
from pathlib import Path

_INSTALLED = tuple(Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "purelib", "platlib"))
_OURS = ("jaxmarl_envs", "jaxmarl_suite")


def origin(error: BaseException) -> str:
    """`FILE:LINE, in FUNCTION` of the deepest call that is neither in an installed package nor in the suite; "" for none."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        code, package = frame.f_code, str(frame.f_globals.get("__name__")).split(".")[0]
        path = Path(code.co_filename).resolve()
        is_theirs = package in _OURS or any(path.is_relative_to(folder) for folder in _INSTALLED)
        if not is_theirs and not code.co_filename.startswith("<"):
            shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            return f"{shown}:{line}, in {code.co_name}"
    return ""
