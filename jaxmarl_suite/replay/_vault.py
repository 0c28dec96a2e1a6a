"""Stored data: flashbax Vaults of recorded experience, with a description (card) of its origin."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmarl_suite.replay._storage import machine_error, plain_path

SCHEMA = 3
_NAME, _UID = "replay", "0"
_URL_MARKS = "?#%\\"
"""Characters with a meaning in the addresses that name Vaults; TensorStore also treats a backslash as a slash."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The contents of a Vault: M items, oldest first, and their description."""

    path: Path
    items: dict[str, np.ndarray]  # [M, ...] by name
    about: Mapping[str, Any]
    _made: dict[Any, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """The result of `make`, which is called once for each hashable `key`: learners share what is made of the items."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def size(self) -> int:
        """M, the number of items."""
        return len(next(iter(self.items.values())))


def write_vault(path: str | Path, items: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Stores items as a new Vault.

    Args:
      path: a new folder.
      items: arrays [M, ...] by name. Empty arrays are left out.
      about: JSON values that `read_vault` returns; digests of the arrays are added.

    Raises:
      ValueError: `path` exists, or there are no items.
      OSError: the folder cannot be written, e.g. on a full disk.

    The folder is written under a hidden name and then renamed, so it is always complete; a killed process leaves the
    hidden one behind.
    """
    path = Path(path).absolute()
    if path.exists():
        raise ValueError(f"{str(path)!r} exists; name a folder that does not")
    kept = {name: np.asarray(array)[None] for name, array in items.items() if np.size(array)}
    count = {array.shape[1] for array in kept.values()}
    if len(count) != 1:
        raise ValueError(
            f"items must be arrays of one length, at least 1, got { ({k: len(v) for k, v in items.items()}) }"
        )
    unfinished = path.with_name(f".{path.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write(unfinished, kept, count.pop(), about)
        if path.exists():  # an empty folder would be replaced
            raise ValueError(f"{str(path)!r} exists by now; name a folder that does not")
        unfinished.rename(path)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, Exception) and (cause := machine_error(error)) is not None:
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise


def _write(path: Path, kept: dict[str, np.ndarray], size: int, about: Mapping[str, Any]) -> None:
    """Creates the Vault with `kept`, arrays [1, M, ...]."""
    from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
    from flashbax.vault import Vault

    state: Any = TrajectoryBufferState(experience=kept, current_index=np.int32(size), is_full=np.bool_(False))
    digests = {name: digest(array[0]) for name, array in kept.items()}
    metadata = {"about": json.dumps({**about, "digests": digests})}
    path.mkdir(parents=True)
    # flashbax reports on stdout, which may be a JSON stream.
    with plain_path(path, _URL_MARKS) as plain, contextlib.redirect_stdout(io.StringIO()):
        vault = Vault(_NAME, kept, rel_dir=str(plain), vault_uid=_UID, metadata=metadata)
        vault.write(state, source_interval=(0, size))


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and values, in hexadecimal."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def read_about(path: str | Path) -> dict[str, Any]:
    """The description of a Vault written by `write_vault`; its arrays are not read.

    Raises:
      ValueError: there is none, or it has another format or version.
    """
    return _read_metadata(Path(path))[0]


def find_vaults(folder: str | Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """`(paths with descriptions, problems)` of the Vaults below a folder; arrays are not read."""
    found, problems = [], []
    for metadata in sorted(Path(folder).rglob(f"{_NAME}/{_UID}/metadata.json")):
        path = metadata.parents[2]
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # unfinished
        try:
            found.append((path, read_about(path)))
        except ValueError as error:
            problems.append(str(error))
    return found, problems


def read_vault(path: str | Path) -> Dataset:
    """Reads a Vault written by `write_vault`, as NumPy arrays.

    Raises:
      ValueError: there is none, or it has another format or version.
    """
    path = Path(path)
    about, names = _read_metadata(path)
    from flashbax.vault import Vault

    try:
        with plain_path(path, _URL_MARKS) as plain, contextlib.redirect_stdout(io.StringIO()):
            experience = Vault(_NAME, rel_dir=str(plain), vault_uid=_UID).read().experience
        items = {name: np.asarray(experience[name][0]) for name in names}
    except Exception as error:  # tensorstore's own types: a torn or truncated file
        raise ValueError(f"stored replay {str(path)!r} cannot be read: {error}") from error
    if {len(array) for array in items.values()} != {about.get("size")}:
        raise ValueError(f"stored replay {str(path)!r} should hold {about.get('size')} items, its arrays are "
                         f"{({k: len(v) for k, v in items.items()})}")  # fmt: skip
    for name, array in items.items():
        if about["digests"].get(name) != digest(array):
            raise ValueError(f"stored replay {str(path)!r} is damaged: {name!r} does not match its digest")
    return Dataset(path, items, about)


def _read_metadata(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The description and the names of the arrays."""
    folder = path / _NAME / _UID
    if not (folder / "metadata.json").is_file():
        raise ValueError(f'no stored replay in {str(path)!r}; "jaxmarl-suite dataset make RUN {path}" makes one')
    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        about = json.loads(metadata["about"])
        names = list(dict.fromkeys(metadata["structure_shape"]))
        if not isinstance(about, dict):
            raise TypeError(f"its description is a {type(about).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the Vault in {str(path)!r} was not written by jaxmarl-suite: {error!r}") from None
    if about.get("schema") != SCHEMA:
        raise ValueError(f"stored replay {str(path)!r} has schema {about.get('schema')!r}; this version reads {SCHEMA}")
    if not isinstance(about.get("digests"), dict):
        raise ValueError(f"stored replay {str(path)!r} has no digests of its arrays")
    return about, names
