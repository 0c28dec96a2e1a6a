"""Recording a run's replay in a separate folder, for learning without playing."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxmarl_suite.replay import MACHINE_ERRORS, SCHEMA, read_vault, write_vault
from jaxmarl_suite.runner._evaluate import check_lane, restore_policies
from jaxmarl_suite.runner._experiment import Experiment
from jaxmarl_suite.runner._files import StorageError
from jaxmarl_suite.runner._folder import RunFolder


def record(
    run_dir: str | Path, path: str | Path, *, lane: int = 0, warn: Callable[[str], None] = lambda _: None
) -> int:
    """Stores the replay of one lane, from its newest checkpoint; returns the number of sequences.

    Args:
      run_dir: a run of a method with replay, which collected its own experience.
      path: a new folder.
      lane: the lane whose replay is stored.
      warn: called with warnings about unreadable checkpoints.

    Raises:
      ValueError: the run has no such lane or no replay, or `path` exists.
      StorageError: the machine fails, e.g. the disk is full; nothing that was written is left.
    """
    if Path(path).exists():
        raise ValueError(f"{str(path)!r} exists; name a folder that does not")
    experiment = Experiment.read(RunFolder.open(run_dir))
    if experiment.options.data is not None:
        raise ValueError(f"run {str(run_dir)!r} learned from stored replay and has none of its own")
    waves = restore_policies(run_dir, warn=warn)
    check_lane(lane, [one.index for trained in waves for one in trained.lanes])
    for trained in waves:
        for position, one in enumerate(trained.lanes):
            if one.index != lane:
                continue
            spec = trained.group.spec
            if spec.record is None:
                raise ValueError(f"{spec.name} keeps no replay that could be stored")
            state = jax.tree.map(lambda x, at=position: x[at], trained.state)
            items = spec.record(one.config, trained.group.env, state)
            size = len(next(iter(items.values())))
            about = {
                "schema": SCHEMA,
                "env": trained.group.env.spec.id,
                "env_options": experiment.env_settings(one.overrides),
                "algorithm": spec.name,
                "seed": one.seed,
                "env_steps": trained.env_steps,
                "rollout_length": getattr(one.config, "rollout_length", None),
                "config": {f.name: _plain(getattr(one.config, f.name)) for f in dataclasses.fields(one.config)},
                "size": size,
            }
            _write(Path(path).absolute(), items, about)
            return size
    raise AssertionError("unreachable: the lane was checked")


def _write(path: Path, items: dict[str, Any], about: dict[str, Any]) -> None:
    try:
        write_vault(path, items, about)
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        raise StorageError(
            f"stored replay {str(path)!r} cannot be written: {error.strerror}; the run is as it was"
        ) from error
    try:
        read_vault(path)
    except ValueError:
        shutil.rmtree(path)
        raise


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
