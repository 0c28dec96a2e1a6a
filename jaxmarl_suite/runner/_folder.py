"""The run folder: config.json, versions.json, metrics.jsonl (the source of truth), checkpoints/, summary.json."""

import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxmarl_suite.replay import MACHINE_ERRORS
from jaxmarl_suite.runner import _lock
from jaxmarl_suite.runner._checkpoint import check_storage
from jaxmarl_suite.runner._files import StorageError, is_leftover, read_object, reason, write_whole
from jaxmarl_suite.runner._git import git_state

SCHEMA = 1
TIMINGS = ("compile_seconds", "first_row_seconds")
"""Timings in a summary that a resumed run keeps."""
_WAVES = "checkpoints/waves.json"
_CONFIG = {
    "algorithm": str,
    "env": str,
    "env_options": dict,
    "eval_env_options": dict,
    "config": dict,
    "grid": dict | list,
    "train": dict,
    "wandb": dict,
}
_ABSENT: dict[str, Any] = {"eval_env_options": {}, "wandb": {}}
"""Values for fields that not every run has."""
_ROW = {
    "kind": str,
    "lane": int,
    "point": int,
    "seed": int,
    "phase": str,
    "update": int,
    "env_steps": int,
    "metrics": dict,
}
_SUITE = "jaxmarl-suite"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", _SUITE)


_JAX_FLAGS = (
    "enable_x64",
    "default_matmul_precision",
    "threefry_partitionable",
    "default_prng_impl",
    "random_seed_offset",
)
"""JAX settings that affect numbers."""


def jax_flags() -> dict[str, Any]:
    """The current values, in this thread, of JAX settings that affect numbers; None if this JAX has no such setting."""
    return {name: getattr(jax.config, f"jax_{name}", None) for name in _JAX_FLAGS}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, Any]:
    """What the numbers of a run depend on: packages, platform, devices, JAX settings, and the commit of the project in the
    current folder.
    """
    found: dict[str, Any] = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    devices = jax.devices()
    return found | {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_flags": jax_flags(),
        "git": git_state(Path()),  # not Path.cwd(), which fails where the folder is gone
    }


