"""Checkpoints through orbax, with a digest over the arrays so that any corruption is found on restore."""

import hashlib
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def to_host(tree: Any) -> list[np.ndarray]:
    """The leaves of a pytree as host arrays; typed keys as their data."""
    leaves = [
        jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x) for x in jax.device_get(leaves)]


def from_host(arrays: list[np.ndarray], like: Any) -> Any:
    """The pytree `like` (arrays or shapes) with its leaves replaced by host arrays.

    Raises:
      ValueError: where number, shape or dtype do not fit.
    """
    leaves, structure = jax.tree.flatten(like)
    if len(leaves) != len(arrays):
        raise ValueError(f"checkpoint holds {len(arrays)} arrays, the program needs {len(leaves)}")
    restored = []
    for array, leaf in zip(arrays, leaves):
        value: Any = array
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            value = jax.random.wrap_key_data(jnp.asarray(array))
        if value.shape != leaf.shape or value.dtype != leaf.dtype:
            raise ValueError(
                f"checkpoint holds {value.dtype}{value.shape} where the program needs {leaf.dtype}{leaf.shape}"
            )
        restored.append(value)
    return jax.tree.unflatten(structure, restored)


def _digest(arrays: list[np.ndarray], meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one wave of lanes, numbered by the environment steps of a lane."""

    def __init__(self, directory: Path, keep: int = 3, lasting: Collection[int] = ()) -> None:
        """Opens (and creates) `directory`; the newest `keep` checkpoints stay, and those of the steps `lasting`."""
        import orbax.checkpoint as ocp  # half a second to import; not needed to print a help text

        logging.getLogger("absl").setLevel(logging.ERROR)
        self._ocp = ocp
        self._directory = directory
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(keep), policies.CustomSteps(tuple(lasting))]
            ),
            create=True,
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def save(self, step: int, arrays: list[np.ndarray], meta: dict[str, Any]) -> None:
        """Writes a checkpoint; complete or not there at all. A step that is there already is kept."""
        if step in self._manager.all_steps():
            return
        args = self._ocp.args
        tree = {f"{i:05d}": array for i, array in enumerate(arrays) if array.size}  # orbax refuses empty arrays
        meta = {**meta, "arrays": [[a.dtype.name, list(a.shape)] for a in arrays]}
        meta["digest"] = _digest(arrays, meta)
        self._manager.save(step, args=args.Composite(state=args.StandardSave(tree), meta=args.JsonSave(meta)))

    def steps(self) -> list[int]:
        """The checkpoints that there are, oldest first; they may be damaged."""
        return sorted(self._manager.all_steps())

    def restore(
        self, *, step: int | None = None, move_aside: bool = False
    ) -> tuple[list[np.ndarray] | None, dict[str, Any], list[str]]:
        """The newest checkpoint that is whole (None if there is none), its meta data, what was wrong with newer ones.

        Args:
          step: this one of `steps()` only.
          move_aside: give folders that cannot be read the ending `.corrupt`, so that their steps can be written again.
        """
        problems: list[str] = []
        args = self._ocp.args
        for number in self.steps()[::-1] if step is None else [step]:
            try:
                restored = self._manager.restore(
                    number, args=args.Composite(state=args.StandardRestore(), meta=args.JsonRestore())
                )
                meta = dict(restored["meta"])
                arrays = [
                    np.asarray(restored["state"][f"{i:05d}"]) if np.prod(shape) else np.zeros(shape, dtype)
                    for i, (dtype, shape) in enumerate(meta["arrays"])
                ]
                if meta.pop("digest") != _digest(arrays, meta):
                    raise ValueError("its contents do not match their digest")
                return arrays, meta, problems
            except Exception as error:  # orbax raises many kinds for a damaged folder
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                problems.append(f"checkpoint {self._directory / str(number)} cannot be read ({reason})")
                if move_aside:
                    self._move_aside(number)
        return None, {}, problems

    def _move_aside(self, step: int) -> None:
        number = 1
        while (target := self._directory / f"{step}.corrupt{number if number > 1 else ''}").exists():
            number += 1
        (self._directory / str(step)).rename(target)
        self._manager.reload()  # it still lists the step, and would never write it again

    def close(self) -> None:
        """Ends the manager."""
        self._manager.close()
