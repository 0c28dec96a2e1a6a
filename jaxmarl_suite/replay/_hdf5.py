"""Arrays of episodes in HDF5 files, as Minari (by episode) and D4RL (flat) store them. Needs the extra `minari`."""

import re
from pathlib import Path
from typing import Any

import numpy as np

ENDINGS = (".hdf5", ".h5")
_EPISODE = r"episode_[0-9]+/(observations|actions|rewards|terminations|truncations|states|masks)"
_FLAT = r"observations|next_observations|actions|rewards|terminals|timeouts"
_KNOWN = re.compile(f"{_EPISODE}|{_FLAT}")


def load_hdf5(path: Path) -> dict[str, np.ndarray]:
    """The arrays of episodes in the file by name; all others (infos, metadata) are left out, links are not followed.

    Raises:
      ValueError: h5py is not installed, the file cannot be read, or one of these arrays does not hold numbers.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f'HDF5 files need h5py: pip install "jaxmarl-suite[minari]" ({error})') from None
    found: dict[str, np.ndarray] = {}

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or not _KNOWN.fullmatch(name):
            return
        if item.dtype.kind not in "biuf" or item.external or item.is_virtual:
            raise ValueError(f"{name!r} holds no plain numbers")
        found[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{str(path)!r} is no HDF5 file of episodes: {text}") from None
    if not found:
        raise ValueError(f"{str(path)!r} is no HDF5 file of episodes: it has no arrays of Minari's or D4RL's names")
    return found
