"""Checkpoints through orbax, with a digest of the arrays so that any corruption is found on restore."""

import contextlib
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.replay import machine_error, plain_path
from jaxmarl_suite.runner._files import StorageError, move_aside, own_name, reason

_PATTERNS = "*?[\\:"
"""Characters with a meaning in orbax's file patterns, wherever they occur in a path. TensorStore also treats a
backslash as a slash, and names with a colon may be addresses."""


def to_host(tree: Any) -> list[np.ndarray]:
    """The leaves of a pytree as host arrays; for typed keys, their data."""
    leaves = [
        jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x) for x in jax.device_get(leaves)]


def from_host(arrays: list[np.ndarray], like: Any) -> Any:
    """The pytree `like` (arrays or shapes) with its leaves replaced by host arrays.

    Raises:
      ValueError: number, shape or dtype do not fit.
    """
    leaves, structure = jax.tree.flatten(like)
    if len(leaves) != len(arrays):
        raise ValueError(f"checkpoint holds {len(arrays)} arrays, the program needs {len(leaves)}")
    restored = []
    for array, leaf in zip(arrays, leaves):
        value: Any = array
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            value = _keys(array, leaf.dtype)
        if value.shape != leaf.shape or value.dtype != leaf.dtype:
            raise ValueError(
                f"checkpoint holds {value.dtype}{value.shape} where the program needs {leaf.dtype}{leaf.shape}"
            )
        restored.append(value)
    return jax.tree.unflatten(structure, restored)


def _keys(data: np.ndarray, dtype: Any) -> jax.Array:
    """Typed keys of a dtype from their data, independent of JAX's default implementation."""
    like = jnp.empty((), dtype)
    words = jax.random.key_data(like).shape[-1]
    if data.shape[-1:] != (words,):
        raise ValueError(
            f"checkpoint holds random keys of shape {data.shape} where the program's have {words} words each"
        )
    return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(like))


def _digest(arrays: list[np.ndarray], meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one wave of lanes, numbered by the environment steps of a lane."""

    def __init__(
        self, directory: Path, keep: int = 3, lasting: Collection[int] = (), *, read_only: bool = False
    ) -> None:
        """Opens `directory`.

        Args:
          directory: made if it does not exist. Half-written checkpoints of a killed process are removed.
          keep: number of newest checkpoints to keep.
          lasting: steps whose checkpoints are kept as well.
          read_only: another process owns the folder; nothing is made or removed.

        Raises:
          ValueError: for a path that orbax would misread.
        """
        import orbax.checkpoint as ocp  # half a second to import; not needed to print a help text

        _silence()
        self._ocp = ocp
        if not read_only:
            directory.mkdir(parents=True, exist_ok=True)
        self._closing = contextlib.ExitStack()
        path = self._closing.enter_context(plain_path(directory, _PATTERNS))
        self._directory = directory
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(keep), policies.CustomSteps(tuple(lasting))]
            ),
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            lightweight_initialize=True,  # damage is found when a checkpoint is read
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(path, options=options)
        self._closing.callback(self._manager.close)

    def save(self, step: int, arrays: list[np.ndarray], meta: dict[str, Any]) -> None:
        """Writes a checkpoint, completely or not at all. An existing one of this step is kept.

        Raises:
          StorageError: the checkpoint could not be written; earlier ones are intact.
        """
        if step in self._manager.all_steps():
            return
        args = self._ocp.args
        tree = {f"{i:05d}": array for i, array in enumerate(arrays) if array.size}  # orbax refuses empty arrays
        meta = {**meta, "step": step, "arrays": [[a.dtype.name, list(a.shape)] for a in arrays]}
        meta["digest"] = _digest(arrays, meta)
        composite = args.Composite(state=args.StandardSave(tree), meta=args.JsonSave(meta))
        try:
            if not self._manager.save(step, args=composite, force=True):  # else it saves only a newest step
                raise RuntimeError("orbax did not save it")
        except Exception as error:  # different parts of the library raise different kinds
            _remove([*self._directory.glob(f"{step}.orbax-checkpoint-tmp*")])
            raise StorageError(
                f"checkpoint {self._directory / str(step)} cannot be written: {reason(error)}"
            ) from error

    def steps(self) -> list[int]:
        """The steps of the existing checkpoints, oldest first; some may be damaged."""
        return sorted(self._manager.all_steps())

    def restore(
        self, *, step: int | None = None, move_aside: bool = False
    ) -> tuple[list[np.ndarray] | None, dict[str, Any], list[str]]:
        """The newest intact checkpoint (None if there is none), its metadata, and the problems with newer ones.

        Args:
          step: only this one of `steps()`.
          move_aside: rename unreadable folders to end in `.corrupt`, so that their steps can be written again.
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
                    raise ValueError("its contents do not match its digest")
                if meta.pop("step", number) != number:
                    raise ValueError("it belongs to another step")
                return arrays, meta, problems
            except Exception as error:  # orbax raises many kinds for a damaged folder
                problems.append(f"checkpoint {self._directory / str(number)} cannot be read ({reason(error)})")
                if move_aside:
                    self._move_aside(number)
        return None, {}, problems

    def _move_aside(self, step: int) -> None:
        move_aside(self._directory / str(step), "corrupt")
        self._manager.reload()  # it still lists the step, and would never write it again

    def close(self) -> None:
        """Closes the manager."""
        self._closing.close()


def _remove(folders: Sequence[Path]) -> None:
    """Removes half-written folders, which also frees space on a full disk. Other threads may still write for a moment."""
    for _ in range(20):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
        if not any(folder.exists() for folder in folders):
            return


def check_storage(folder: Path) -> None:
    """Writes, reads back and removes a tiny checkpoint in `folder`, so that no training is lost to unusable storage.

    Raises:
      ValueError: the checkpoint cannot be read back as it was written.
      StorageError: the machine fails, e.g. the disk is full.
    """
    directory = folder / own_name("probe")
    try:
        checkpoints = Checkpoints(directory)
        try:
            checkpoints.save(1, [np.arange(3, dtype=np.float32)], {})
            arrays, _, problems = checkpoints.restore()
        finally:
            checkpoints.close()
        if arrays is None:
            raise ValueError(problems[-1])
    except Exception as error:
        if machine_error(error) is not None:
            raise StorageError(f"nothing can be written in {str(folder)!r}: {reason(error)}") from None
        raise ValueError(
            f"checkpoints cannot be kept in {str(folder)!r}; choose another --run-dir ({reason(error)})"
        ) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_hooks: list[Any] = []
"""The previous `sys.unraisablehook` while ours is installed; empty otherwise."""


def _silence() -> None:
    """Keeps libraries from printing tracebacks of failures that are reported here or ignored."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if not _hooks:
        _hooks.append(sys.unraisablehook)
        sys.unraisablehook = _unraisable


def _unraisable(found: Any) -> None:
    """Ignores errors of TensorStore's own threads when one array fails while others are being read."""
    if found.exc_type is not RuntimeError or str(found.exc_value) != "Event loop is closed":
        _hooks[0](found)