class RunFolder:
    """One run on disk. Rows are appended and flushed at once; other files are replaced atomically."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """A handle on `path`, which stays valid if the process changes its folder. Nothing is written yet."""
        self.path = Path(path).absolute()
        self.name = str(path)  # as the user typed it

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, with one folder per wave of lanes."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts of finished phases, in folders of the same names."""
        return self.path / "artifacts"

    @property
    def start(self) -> Path:
        """Folder of the artifacts that this run started from, one folder per group."""
        return self.path / "start"

    @classmethod
    @contextlib.contextmanager
    def claim(cls, path: str | os.PathLike[str]) -> Iterator["RunFolder"]:
        """A folder for a new run, created if needed and locked by this process until the block ends.

        It is empty, or contains only the remains of a run that was killed before it had begun, which `begin` replaces.

        Raises:
          ValueError: the path contains anything else, is locked by another process, or cannot be made.
          StorageError: the machine fails, e.g. the disk is full.
        """
        folder = cls(path)
        try:
            folder._refuse_contents()
            folder.path.mkdir(parents=True, exist_ok=True)
            lock = contextlib.ExitStack()
            lock.enter_context(_lock.hold(folder.path))
        except OSError as error:
            raise _unwritable(folder.name, error) from None
        with lock:
            folder._refuse_contents()  # another process may have been faster
            yield folder

    def _refuse_contents(self) -> None:
        if (self.path / "config.json").exists():
            raise ValueError(
                f"run folder {self.name!r} already holds a run; continue it with "
                f'"jaxmarl-suite resume {self.name}", or choose another --run-dir'
            )
        if self.path.exists() and not (self.path.is_dir() and all(map(_is_unborn, self.path.iterdir()))):
            raise ValueError(f"run folder {self.name!r} is not an empty folder; choose another --run-dir")

    def begin(self, config: Mapping[str, Any], starts: Sequence[Callable[[Path], None]] = ()) -> None:
        """Creates the run. config.json is written last: once it exists, the run can be resumed.

        Args:
          config: contents of config.json.
          starts: for each group, a function that writes what the group starts from into a folder.

        Raises:
          ValueError: checkpoints cannot be read back from this folder.
          StorageError: the machine fails, e.g. the disk is full.
        """
        try:
            self.sweep()
            shutil.rmtree(self.start, ignore_errors=True)
            check_storage(self.path)
            for number, write in enumerate(starts):
                write(self.start / f"{number:03d}")
            self.write("versions.json", versions())
            (self.path / "metrics.jsonl").touch()
            self.write("config.json", config)
        except OSError as error:
            raise _unwritable(self.name, error) from None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Opens a folder that contains a run.

        Raises:
          ValueError: it does not contain a run.
        """
        folder = cls(path)
        if not (folder.path / "config.json").is_file():
            raise ValueError(f"{folder.name!r} is not a run folder: it has no config.json")
        return folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the run for this process until the block ends, and removes half-written files of a killed process.

        Raises:
          ValueError: another process is training in it.
        """
        with _lock.hold(self.path):
            self.sweep()
            yield

    @property
    def is_training(self) -> bool:
        """Whether a process is training in it at this moment."""
        return _lock.is_held(self.path)

    def sweep(self) -> None:
        """Removes temporary files of killed processes."""
        for folder in (self.path, self.checkpoints):
            for path in folder.iterdir() if folder.is_dir() else ():
                if is_leftover(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read(self, name: str) -> dict[str, Any]:
        """Reads a JSON file of the folder, which must contain an object."""
        return read_object(self.path / name)

    def read_config(self) -> dict[str, Any]:
        """Reads config.json, and checks its version and its parts.

        Raises:
          ValueError: the file is invalid; its name and the problem are given.
        """
        config = self.read("config.json")
        if config.get("schema") != SCHEMA:
            raise ValueError(
                f"{self.name!r} has schema {config.get('schema')!r}; this version reads {SCHEMA}{self.other_version()}"
            )
        for name, kind in _CONFIG.items():
            if not isinstance(config.get(name, _ABSENT.get(name)), kind):
                wanted, found = getattr(kind, "__name__", kind), config.get(name)
                raise ValueError(
                    f"{self.path / 'config.json'}: {name!r} must be a {wanted}, got {found!r}{self.other_version()}"
                )
        sinks = config.get("sinks", [])
        if not isinstance(sinks, list) or not all(isinstance(sink, str) for sink in sinks):
            raise ValueError(
                f"{self.path / 'config.json'}: 'sinks' must be a list of names, got {sinks!r}{self.other_version()}"
            )
        return config

    def other_version(self) -> str:
        """A note for error messages if another version of the suite wrote this run; empty if none is known to have."""
        try:
            theirs = self.read("versions.json").get(_SUITE)
        except (OSError, ValueError):
            return ""
        ours = _version(_SUITE)
        return "" if theirs in (None, ours) else f"; written by another version ({theirs}; this is {ours})"

    def summary(self) -> dict[str, Any]:
        """Reads summary.json; empty if it is missing or damaged, since a run rewrites it when it ends."""
        try:
            found = self.read("summary.json")
        except (OSError, ValueError):
            return {}
        seconds = [found[name] for name in ("seconds", *TIMINGS) if name in found]
        if not all(type(value) in (int, float) and 0 <= value < math.inf for value in seconds):
            return {}
        return found

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Replaces a JSON file of the folder atomically."""
        write_whole(self.path / name, json.dumps(data, indent=1) + "\n")

    def changed_flags(self) -> str:
        """A warning about JAX settings that have changed since the run began; empty if none are known to have changed."""
        try:
            stored = self.read("versions.json").get("jax_flags")
        except (OSError, ValueError):
            return ""
        here = jax_flags()
        if not isinstance(stored, dict):
            return ""
        changes = [
            f"jax_{name} was {stored[name]!r} and is {here[name]!r}"
            for name in _JAX_FLAGS
            if name in stored and stored[name] != here[name]
        ]
        if not changes:
            return ""
        return f"run {self.name!r} began with other settings of JAX, so numbers may differ: {'; '.join(changes)}"

    def renew_versions(self) -> bool:
        """Writes versions.json if it is missing or damaged; returns whether it did."""
        try:
            self.read("versions.json")
        except (OSError, ValueError):
            self.write("versions.json", versions())
            return True
        return False

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, including repeated ones.

        Raises:
          ValueError: a line is not a row; its number is given.
        """
        path = self.path / "metrics.jsonl"
        found = []
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {number} is not valid JSON: {error}") from None
                if not isinstance(row, dict) or any(type(row.get(name)) is not kind for name, kind in _ROW.items()):
                    raise ValueError(
                        f"{path}, line {number} is not a row of a run: {line[:80].decode(errors='replace')}"
                    )
                found.append(row)
        return found

    def wave_size(self, group: int, lanes: int) -> int | None:
        """How many of a group's lanes run at once, which a resumed run keeps. None if not chosen yet.

        Args:
          group: number of the group.
          lanes: how many lanes it has.

        Raises:
          ValueError: the file contains an invalid value.
        """
        sizes = self._wave_sizes()
        size = sizes.get(str(group))
        if str(group) in sizes and not (type(size) is int and 1 <= size <= lanes):
            raise ValueError(
                f"{self.path / _WAVES}: {str(group)!r} must be a number of lanes from 1 to {lanes}, got {size!r}"
            )
        return size

    def _wave_sizes(self) -> dict[str, Any]:
        return self.read(_WAVES) if (self.path / _WAVES).exists() else {}

    def set_wave_size(self, group: int, size: int) -> None:
        """Records how many lanes of a group run at once."""
        if (sizes := self._wave_sizes()).get(str(group)) != size:
            self.checkpoints.mkdir(exist_ok=True)
            self.write(_WAVES, {**sizes, str(group): size})

    @staticmethod
    def wave_name(group: int, first: int) -> str:
        """The name of a wave's folders: its group and its first lane."""
        return f"{group:03d}-{first:05d}"

    def waves(self, group: int, lanes: int) -> list[tuple[int, Path]]:
        """The folders of a group's checkpoints, each with its first lane; other folders are ignored."""
        paths = sorted(self.checkpoints.iterdir()) if self.checkpoints.is_dir() else []
        names = [(re.fullmatch(rf"{group:03d}-([0-9]{{5,}})", path.name), path) for path in paths if path.is_dir()]
        return [(int(name[1]), path) for name, path in names if name is not None and int(name[1]) < lanes]

    @property
    def is_untrained(self) -> bool:
        """Whether the run has neither rows nor checkpoints."""
        rows = self.path / "metrics.jsonl"
        return not self.checkpoints.exists() and not (rows.exists() and rows.stat().st_size)

    def discard(self) -> None:
        """Removes a run that was rejected before its first row; any other run is kept."""
        if self.is_untrained:
            shutil.rmtree(self.start, ignore_errors=True)
            for name in ("config.json", "versions.json", "metrics.jsonl", _lock.NAME):
                (self.path / name).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def cut_torn_line(self) -> None:
        """Drops an unfinished last line of metrics.jsonl, left by a killed process."""
        path = self.path / "metrics.jsonl"
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def _is_unborn(path: Path) -> bool:
    """Whether a file may be the remains of a run that was killed before it had begun."""
    if path.name == "metrics.jsonl":
        return path.is_file() and not path.stat().st_size
    if path.name == "start":  # a user's folder of this name contains something other than checkpoints numbered 0
        inside = [*path.glob("*"), *path.glob("*/*")]
        return all(re.fullmatch(r"[0-9]{3,}|0(\..*)?", one.name) and one.is_dir() for one in inside) and path.is_dir()
    return path.name in ("versions.json", _lock.NAME) or is_leftover(path.name)


def _unwritable(name: str, error: OSError) -> Exception:
    text = f"run folder {name!r} cannot be written: {reason(error)}"
    return StorageError(text) if error.errno in MACHINE_ERRORS else ValueError(text)


def default_run_dir(algorithm: str, env: str) -> Path:
    """`runs/ENV-ALGORITHM-NNN` with the first free number. It is created now, so that no other process gets the same.

    Raises:
      ValueError: it cannot be made.
    """
    stem = f"{env.replace('/', '-')}-{algorithm}"
    try:
        Path("runs").mkdir(exist_ok=True)
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                (path := Path("runs") / f"{stem}-{number:03d}").mkdir()
                return path
    except OSError as error:
        raise _unwritable("runs", error) from None
    raise AssertionError("unreachable: there are enough numbers")
