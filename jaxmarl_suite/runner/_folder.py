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

SCHEMA = 1
TIMINGS = ("compile_seconds", "first_row_seconds")
"""Seconds of a summary that a resumed run keeps."""
_WAVES = "checkpoints/waves.json"
_CONFIG = {
    "algorithm": str,
    "env": str,
    "env_options": dict,
    "eval_env_options": dict,
    "config": dict,
    "grid": dict,
    "train": dict,
}
_ABSENT: dict[str, Any] = {"eval_env_options": {}}
"""What versions before did not write."""
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
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jaxmarl-suite")


_JAX_FLAGS = (
    "enable_x64",
    "default_matmul_precision",
    "threefry_partitionable",
    "default_prng_impl",
    "random_seed_offset",
)
"""Settings of JAX that change numbers."""


def jax_flags() -> dict[str, Any]:
    """The settings of JAX that change numbers, as they are in this thread now; None where this JAX has none of the name."""
    return {name: getattr(jax.config, f"jax_{name}", None) for name in _JAX_FLAGS}


def versions() -> dict[str, Any]:
    """What the numbers of a run depend on: packages, platform, devices, settings of JAX."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
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
    }


class RunFolder:
    """One run on disk. Rows are appended and flushed as they come; the other files are replaced whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """A handle on `path`, wherever the process goes from here on; nothing is written yet."""
        self.path = Path(path).absolute()
        self.name = str(path)  # as the user knows it

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie, one folder per wave of lanes."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Where the artifacts of phases lie that are over, in folders of the same names."""
        return self.path / "artifacts"

    @property
    def start(self) -> Path:
        """Where the artifacts of another run lie that this one started from, one folder per group."""
        return self.path / "start"

    @classmethod
    @contextlib.contextmanager
    def claim(cls, path: str | os.PathLike[str]) -> Iterator["RunFolder"]:
        """A folder for a new run, made where there is none, that is this process's until the block ends.

        Nothing is in it but what a run leaves that was killed before it had begun: `begin` replaces that.

        Raises:
          ValueError: where the path holds anything else, is another process's, or cannot be made.
          StorageError: the machine fails, as by a full disk.
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
        """Makes the run; with config.json, the last of its files, it is there and can be resumed.

        Args:
          config: its contents.
          starts: for each group, writes into a folder what the group starts from.

        Raises:
          ValueError: where checkpoints cannot be read back from here.
          StorageError: the machine fails, as by a full disk.
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
        """A folder that holds a run.

        Raises:
          ValueError: where it does not.
        """
        folder = cls(path)
        if not (folder.path / "config.json").is_file():
            raise ValueError(f"{folder.name!r} is not a run folder: it has no config.json")
        return folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The run is this process's until the block ends; what a killed one left half-written is gone.

        Raises:
          ValueError: another process trains in it.
        """
        with _lock.hold(self.path):
            self.sweep()
            yield

    def sweep(self) -> None:
        """Removes temporary files of processes that were killed."""
        for folder in (self.path, self.checkpoints):
            for path in folder.iterdir() if folder.is_dir() else ():
                if is_leftover(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder, which holds an object."""
        return read_object(self.path / name)

    def read_config(self) -> dict[str, Any]:
        """config.json, of this version and with all its parts.

        Raises:
          ValueError: naming the file and what is wrong with it.
        """
        config = self.read("config.json")
        if config.get("schema") != SCHEMA:
            raise ValueError(f"{self.name!r} has schema {config.get('schema')!r}; this version reads {SCHEMA}")
        for name, kind in _CONFIG.items():
            if not isinstance(config.get(name, _ABSENT.get(name)), kind):
                raise ValueError(
                    f"{self.path / 'config.json'}: {name!r} must be a {kind.__name__}, got {config.get(name)!r}"
                )
        sinks = config.get("sinks", [])
        if not isinstance(sinks, list) or not all(isinstance(sink, str) for sink in sinks):
            raise ValueError(f"{self.path / 'config.json'}: 'sinks' must be a list of names, got {sinks!r}")
        return config

    def summary(self) -> dict[str, Any]:
        """summary.json; empty where there is none that can be read: a run writes it anew when it ends."""
        try:
            found = self.read("summary.json")
        except (OSError, ValueError):
            return {}
        seconds = [found[name] for name in ("seconds", *TIMINGS) if name in found]
        if not all(type(value) in (int, float) and 0 <= value < math.inf for value in seconds):
            return {}
        return found

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Replaces a JSON file of the folder, whole or not at all."""
        write_whole(self.path / name, json.dumps(data, indent=1) + "\n")

    def changed_flags(self) -> str:
        """A warning of JAX's settings that are others than when the run began; empty where none is known to be."""
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
        """Writes versions.json where there is none that can be read; whether it had to."""
        try:
            self.read("versions.json")
        except (OSError, ValueError):
            self.write("versions.json", versions())
            return True
        return False

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, repeated ones included.

        Raises:
          ValueError: naming the line that is none.
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
        """How many of a group's lanes run at once: a resumed run does not choose again. None where it has not chosen yet.

        Args:
          group: its number.
          lanes: how many it has.

        Raises:
          ValueError: where the file says something else.
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
        """Writes down how many lanes of a group run at once."""
        if (sizes := self._wave_sizes()).get(str(group)) != size:
            self.checkpoints.mkdir(exist_ok=True)
            self.write(_WAVES, {**sizes, str(group): size})

    @staticmethod
    def wave_name(group: int, first: int) -> str:
        """The name of the folders of a wave: its group and the first of its lanes there."""
        return f"{group:03d}-{first:05d}"

    def waves(self, group: int, lanes: int) -> list[tuple[int, Path]]:
        """The folders of a group's checkpoints, each with the first of its lanes; whatever else lies there is left out."""
        paths = sorted(self.checkpoints.iterdir()) if self.checkpoints.is_dir() else []
        names = [(re.fullmatch(rf"{group:03d}-([0-9]{{5,}})", path.name), path) for path in paths if path.is_dir()]
        return [(int(name[1]), path) for name, path in names if name is not None and int(name[1]) < lanes]

    @property
    def is_untrained(self) -> bool:
        """Whether the run has neither rows nor checkpoints."""
        rows = self.path / "metrics.jsonl"
        return not self.checkpoints.exists() and not (rows.exists() and rows.stat().st_size)

    def discard(self) -> None:
        """Removes a run that was refused before its first row; anything else stays."""
        if self.is_untrained:
            shutil.rmtree(self.start, ignore_errors=True)
            for name in ("config.json", "versions.json", "metrics.jsonl", _lock.NAME):
                (self.path / name).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def cut_torn_line(self) -> None:
        """Drops a last line of metrics.jsonl that a killed process left unfinished."""
        path = self.path / "metrics.jsonl"
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def _is_unborn(path: Path) -> bool:
    """Whether a file is one that a run leaves which is killed before it has begun."""
    if path.name == "metrics.jsonl":
        return path.is_file() and not path.stat().st_size
    if path.name == "start":  # a user's folder of this name holds something else than checkpoints numbered 0
        inside = [*path.glob("*"), *path.glob("*/*")]
        return all(re.fullmatch(r"[0-9]{3,}|0(\..*)?", one.name) and one.is_dir() for one in inside) and path.is_dir()
    return path.name in ("versions.json", _lock.NAME) or is_leftover(path.name)


def _unwritable(name: str, error: OSError) -> Exception:
    text = f"run folder {name!r} cannot be written: {reason(error)}"
    return StorageError(text) if error.errno in MACHINE_ERRORS else ValueError(text)


def default_run_dir(algorithm: str, env: str) -> Path:
    """`runs/ENV-ALGORITHM-NNN` with the first number that is free, made now: no other process gets the same.

    Raises:
      ValueError: where it cannot be made.
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
