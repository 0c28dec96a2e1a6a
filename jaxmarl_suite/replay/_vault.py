"""Stored replay: flashbax Vaults of recorded experience, with a description of its origin."""

import contextlib
import dataclasses
import io
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmarl_suite.replay._storage import machine_error, plain_path

SCHEMA = 2
_NAME, _UID = "replay", "0"
_URL_MARKS = "?#%\\"
"""Characters with a meaning in the addresses that name Vaults; TensorStore also treats a backslash as a slash."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The contents of a Vault: M items, oldest first, and their description."""

    path: Path
    items: dict[str, np.ndarray]  # [M, ...] by name
    about: Mapping[str, Any]

    @property
    def size(self) -> int:
        """M, the number of items."""
        return len(next(iter(self.items.values())))


def write_vault(path: str | Path, items: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Stores items as a new Vault.

    Args:
      path: a new folder.
      items: arrays [M, ...] by name. Empty arrays are left out.
      about: JSON values that `read_vault` returns.

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
    metadata = {"about": json.dumps(dict(about))}
    path.mkdir(parents=True)
    # flashbax reports on stdout, which may be a JSON stream.
    with plain_path(path, _URL_MARKS) as plain, contextlib.redirect_stdout(io.StringIO()):
        vault = Vault(_NAME, kept, rel_dir=str(plain), vault_uid=_UID, metadata=metadata)
        vault.write(state, source_interval=(0, size))


def read_vault(path: str | Path) -> Dataset:
    """Reads a Vault written by `write_vault`, as NumPy arrays.

    Raises:
      ValueError: there is none, or it has another format or version.
    """
    path = Path(path)
    folder = path / _NAME / _UID
    if not (folder / "metadata.json").is_file():
        raise ValueError(f'no stored replay in {str(path)!r}; "jaxmarl-suite record RUN {path}" makes one')
    from flashbax.vault import Vault

    try:
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        about = json.loads(metadata["about"])
        names = dict.fromkeys(metadata["structure_shape"])
        if not isinstance(about, dict):
            raise TypeError(f"its description is a {type(about).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the Vault in {str(path)!r} was not written by jaxmarl-suite: {error!r}") from None
    if about.get("schema") != SCHEMA:
        raise ValueError(f"stored replay {str(path)!r} has schema {about.get('schema')!r}; this version reads {SCHEMA}")
    try:
        with plain_path(path, _URL_MARKS) as plain, contextlib.redirect_stdout(io.StringIO()):
            experience = Vault(_NAME, rel_dir=str(plain), vault_uid=_UID).read().experience
        items = {name: np.asarray(experience[name][0]) for name in names}
    except Exception as error:  # tensorstore's own types: a torn or truncated file
        raise ValueError(f"stored replay {str(path)!r} cannot be read: {error}") from error
    if {len(array) for array in items.values()} != {about.get("size")}:
        raise ValueError(f"stored replay {str(path)!r} should hold {about.get('size')} items, its arrays are "
                         f"{({k: len(v) for k, v in items.items()})}")  # fmt: skip
    return Dataset(path, items, about)
