"""Files of episodes (`.npz`, `.hdf5`): datasets to and from other programs. Nothing in them is ever unpickled.

Two layouts are read. Written is the first, as `.npz`. An agent axis [N] follows the step axis in teams only.

- By episode, as in Minari: `episode_0/observations` [L + 1, ...], and `actions`, `rewards`, `terminations`,
  `truncations` [L, ...]; optional `states` [L + 1, G] and `masks` [L + 1, A].
- Flat, as in D4RL: `observations`, `actions`, `rewards`, `terminals`, `timeouts` [T, ...]; optional
  `next_observations`. Without these, the last step of an episode that timed out is left out, since what follows it is
  not known. `timeouts` are required: without them, steps of two episodes would form a transition.
"""

import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.replay._hdf5 import ENDINGS, load_hdf5
from jaxmarl_suite.replay._steps import NO_ACTION, REWARD, Items, Recorded, check_items, step_shapes

_EPISODE = re.compile(r"episode_([0-9]+)/([a-z]+)")
_NEEDED = ("observations", "actions", "rewards", "terminations", "truncations")
_FLAT_NAMES = {"terminals": "terminations", "timeouts": "truncations"}


def read_episode_file(path: str | Path, spec: EnvSpec) -> Recorded:
    """The episodes in a `.npz` or HDF5 file, as steps of the environment described by `spec`.

    Raises:
      ValueError: the file cannot be read, holds pickled objects, lacks an array, or does not fit `spec`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}")
    arrays = load_hdf5(path) if path.suffix in ENDINGS else _load(path)
    where = repr(str(path))
    episodes = list(_episodes(where, arrays) if any("/" in name for name in arrays) else _flat(where, arrays))
    if not episodes:
        raise ValueError(f"{where} holds no step")
    parts = [_to_items(where, number, episode, spec) for number, episode in enumerate(episodes)]
    items = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_items(where, {name: array for name, array in items.items() if array.size}, spec)
    return Recorded(items, np.ones(len(episodes), bool))


def write_episode_file(path: str | Path, items: Mapping[str, np.ndarray], spec_of: Mapping[str, Any]) -> int:
    """Writes a dataset by episode; returns the number of episodes.

    Args:
      path: a new file, ends in `.npz`. It is written under a hidden name and then renamed, so it is always complete.
      items: [T, ...] by name.
      spec_of: the dataset's layout, of which `n_agents` is read.

    Raises:
      ValueError: the file exists, or has another ending.
      OSError: it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{str(path)!r}: files of episodes end in .npz")
    if path.exists():
        raise ValueError(f"{str(path)!r} exists; name a file that does not")

    def told(array: np.ndarray) -> np.ndarray:
        return array[:, 0] if spec_of["n_agents"] == 1 else array

    ends = np.flatnonzero(np.diff(items["episode"], append=-1))
    arrays: dict[str, Any] = {}
    first = 0
    for number, last in enumerate(ends.tolist()):
        rows = slice(first, last + 1)
        of_states = {"observations": "obs", "states": "state", "masks": "mask"}
        for name, ours in of_states.items():
            if ours in items:
                along = np.concatenate([items[ours][rows], items[f"next_{ours}"][last : last + 1]])
                arrays[f"episode_{number}/{name}"] = along if ours == "state" else told(along)
        arrays[f"episode_{number}/actions"] = told(items["action"][rows])
        arrays[f"episode_{number}/rewards"] = told(items[REWARD][rows])
        arrays[f"episode_{number}/terminations"] = items["terminated"][rows]
        arrays[f"episode_{number}/truncations"] = items["truncated"][rows]
        first = last + 1
    unfinished = path.with_name(f".{path.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            np.savez_compressed(file, **arrays)
        if path.exists():  # it would be replaced
            raise ValueError(f"{str(path)!r} exists by now; name a file that does not")
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(ends)


def _load(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            found = {name: archive[name] for name in archive.files}
            if others := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{others[0]!r} is no array")
            return found
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{str(path)!r} is no .npz file of plain arrays: {text}") from None


def _episodes(where: str, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Arrays by episode, in the order of their numbers."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        match = _EPISODE.fullmatch(name)
        if match is None:
            raise ValueError(f"{where} has an array {name!r}; names are like 'episode_0/observations'")
        found.setdefault(int(match[1]), {})[match[2]] = array
    for number in range(max(found) + 1):
        if number not in found:
            raise ValueError(f"{where} has a hole: episode {number} is missing")
        yield found[number]


def _flat(where: str, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Episodes of arrays over all steps."""
    arrays = {_FLAT_NAMES.get(name, name): array for name, array in arrays.items()}
    _check_names(where, arrays, {"terminations": "terminals", "truncations": "timeouts"})
    lengths = {name: len(arrays[name]) for name in _NEEDED} if all(a.ndim for a in arrays.values()) else {"": 0}
    if len(set(lengths.values())) != 1 or not len(arrays["actions"]):
        raise ValueError(f"{where} needs arrays of one length, at least 1, got {lengths}")
    ended = _flags(where, arrays["terminations"]) | _flags(where, arrays["truncations"])
    following = arrays.get("next_observations")
    if following is not None and following.shape != arrays["observations"].shape:
        raise ValueError(
            f"{where} has next_observations {following.shape}, observations are {arrays['observations'].shape}"
        )
    first = 0
    for last in [*np.flatnonzero(ended), *([] if ended[-1] else [len(ended) - 1])]:
        rows = slice(first, int(last) + 1)
        first = int(last) + 1
        part = {name: arrays[name][rows] for name in _NEEDED}
        if following is not None:
            inside = following[rows][:-1] != part["observations"][1:]
            if inside.any():
                at = rows.start + int(np.argmax(inside.reshape(len(inside), -1).any(axis=1)))
                raise ValueError(f"{where} has a hole: next_observations of step {at} are not the next observations")
            part["observations"] = np.concatenate([part["observations"], following[rows][-1:]])
        elif part["terminations"][-1]:  # nothing is learned from what follows
            part["observations"] = np.concatenate([part["observations"], part["observations"][-1:]])
        else:
            part = {name: array if name == "observations" else array[:-1] for name, array in part.items()}
        if len(part["actions"]):
            last_flags = part["truncations"].copy()
            last_flags[-1] = not part["terminations"][-1]
            yield part | {"truncations": last_flags}


def _check_names(where: str, arrays: Mapping[str, np.ndarray], shown: Mapping[str, str]) -> None:
    for name in _NEEDED:
        if name not in arrays:
            raise ValueError(f"{where} has no array {shown.get(name, name)!r}; there are: {', '.join(sorted(arrays))}")


def _flags(where: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{where} has ends of episodes that are not one flag per step: {array.dtype} {array.shape}")
    return array.astype(bool)


def _to_items(where: str, number: int, episode: Mapping[str, np.ndarray], spec: EnvSpec) -> Items:
    """One episode as steps."""
    where = f"{where}, episode {number},"
    _check_names(where, episode, {})
    length, n = len(episode["actions"]), spec.n_agents
    ends = {name: _flags(where, episode[name]) for name in ("terminations", "truncations")}
    shapes = step_shapes(spec)

    def take(name: str, item: str, rows: int) -> np.ndarray:
        array, (shape, dtype) = episode[name], shapes[item]
        accepted = [shape, *([shape[1:]] if n == 1 and item != "state" else []), *([()] if item == REWARD else [])]
        if array.ndim == 0 or len(array) != rows or array.shape[1:] not in accepted or array.dtype.kind not in "biuf":
            raise ValueError(
                f"{where} has {name} {array.dtype} {array.shape}, {spec.id!r} needs {(rows, *accepted[-1])}"
            )
        whole = array.astype(dtype)
        if item == "action" and spec.is_discrete and (whole != array).any():
            raise ValueError(f"{where} has actions that are not whole numbers, {spec.id!r} has {spec.num_actions}")
        return np.broadcast_to(
            whole.reshape(rows, *(shape if whole[0].size == np.prod(shape) else (1,))), (rows, *shape)
        )

    if length < 1:
        raise ValueError(f"{where} has no step")
    for name, flags in ends.items():
        if len(flags) != length:
            raise ValueError(f"{where} has {len(flags)} {name} and {length} actions")
    ended = ends["terminations"] | ends["truncations"]
    if ended[:-1].any() or not ended[-1]:
        raise ValueError(f"{where} must end (terminations or truncations) at its last step and nowhere else")
    items: Items = {}
    for name, item in {"observations": "obs", "states": "state", "masks": "mask"}.items():
        if 0 in shapes[item][0] or (name not in episode and item == "state"):
            continue
        if name not in episode:
            raise ValueError(f"{where} has no {name}, which {spec.id!r} needs for its discrete actions")
        along = take(name, item, length + 1)
        items |= {item: along[:-1], f"next_{item}": along[1:]}
    items["action"] = take("actions", "action", length)
    if spec.is_discrete:
        nothing = np.full((1, n), NO_ACTION, np.int32)
        items["last_action"] = np.concatenate([nothing, items["action"][:-1]])
    items[REWARD] = take("rewards", REWARD, length)
    return items | {
        "terminated": ends["terminations"],
        "truncated": ends["truncations"] & ~ends["terminations"],
        "episode": np.full(length, number, np.int32),
    }
