"""`--config FILE`: an experiment, or parts of one, in the layout of a run's config.json."""

import contextlib
import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import coerce, field_types, unknown_field
from jaxmarl_suite.runner import SCHEMA, TrainOptions, WandbOptions, read_object

Sink = Literal["tensorboard", "wandb"]
_PARTS: dict[str, Any] = {
    "algorithm": str,
    "env": str,
    "env_options": dict,
    "eval_env_options": dict,
    "config": dict,
    "grid": dict | list,
    "train": dict,
    "sinks": list,
    "wandb": dict,
}
_OF_RUNS = ("schema", "total_steps", "untrained_phases", "lanes")
"""What a run's config.json contains besides: it follows from the rest."""
_NAMES = {str: "text", dict: "an object", dict | list: "an object or a list", list: "a list"}


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """The contents of a config file. Parts that it lacks are empty."""

    path: Path | None = None
    algorithm: str = ""
    env: str = ""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    eval_env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Any = dataclasses.field(default_factory=dict)
    train: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sinks: Sequence[str] = ()
    wandb: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self, argv: Sequence[str], algorithm: str | None) -> list[str]:
        """The command line, with the file's algorithm and environment where it names none."""
        words = list(argv)
        if self.algorithm and algorithm is None:
            words = [self.algorithm, *words]
        if self.env and not any(word.split("=")[0] == "--env" for word in argv):
            words += ["--env", self.env]
        return words

    def apply_to(self, config: Any) -> Any:
        """An algorithm's config with the settings of the file."""
        with self._naming("config"):
            return dataclasses.replace(config, **coerce(config, self.config))

    def has_all_settings(self, algorithm: str) -> bool:
        """Whether no setting of the algorithm is left to its defaults or a recipe, as in a run's config.json."""
        return set(field_types(algorithms.get(algorithm).config)) <= set(self.config)

    def options(self) -> TrainOptions:
        """The options of the run."""
        with self._naming("train"):
            return TrainOptions(**coerce(TrainOptions, self.train))

    def wandb_options(self) -> WandbOptions:
        """The options of the sink of this name."""
        with self._naming("wandb"):
            return WandbOptions(**coerce(WandbOptions, self.wandb))

    @contextlib.contextmanager
    def _naming(self, part: str) -> Iterator[None]:
        """Names the file and the part in errors."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.path}: in {part!r}: {error}") from None


def read_config_file(path: Path) -> ConfigFile:
    """The contents of a JSON file: a run's config.json, or an object with some of its parts.

    Raises:
      ValueError: it is not such a file; the message names the file and the field.
      OSError: it cannot be read.
    """
    if path.is_dir():
        raise ValueError(f"--config {path}: is a folder; of a run, give {path / 'config.json'}")
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ValueError(f"--config {path}: must be a JSON file, in the layout of a run's config.json")
    content = read_object(path)
    known = [*_PARTS]
    if "schema" in content:  # a run's own
        if content["schema"] != SCHEMA:
            raise ValueError(f"{path}: schema is {content['schema']!r}; this version reads {SCHEMA}")
        known += _OF_RUNS
    for name, value in content.items():
        if name not in known:
            is_option = name in field_types(TrainOptions)
            raise ValueError(
                f"{path}: " + (f"{name!r} belongs into 'train'" if is_option else unknown_field(name, _PARTS))
            )
        if name in _PARTS and not isinstance(value, _PARTS[name]):
            raise ValueError(f"{path}: {name!r} must be {_NAMES[_PARTS[name]]}, got {value!r}")
    sinks = typing.get_args(Sink)
    if wrong := [sink for sink in content.get("sinks", []) if sink not in sinks]:
        raise ValueError(f"{path}: 'sinks' has the unknown name {wrong[0]!r}; there are: {', '.join(sinks)}")
    return ConfigFile(path, **{name: value for name, value in content.items() if name in _PARTS})
