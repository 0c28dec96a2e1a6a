"""What is to be run: one algorithm on one environment, for a grid of settings times seeds, as lanes."""

import dataclasses
import functools
import itertools
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import (  # fmt: skip
    LARGEST_INTEGER,
    AlgorithmSpec,
    Phase,
    check_floats,
    check_integers,
    coerce,
    field_types,
    unknown_field,
)
from jaxmarl_suite.replay import Dataset, read_vault
from jaxmarl_suite.runner._authors import naming_authors
from jaxmarl_suite.runner._environments import Environments, Instance, check_instance, same_instance
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._values import fields_of, grid_values, json_values, plain, plain_value

ENV_PREFIX = "env."
MAX_LANES = 100_000
"""Most lanes of an experiment: more is taken for a slip of the keyboard."""
MAX_EPISODES = 10**7
"""Most episodes of an evaluation."""
MAX_ROWS = 100_000
"""Most rows of a kind that a lane may log."""
MACHINE_OPTIONS = ("checkpoint_seconds", "keep_checkpoints", "devices", "memory_gib")
"""Fields of `TrainOptions` that may differ when a run is resumed: they change no result."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How long, how often, how many: everything about a run that is not the algorithm's."""

    total_steps: int = 100_000
    """Environment steps of every lane, all phases together."""
    seeds: int = dataclasses.field(default=1, metadata={"most": None})  # bounded together with `first_seed`
    """Independent repetitions of every grid point."""
    first_seed: int = dataclasses.field(default=0, metadata={"least": 0})
    """Seeds are `first_seed, first_seed + 1, ...`."""
    evaluations: int = dataclasses.field(default=20, metadata={"most": MAX_ROWS})
    """Evaluations, at equal intervals of environment steps."""
    eval_episodes: int = dataclasses.field(default=32, metadata={"most": MAX_EPISODES})
    """Greedy episodes an evaluation."""
    absolute_episodes: int = dataclasses.field(default=320, metadata={"least": 0, "most": MAX_EPISODES})
    """Greedy episodes of the best policy at the end (the absolute metric); 0 for none."""
    eval_max_steps: int = dataclasses.field(default=1000, metadata={"most": 10**7})
    """Steps after which an evaluation episode is cut where the environment has no limit of its own."""
    log_rows: int = dataclasses.field(default=100, metadata={"most": MAX_ROWS})
    """Rows of training metrics a lane."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints; besides, one is written at the end and on an interrupt, and lasting ones."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay."""
    lasting_checkpoints: int = dataclasses.field(default=0, metadata={"least": 0})
    """So many evaluations, at equal distances and always the last, leave a checkpoint that stays: `eval --step`."""
    lanes_at_once: int | None = None
    """Lanes that run together; None for as many as fit in memory. The others follow in waves of the same program."""
    lane_mode: typing.Literal["auto", "map", "vmap", "envs"] = "auto"
    """Lanes of one device one after another ("map"), batched ("vmap"), or one batch with its environments spread over the
    devices ("envs"). "auto": "map" on CPU, "vmap" elsewhere."""
    devices: int | None = None
    """Most devices to use; None for all."""
    data: str | None = None
    """Folder of stored replay to learn from instead of playing; "jaxmarl-suite record RUN FOLDER" makes one. Environment
    steps are then counted as if the updates had played."""
    memory_gib: float | None = None
    """Memory that training may use, in GiB; None for 80 % of what is there. Copies for checkpoints come on top."""

    def __post_init__(self) -> None:
        """Makes Python's own values of the fields, and refuses sizes that cannot work."""
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain_value(field.name, getattr(self, field.name)))
        for name in ("checkpoint_seconds", "memory_gib"):
            _number_or_none(name, getattr(self, name), may_be_none=name == "memory_gib")
        if not isinstance(self.data, str | None):
            raise ValueError(f"data must be the path of a folder, got {self.data!r}")
        check_integers(self)
        if self.lasting_checkpoints > self.evaluations:
            raise ValueError(
                f"lasting_checkpoints must not exceed the {self.evaluations} evaluations, got {self.lasting_checkpoints}"
            )
        if self.first_seed + self.seeds > 2**31:
            raise ValueError(f"seeds must stay below 2**31, got {self.first_seed + self.seeds - 1}")
        if not 0 <= self.checkpoint_seconds < math.inf:
            raise ValueError(f"checkpoint_seconds must be finite and not negative, got {self.checkpoint_seconds}")
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise ValueError(f"memory_gib must be finite and positive, got {self.memory_gib}")
        if self.lane_mode not in ("auto", "map", "vmap", "envs"):
            raise ValueError(f"lane_mode must be one of auto, map, vmap, envs, got {self.lane_mode!r}")


