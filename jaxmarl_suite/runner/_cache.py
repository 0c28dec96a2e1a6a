"""Compiled programs on disk. The cache is optional: problems with it never stop a run."""

import contextlib
import importlib
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import jax

VARIABLE = "JAXMARL_SUITE_CACHE"
_ENDING = "-cache"
_STAMP = "checked"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def use_cache() -> None:
    """Makes JAX keep compiled programs in the folder named by `JAXMARL_SUITE_CACHE`, or in the home folder.

    Does nothing if JAX has a cache folder already or the variable is `off`. If the folder does not exist and cannot be
    made, a warning says so, and every process compiles its programs.
    """
    if os.environ.get(VARIABLE) == "off" or jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        folder = Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "jaxmarl_suite" / "xla").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"{str(folder)!r} cannot be written")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        warnings.warn(
            f"compiled programs are not kept on disk: {error}; set {VARIABLE} to another folder, or to 'off'",
            stacklevel=2,
        )
        return
    drop_torn_entries(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_torn_entries(folder: Path) -> None:
    """Removes programs that a killed process or a full disk left half-written: JAX cannot read them, and does not
    replace them.

    Only files written since the last call are checked; a file in the folder records the time of that call.
    """
    with contextlib.suppress(OSError):
        stamp = folder / _STAMP
        since = stamp.stat().st_mtime if stamp.exists() else 0.0
        stamp.touch()  # before the check: files written during it are checked next time
        for entry in os.scandir(folder):
            if entry.name.endswith(_ENDING) and entry.stat().st_mtime >= since and not _is_whole(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether an entry can be unpacked; also True if the library that JAX packed it with is missing here."""
    data = path.read_bytes()
    if not data.startswith(_ZSTANDARD):
        return _unpacks(zlib.decompress, data)
    for module in ("compression.zstd", "zstandard"):  # as JAX looks for them
        with contextlib.suppress(ImportError):
            return _unpacks(importlib.import_module(module).decompress, data)
    return True


def _unpacks(decompress: Callable[[bytes], bytes], data: bytes) -> bool:
    try:
        decompress(data)
    except Exception:  # each library raises its own kind
        return False
    return True
