"""Artifacts of finished phases, kept in the run folder, and the starts of runs that begin with a later phase."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.runner._checkpoint import Checkpoints
from jaxmarl_suite.runner._devices import in_32_bits
from jaxmarl_suite.runner._environments import Environments, Instance, same_instance
from jaxmarl_suite.runner._experiment import ENV_PREFIX, Experiment, Group, Lane
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._lanes import handed_shape

_Shapes = dict[str, tuple[tuple[int, ...], str]]


class Artifacts:
    """The artifacts of a wave's lanes, numbered by the phase that produced them. The folder is made with the first."""

    def __init__(self, directory: Path) -> None:
        """`directory` belongs to the wave."""
        self._directory = directory

    def save(self, phase_number: int, artifact: Any, arrays: list[np.ndarray], **about: Any) -> None:
        """Saves an artifact; an existing one of this phase is the same and is kept.

        Args:
          phase_number: number of the phase in its method.
          artifact: a pytree; its paths name the arrays.
          arrays: its leaves on the host, lanes in front.
          about: the phase's name, the lanes, their progress.

        Raises:
          StorageError: the artifact could not be written.
        """
        kept = Checkpoints(self._directory, keep=phase_number + 1)
        try:
            kept.save(phase_number, arrays, {**about, "names": _names(artifact)})
        finally:
            kept.close()


def _names(tree: Any) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in jax.tree.leaves_with_path(tree)]


@dataclasses.dataclass(frozen=True)
class Start:
    """What the lanes of a group start from, read from another run (the source)."""

    arrays: list[np.ndarray]  # [K, ...] for K lanes of the source
    place: Mapping[int, int]  # lane of this run -> row of `arrays` that it starts from
    source_lanes: Sequence[int]  # [K]
    run_dir: str
    phase: str  # the phase that produced the artifact
    env_steps: int  # of a source lane, when its artifact was written
    evaluations: int  # of a source lane, until then

    def of_lanes(self, lanes: Sequence[int]) -> list[np.ndarray]:
        """Arrays [L, ...] for L lanes, given by index."""
        rows = np.array([self.place[lane] for lane in lanes])
        return [array[rows] for array in self.arrays]

    def sources(self) -> dict[int, dict[str, Any]]:
        """For each lane, where its artifact came from."""
        about = {"run_dir": self.run_dir, "phase": self.phase, "env_steps": self.env_steps}
        return {lane: about | {"lane": self.source_lanes[row]} for lane, row in self.place.items()}

    def write(self, directory: Path) -> None:
        """Writes a copy, so that the run does not need the source again."""
        about = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "arrays"}
        kept = Checkpoints(directory)
        try:
            kept.save(0, self.arrays, about | {"place": sorted(self.place.items())})
        finally:
            kept.close()


def read_start(folder: RunFolder, group: int) -> Start:
    """What a group of a run started from.

    Raises:
      ValueError: the copy cannot be read.
    """
    directory = folder.start / f"{group:03d}"
    arrays, about, problems = _restore(directory, 0)
    if arrays is None:
        raise ValueError(f"run {folder.name!r} lacks what it started from: {_first(problems, directory)}")
    about["place"] = {int(lane): int(row) for lane, row in about["place"]}
    return Start(**about | {"arrays": arrays})


@in_32_bits
def find_starts(experiment: Experiment, groups: Sequence[Group]) -> list[Start]:
    """What each group starts from, read from another run; empty if the experiment begins with its first phase.

    Raises:
      ValueError: the other run has no such artifact, or it does not fit.
    """
    if experiment.options.start_from is None:
        return []
    source = RunFolder.open(experiment.options.start_from)
    config = source.read_config()
    lanes = config.get("lanes")
    if not isinstance(lanes, list) or not lanes or not all(map(_describes_a_lane, lanes)):
        raise ValueError(
            f"{source.path / 'config.json'}: 'lanes' must be a list of objects with overrides, got {lanes!r}"
        )
    chosen, count = experiment.options.start_lane, sum(len(group.lanes) for group in groups)
    if chosen is None and len(lanes) != count:
        raise ValueError(
            f"run {source.name!r} has {len(lanes)} lane{'s' * (len(lanes) > 1)} and this one {count}; set start_lane "
            f"(0 to {len(lanes) - 1}) to the one whose artifact all of them take"
        )
    if chosen is not None and chosen >= len(lanes):
        raise ValueError(f"run {source.name!r} has no lane {chosen}; there are 0..{len(lanes) - 1}")
    return [_find_start(experiment, group, source, config, chosen) for group in groups]