def _number_or_none(name: str, value: Any, *, may_be_none: bool) -> None:
    if (value is not None or not may_be_none) and type(value) not in (int, float):
        raise ValueError(f"{name} must be a number, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Lane:
    """One training: a grid point and a seed."""

    index: int
    point: int
    seed: int
    overrides: Mapping[str, Any]
    config: Any
    env_params: Any
    optimum: float | None


@dataclasses.dataclass(frozen=True)
class Group:
    """Lanes that one compiled program serves: they differ in traced numbers only."""

    spec: AlgorithmSpec
    config: Any
    env: Environment
    lanes: tuple[Lane, ...]
    phases: tuple[Phase, ...]
    data: Any = None
    """What all lanes read: stored replay."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One algorithm on one environment, times a grid, times seeds. Validated by `groups`."""

    algorithm: str
    env: str
    config: Any = None
    """The algorithm's config, or a mapping from names of its fields to values other than its defaults; None for these."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `jaxmarl_envs.make`; or scalar fields of the environment's parameters, where it has no such option."""
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    """Values by field of the config, or by `env.OPTION`; every combination is a point."""
    options: TrainOptions = dataclasses.field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        """Makes Python's own values of settings, options and grid, whatever they come as: `np.int64(2)`, `jnp.pi`, a `Path`.

        Raises:
          ValueError: for a value that a file could not hold.
        """
        config: Any = self.config
        if isinstance(config, Mapping):
            settings = {str(name): plain_value(str(name), value) for name, value in config.items()}
            object.__setattr__(self, "config", algorithms.config(self.algorithm, **settings))
        elif config is not None and isinstance(config, self.spec.config):
            made: Any = type(config)
            object.__setattr__(self, "config", made(**coerce(config, fields_of(config))))
        options = {name: plain_value(f"{ENV_PREFIX}{name}", value) for name, value in self.env_options.items()}
        object.__setattr__(self, "env_options", options)
        object.__setattr__(self, "grid", {name: grid_values(name, values) for name, values in self.grid.items()})

    @property
    def spec(self) -> AlgorithmSpec:
        """The registered algorithm."""
        return algorithms.get(self.algorithm)

    @property
    def base_config(self) -> Any:
        """The config before the grid."""
        if self.config is None:
            return self.spec.default_config
        if not isinstance(self.config, self.spec.config):
            wanted, given = self.spec.config.__name__, type(self.config).__name__
            raise ValueError(f"{self.algorithm} needs a {wanted} or a mapping of its fields, got a {given}")
        return self.config

    def points(self) -> list[dict[str, Any]]:
        """Every combination of the grid's values, as overrides; one empty combination without a grid."""
        fields = {f.name for f in dataclasses.fields(self.base_config)}
        for name, values in self.grid.items():
            if not name.startswith(ENV_PREFIX) and name not in fields:
                raise ValueError(
                    unknown_field(name, fields, f" in the config of {self.algorithm}")
                    + f"; options of the environment are spelled {ENV_PREFIX}NAME"
                )
            if len(values) == 0:
                raise ValueError(f"grid over {name!r} has no values")
        points = math.prod(len(values) for values in self.grid.values())
        if points * self.options.seeds > MAX_LANES:
            raise ValueError(
                f"{points:,} points x {self.options.seeds:,} seeds are {points * self.options.seeds:,} lanes; "
                f"at most {MAX_LANES:,} in one run"
            )
        return [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]

    def groups(self) -> list[Group]:
        """Lanes sorted by the program that serves them, in order of first appearance. Made once.

        Raises:
          ValueError: for anything about the experiment that cannot work; nothing has been compiled or written yet.
        """
        return list(self._groups)

    def groups_to_evaluate(self) -> list[Group]:
        """`groups` without stored replay, which only training reads."""
        return self._make_groups(read_data=False)

    @functools.cached_property
    def _groups(self) -> list[Group]:
        return self._make_groups(read_data=True)

    def _make_groups(self, *, read_data: bool) -> list[Group]:
        base, environments = self.base_config, Environments(self.env, self.env_options)
        if self.options.data is not None:
            self.spec.check_stored()
        floats = [name for name, kind in field_types(base).items() if kind is float]
        kept: list[tuple[Any, Environment, list[Lane]]] = []
        instances: list[tuple[Instance, Mapping[str, Any]]] = []
        for point, overrides in enumerate(self.points()):
            settings = {k: v for k, v in overrides.items() if not k.startswith(ENV_PREFIX)}
            config = dataclasses.replace(base, **coerce(base, settings))
            check_floats(config, finite=floats)  # configs of other packages need not check them
            check_integers(config, least=-LARGEST_INTEGER)
            with naming_authors(self.algorithm, self.env, refusals=(ValueError, ImportError)):
                instance = environments.get(_env_overrides(overrides))
            instances.append((instance, overrides))
            env, params, optimum = instance
            for config_, env_, lanes in kept:
                if _same_program(config_, config, env_, env, lanes[0].env_params, params):
                    break
            else:
                if read_data:  # to train
                    check_instance(self.env, instance)
                lanes = []
                kept.append((config, env, lanes))
            for repetition in range(self.options.seeds):
                lanes.append(
                    Lane(
                        index=point * self.options.seeds + repetition,
                        point=point,
                        seed=self.options.first_seed + repetition,
                        overrides=overrides,
                        config=config,
                        env_params=params,
                        optimum=optimum,
                    )
                )
        dataset = None
        if self.options.data is not None and read_data:
            dataset = read_vault(self.options.data)
            self._check_environments(dataset, instances)
            # On the device once: the groups' phases share these arrays.
            items: Any = {name: jnp.asarray(array) for name, array in dataset.items.items()}
            dataset = dataclasses.replace(dataset, items=items)
        groups = []
        for config, env, lanes in kept:
            build = self.spec.build if self.options.data is None else self.spec.build_stored
            with naming_authors(self.algorithm, self.env, refusals=(ValueError,)):
                phases = build(config, env)
            data = None if dataset is None else self.spec.stored_data(config, env, dataset)
            steps = [phase.algorithm.env_steps_per_update for phase in phases]
            if self.options.total_steps < sum(steps):
                raise ValueError(
                    f"total_steps must cover at least one update a phase ({' + '.join(map(str, steps))} environment "
                    f"steps for {self.algorithm} with these settings), got {self.options.total_steps}"
                )
            groups.append(Group(self.spec, config, env, tuple(lanes), phases, data))
        return groups

    def _check_environments(self, dataset: Dataset, instances: Sequence[tuple[Instance, Mapping[str, Any]]]) -> None:
        """Refuses stored replay of the same id with other options, unless they make the same environment."""
        if dataset.about.get("env") != self.env:
            return  # the algorithm says so
        options = dataset.about["env_options"]
        try:
            stored = Environments(self.env, options).get({})
        except ValueError:  # options of another version
            stored = None
        for instance, overrides in instances:
            if stored is None or not same_instance(instance, stored):
                raise ValueError(
                    f"stored replay {str(dataset.path)!r} is of {self.env!r} with options {options}, "
                    f"got {self.env_settings(overrides)}"
                )

    def env_settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The environment's options at a point of the grid, as JSON values."""
        return json_values({**self.env_options, **_env_overrides(overrides)})

    def to_json(self) -> dict[str, Any]:
        """Everything needed to make the experiment again, from any folder, as plain values."""
        data = None if self.options.data is None else str(Path(self.options.data).absolute())
        return json_values(
            {
                "algorithm": self.algorithm,
                "env": self.env,
                "env_options": self.env_options,
                "config": plain(self.base_config),
                "grid": self.grid,
                "train": plain(self.options) | {"data": data},
            }
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Experiment":
        """The experiment that `to_json` described."""
        config_type = algorithms.get(data["algorithm"]).config
        config = config_type(**coerce(config_type, data["config"]))
        options = TrainOptions(**coerce(TrainOptions, data["train"]))
        return cls(data["algorithm"], data["env"], config, data["env_options"], data["grid"], options)

    @classmethod
    def read(cls, folder: RunFolder) -> "Experiment":
        """The experiment of a run folder.

        Raises:
          ValueError: naming the file, where it describes none.
        """
        data = folder.read_config()
        try:
            return cls.from_json(data)
        except ValueError as error:
            raise ValueError(f"{folder.path / 'config.json'}: {error}") from None


def _env_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(ENV_PREFIX): v for k, v in overrides.items() if k.startswith(ENV_PREFIX)}


def _same_program(
    config_a: Any, config_b: Any, env_a: Environment, env_b: Environment, params_a: Any, params_b: Any
) -> bool:
    def structure(tree: Any) -> Any:
        return jax.tree.structure(tree)

    def shapes(tree: Any) -> Any:
        return structure(tree), [(jnp.shape(x), jnp.asarray(x).dtype) for x in jax.tree.leaves(tree)]

    return (
        structure(config_a) == structure(config_b)  # floats are leaves, all else is structure
        and env_a == env_b
        and shapes(params_a) == shapes(params_b)
    )
