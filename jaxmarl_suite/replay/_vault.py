"""Stored replay: flashbax Vaults of stretches of play, with a description of where they come from."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 2
_NAME, _UID = "replay", "0"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a Vault holds: M items, oldest first, and their description."""

    path: Path
    items: dict[str, np.ndarray]  # [M, ...] by name
    about: Mapping[str, Any]

    @property
    def size(self) -> int:
        """M."""
        return len(next(iter(self.items.values())))


def write_vault(path: str | Path, items: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Stores items as a new Vault.

    Args:
      path: a folder that does not exist yet.
      items: arrays [M, ...] by name. Arrays without entries are left out: they hold nothing.
      about: JSON values that `read_vault` gives back.

    Raises:
      ValueError: where `path` exists or there are no items.
    """
    from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
    from flashbax.vault import Vault

    path = Path(path)
    if path.exists():
        raise ValueError(f"{str(path)!r} exists; name a folder that does not")
    kept = {name: np.asarray(array)[None] for name, array in items.items() if np.size(array)}
    count = {array.shape[1] for array in kept.values()}
    if len(count) != 1:
        raise ValueError(
            f"items must be arrays of one length, at least 1, got { ({k: len(v) for k, v in items.items()}) }"
        )
    size = count.pop()
    state: Any = TrajectoryBufferState(experience=kept, current_index=np.int32(size), is_full=np.bool_(False))
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on stdout, which may be a JSON stream
        vault = Vault(_NAME, kept, rel_dir=str(path), vault_uid=_UID, metadata={"about": json.dumps(dict(about))})
        vault.write(state, source_interval=(0, size))


def read_vault(path: str | Path) -> Dataset:
    """A Vault that `write_vault` made, as NumPy arrays.

    Raises:
      ValueError: where there is none, or it is of another kind or version.
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
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"the Vault in {str(path)!r} was not written by jaxmarl-suite: {error!r}") from None
    if about.get("schema") != SCHEMA:
        raise ValueError(f"stored replay {str(path)!r} has schema {about.get('schema')!r}; this version reads {SCHEMA}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            experience = Vault(_NAME, rel_dir=str(path), vault_uid=_UID).read().experience
        items = {name: np.asarray(experience[name][0]) for name in names}
    except Exception as error:  # tensorstore's own types: a torn or truncated file
        raise ValueError(f"stored replay {str(path)!r} cannot be read: {error}") from error
    if {len(array) for array in items.values()} != {about["size"]}:
        raise ValueError(f"stored replay {str(path)!r} should hold {about['size']} items, its arrays are "
                         f"{({k: len(v) for k, v in items.items()})}")  # fmt: skip
    return Dataset(path, items, about)