def _find_start(
    experiment: Experiment, group: Group, source: RunFolder, config: Mapping[str, Any], chosen: int | None
) -> Start:
    phase = group.earlier[-1]
    wanted = {lane.index: lane.index if chosen is None else chosen for lane in group.lanes}
    if not phase.fits_any_task:
        for lane in group.lanes:
            _check_task(experiment, group, lane, source, config, wanted[lane.index])
    rows: dict[int, list[np.ndarray]] = {}  # by source lane
    about: Mapping[str, Any] = {}
    others: set[str] = set()
    damaged: list[str] = []  # matters only if a wanted lane is not found elsewhere
    for directory in sorted(source.artifacts.iterdir()) if source.artifacts.is_dir() else ():
        arrays, found, problems = _restore(directory, len(group.earlier) - 1)
        if arrays is None:
            damaged += problems[:1]
            continue
        if found.get("phase") != phase.name:
            others.add(str(found.get("phase")))
            continue
        taken = [(row, lane) for row, lane in enumerate(found["lanes"]) if lane in wanted.values()]
        if not taken:  # of lanes with other settings, whose artifacts may have other shapes
            continue
        _check_shapes(group, source, found["names"], arrays)
        about = found
        for row, lane in taken:
            rows[lane] = [array[row] for array in arrays]
    if lacking := sorted(set(wanted.values()) - set(rows)):
        if damaged:
            raise ValueError(f"run {source.name!r}: {damaged[0]}")
        there = f"; it has one of phase {', '.join(map(repr, sorted(others)))}" if others else ""
        raise ValueError(
            f"run {source.name!r} has no artifact of phase {phase.name!r} of lane {lacking[0]}{there}; it is written when "
            "that phase is over"
        )
    source_lanes = sorted(rows)
    return Start(
        arrays=[np.stack(parts) for parts in zip(*(rows[lane] for lane in source_lanes))],
        place={lane: source_lanes.index(one) for lane, one in wanted.items()},
        source_lanes=source_lanes,
        run_dir=str(source.path),
        phase=phase.name,
        env_steps=about["env_steps"],
        evaluations=about["evaluations"],
    )


def _describes_a_lane(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("overrides", {}), dict)


def _check_task(
    experiment: Experiment, group: Group, lane: Lane, source: RunFolder, config: Mapping[str, Any], taken: int
) -> None:
    """Rejects an artifact of another environment, or of the same one with other parameters."""
    overrides = config["lanes"][taken].get("overrides", {})
    options = {name.removeprefix(ENV_PREFIX): v for name, v in overrides.items() if name.startswith(ENV_PREFIX)}
    stored = None
    if config["env"] == experiment.env:
        try:
            stored = Environments(config["env"], config["env_options"]).get(options)
        except ValueError:  # options of another version
            stored = None
    if stored is None or not same_instance(Instance(group.env, lane.env_params, None), stored):
        theirs, ours = {**config["env_options"], **options}, experiment.env_settings(lane.overrides)
        raise ValueError(
            f"the artifact of lane {taken} of run {source.name!r} is of {config['env']!r} with options {theirs}, got "
            f"{experiment.env!r} with {ours}"
        )


def _check_shapes(group: Group, source: RunFolder, names: list[str], arrays: list[np.ndarray]) -> None:
    """Rejects an artifact that the next phase could not begin with."""
    expected = handed_shape(group.earlier, group.lanes[0])
    ours: _Shapes = {name: _on_host(leaf) for name, leaf in zip(_names(expected), jax.tree.leaves(expected))}
    theirs: _Shapes = {name: (array.shape[1:], array.dtype.name) for name, array in zip(names, arrays)}
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            needed, found = (
                f"{shapes[name][1]} {shapes[name][0]}" if name in shapes else "nothing" for shapes in (ours, theirs)
            )
            raise ValueError(
                f"the artifact of phase {group.earlier[-1].name!r} of run {source.name!r} has {found} for {name!r}, "
                f"{group.spec.name} needs {needed} with these settings"
            )


def _on_host(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a leaf as it is stored; for typed keys, those of their data."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return leaf.shape, jnp.dtype(leaf.dtype).name


def _restore(directory: Path, number: int) -> tuple[list[np.ndarray] | None, dict[str, Any], list[str]]:
    """`Checkpoints.restore` of one checkpoint, if it exists."""
    if not directory.is_dir():
        return None, {}, []
    kept = Checkpoints(directory, read_only=True)
    try:
        return kept.restore(step=number) if number in kept.steps() else (None, {}, [])
    finally:
        kept.close()


def _first(problems: list[str], directory: Path) -> str:
    return problems[0] if problems else f"{directory} is not there"
