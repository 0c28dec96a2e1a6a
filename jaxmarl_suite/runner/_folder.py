"""The run folder: config.json, versions.json, metrics.jsonl (the source of truth), checkpoints/, summary.json."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

SCHEMA = 1
_CONFIG = {"algorithm": str, "env": str, "env_options": dict, "config": dict, "grid": dict, "train": dict}
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jaxmarl-suite")


def versions() -> dict[str, Any]:
    """What the numbers of a run depend on: packages, platform, devices."""
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
    }


class RunFolder:
    """One run on disk. Rows are appended and flushed as they come; the other files are replaced whole."""

    def __init__(self, path: Path) -> None:
        """A handle on `path`; nothing is written yet."""
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie, a folder a wave of lanes."""
        return self.path / "checkpoints"

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """A new, empty run folder.

        Raises:
          ValueError: where the path holds anything already, or cannot be written.
        """
        folder = cls(Path(path))
        try:
            if (folder.path / "config.json").exists():
                raise ValueError(
                    f"run folder {str(path)!r} already holds a run; continue it with "
                    f'"jaxmarl-suite resume {path}", or choose another --run-dir'
                )
            if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
                raise ValueError(f"run folder {str(path)!r} is not an empty folder; choose another --run-dir")
            folder.path.mkdir(parents=True, exist_ok=True)
            (folder.path / "metrics.jsonl").touch()
        except OSError as error:
            raise ValueError(f"run folder {str(path)!r} cannot be written: {error.strerror or error}") from None
        return folder

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """A folder that holds a run.

        Raises:
          ValueError: where it does not.
        """
        folder = cls(Path(path))
        if not (folder.path / "config.json").is_file():
            raise ValueError(f"{str(path)!r} is not a run folder: it has no config.json")
        return folder

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder, which holds an object."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.path / name} is not valid JSON: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"{self.path / name} must hold a JSON object, found {type(content).__name__}")
        return content

    def read_config(self) -> dict[str, Any]:
        """config.json, of this version and with all its parts.

        Raises:
          ValueError: naming the file and what is wrong with it.
        """
        config = self.read("config.json")
        if config.get("schema") != SCHEMA:
            raise ValueError(f"{str(self.path)!r} has schema {config.get('schema')!r}; this version reads {SCHEMA}")
        for name, kind in _CONFIG.items():
            if not isinstance(config.get(name), kind):
                raise ValueError(
                    f"{self.path / 'config.json'}: {name!r} must be a {kind.__name__}, got {config.get(name)!r}"
                )
        return config

    def summary(self) -> dict[str, Any]:
        """summary.json; empty where there is none yet."""
        return self.read("summary.json") if (self.path / "summary.json").is_file() else {}

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Replaces a JSON file of the folder, whole or not at all."""
        temporary = (self.path / name).with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path / name)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, repeated ones included."""
        with (self.path / "metrics.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def wave_sizes(self) -> dict[str, int]:
        """How many lanes of each group run at once, by the group's number: a resumed run does not choose again."""
        return self.read("checkpoints/waves.json") if (self.checkpoints / "waves.json").exists() else {}

    def set_wave_size(self, group: int, size: int) -> None:
        """Writes down how many lanes of a group run at once."""
        self.checkpoints.mkdir(exist_ok=True)
        self.write("checkpoints/waves.json", {**self.wave_sizes(), str(group): size})

    def discard(self) -> None:
        """Removes a run that was refused before its first row; anything else stays."""
        if not (self.path / "metrics.jsonl").stat().st_size and not self.checkpoints.exists():
            for name in ("config.json", "versions.json", "metrics.jsonl"):
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


def default_run_dir(algorithm: str, env: str) -> Path:
    """`runs/ENV-ALGORITHM-NNN`, the first that does not exist."""
    stem = f"{env.replace('/', '-')}-{algorithm}"
    number = 1
    while (path := Path("runs") / f"{stem}-{number:03d}").exists():
        number += 1
    return path
