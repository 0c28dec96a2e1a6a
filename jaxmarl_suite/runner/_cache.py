"""Compiled programs on disk: an optional help, so that nothing which is wrong with it stops a run."""

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
    """Has JAX keep compiled programs in the folder that `JAXMARL_SUITE_CACHE` names, or below the home folder.

    Does nothing where JAX has a folder already or the variable is `off`. Where there is no such folder and none can be made,
    a warning says so, and programs are compiled in every process.
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
            f"compiled programs are not kept on disk: {error}; {VARIABLE} may name another folder, or be 'off'",
            stacklevel=2,
        )
        return
    drop_torn_entries(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_torn_entries(folder: Path) -> None:
    """Removes programs that a killed process or a full disk left half-written: JAX reads them in vain, and keeps them.

    Looked at are those that were written since this was done last, of which a file in the folder keeps the time.
    """
    with contextlib.suppress(OSError):
        stamp = folder / _STAMP
        since = stamp.stat().st_mtime if stamp.exists() else 0.0
        stamp.touch()  # before looking: what is written meanwhile is for the next time
        for entry in os.scandir(folder):
            if entry.name.endswith(_ENDING) and entry.stat().st_mtime >= since and not _is_whole(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether an entry can be unpacked; where what JAX packed it with is missing here, yes."""
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
    except Exception:  # of each library's own kind
        return False
    return True
