"""An experiment: one algorithm on one environment, for a grid of settings times seeds, as lanes."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxmarl_envs
from jaxmarl_envs import Environment
from jaxmarl_envs.core import evaluation_options

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
from jaxmarl_suite.runner._environments import Environments, Instance, check_instance, same_instance, same_program
from jaxmarl_suite.runner._eval_env import EvalEnvironments, check_policies
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._options import MAX_LANES, TrainOptions
from jaxmarl_suite.runner._values import fields_of, grid_values, json_values, plain, plain_value

ENV_PREFIX = "env."


@dataclasses.dataclass(frozen=True)
class Lane:
    """One training run: a grid point and a seed."""

    index: int
    point: int
    seed: int
    overrides: Mapping[str, Any]
    config: Any
    env_params: Any
    eval_params: Any
    """Parameters of the environment that policies are evaluated in."""
    optimum: float | None
    """Optimum of that environment."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Lanes that share compiled programs: they differ only in traced numbers."""

    spec: AlgorithmSpec
    config: Any
    env: Environment
    lanes: tuple[Lane, ...]
    phases: tuple[Phase, ...]
    """The phases to run."""
    eval_env: Environment
    """The environment for evaluations: `env`, or one with the same sizes of observations and actions."""
    eval_phases: tuple[Phase, ...]
    """The algorithms of the phases, built for `eval_env`."""
    data: tuple[Any, ...] = ()
    """`ctx.data` of each phase."""
    earlier: tuple[Phase, ...] = ()
    """Earlier phases of the method, if the run starts from another run's artifact of the last of them."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One algorithm on one environment, times a grid, times seeds. `groups` validates it."""

    algorithm: str
    env: str
    config: Any = None
    """The algorithm's config, or a mapping from field names to values that differ from the defaults; None for the
    defaults."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `jaxmarl_envs.make`, or scalar fields of the environment's parameters if it has no such option."""
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Values by config field or `env.OPTION`, every combination of which is a point; or the points themselves, each with its
    values by name."""
    options: TrainOptions = dataclasses.field(default_factory=TrainOptions)
    eval_env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the environment in which evaluations differ from training, beside those of its family
    (`Family.evaluation_options`); they go before the grid."""

    def __post_init__(self) -> None:
        """Converts settings, options and grid to plain Python values, whatever they are: `np.int64(2)`, `jnp.pi`, a
        `Path`.

        Raises:
          ValueError: a value that cannot be stored in a file.
        """
        config: Any = self.config
        if isinstance(config, Mapping):
            settings = {str(name): plain_value(str(name), value) for name, value in config.items()}
            object.__setattr__(self, "config", algorithms.config(self.algorithm, **settings))
        elif config is not None and isinstance(config, self.spec.config):
            made: Any = type(config)
            object.__setattr__(self, "config", made(**coerce(config, fields_of(config))))
        for field, prefix in (("env_options", ENV_PREFIX), ("eval_env_options", f"eval-{ENV_PREFIX}")):
            options = {name: plain_value(f"{prefix}{name}", value) for name, value in getattr(self, field).items()}
            object.__setattr__(self, field, options)
        if isinstance(self.grid, Mapping):
            object.__setattr__(self, "grid", {name: grid_values(name, values) for name, values in self.grid.items()})
        else:
            if not self.grid:
                raise ValueError("a list of points needs at least one")
            if wrong := [point for point in self.grid if not isinstance(point, Mapping)]:
                raise ValueError(f"a list of points holds values by name for each, got {wrong[0]!r}")
            points = [{name: plain_value(name, value) for name, value in point.items()} for point in self.grid]
            object.__setattr__(self, "grid", points)

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
        """The grid's points as overrides; a single empty one without a grid."""
        grid = self.grid
        if isinstance(grid, Mapping):
            names, count = list(grid), math.prod(len(values) for values in grid.values())
        else:
            names, count = [name for point in grid for name in point], len(grid)
        fields = {f.name for f in dataclasses.fields(self.base_config)}
        for name in names:
            if not name.startswith(ENV_PREFIX) and name not in fields:
                raise ValueError(
                    unknown_field(name, fields, f" in the config of {self.algorithm}")
                    + f"; options of the environment are spelled {ENV_PREFIX}NAME"
                )
            if isinstance(grid, Mapping) and not grid[name]:
                raise ValueError(f"grid over {name!r} has no values")
        if count * self.options.seeds > MAX_LANES:
            raise ValueError(
                f"{count:,} points x {self.options.seeds:,} seeds are {count * self.options.seeds:,} lanes; "
                f"at most {MAX_LANES:,} in one run"
            )
        if isinstance(grid, Mapping):
            return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
        return [dict(point) for point in grid]

    def groups(self) -> list[Group]:
        """Lanes grouped by the programs that they share, in order of first appearance. Computed once.

        Raises:
          ValueError: anything in the experiment that cannot work; nothing has been compiled or written yet.
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
        evaluating = EvalEnvironments(self.env, self.env_options, self.evaluation_options)
        if self.options.data is not None:
            self.spec.check_takes_data()
        floats = [name for name, kind in field_types(base).items() if kind is float]
        kept: list[_Kind] = []
        instances: list[tuple[Instance, Mapping[str, Any]]] = []
        for point, overrides in enumerate(self.points()):
            settings = {k: v for k, v in overrides.items() if not k.startswith(ENV_PREFIX)}
            config = dataclasses.replace(base, **coerce(base, settings))
            check_floats(config, finite=floats)  # configs from other packages may not check them
            check_integers(config, least=-LARGEST_INTEGER)
            with naming_authors(self.algorithm, self.env, refusals=(ValueError, ImportError)):
                instance = environments.get(_env_overrides(overrides))
                evaluated = evaluating.get(_env_overrides(overrides), instance)
            instances.append((instance, overrides))
            lanes = next((k.lanes for k in kept if k.serves(config, instance, evaluated)), None)
            if lanes is None:
                if read_data:  # for training
                    for one in {id(one): one for one in (instance, evaluated)}.values():
                        check_instance(self.env, one)
                lanes = []
                kept.append(_Kind(config, instance, evaluated, lanes))
            for repetition in range(self.options.seeds):
                lanes.append(
                    Lane(
                        index=point * self.options.seeds + repetition,
                        point=point,
                        seed=self.options.first_seed + repetition,
                        overrides=overrides,
                        config=config,
                        env_params=instance.params,
                        eval_params=evaluated.params,
                        optimum=evaluated.optimum,
                    )
                )
        dataset = None
        if self.options.data is not None and read_data:
            dataset = read_vault(self.options.data)
            self._check_environments(dataset, instances)
            # Moved to the device once: the groups' phases share these arrays.
            items: Any = {name: jnp.asarray(array) for name, array in dataset.items.items()}
            dataset = dataclasses.replace(dataset, items=items)
        groups = []
        for config, (env, params, _), (eval_env, eval_params, _), lanes in kept:
            has_data = self.options.data is not None
            with naming_authors(self.algorithm, self.env, refusals=(ValueError,)):
                method = acting = self.spec.build(config, env, has_data=has_data)
                if eval_env is not env:
                    acting = self.spec.build(config, eval_env, has_data=has_data)
                    check_policies(self.algorithm, config, (method, env, params), (acting, eval_env, eval_params))
            first = self._first_phase(method)
            phases = method[first:]
            self._check_budgets(phases)
            data = tuple(None if dataset is None or phase.data is None else phase.data(dataset) for phase in phases)
            eval_phases = phases if acting is method else acting[first:]
            groups.append(
                Group(self.spec, config, env, tuple(lanes), phases, eval_env, eval_phases, data, method[:first])
            )
        return groups

    def _first_phase(self, phases: tuple[Phase, ...]) -> int:
        """Number of the phase that the run begins with."""
        if self.options.start_from is None:
            return 0
        able = [i for i, (one, then) in enumerate(itertools.pairwise(phases), 1) if one.artifact and then.begin]
        names = [phases[i].name for i in able]
        if not able:
            raise ValueError(
                f"{self.algorithm} cannot start from another run: none of its phases begins with an artifact"
            )
        chosen = self.options.start_phase
        if chosen is not None and chosen not in names:
            raise ValueError(
                f"{self.algorithm} cannot start with phase {chosen!r}; with an artifact begin: {', '.join(names)}"
            )
        return able[-1 if chosen is None else names.index(chosen)]

    def _check_budgets(self, phases: tuple[Phase, ...]) -> None:
        """Rejects too few steps, phases that lack data, and data that no phase takes."""
        steps = [phase.algorithm.env_steps_per_update for phase in phases if phase.updates is None]
        if self.options.total_steps < sum(steps):
            raise ValueError(
                f"total_steps must cover at least one update a phase ({' + '.join(map(str, steps))} environment "
                f"steps for {self.algorithm} with these settings), got {self.options.total_steps}"
            )
        takers = [phase.name for phase in phases if phase.data is not None]
        if takers and self.options.data is None:
            raise ValueError(
                f"phase {takers[0]!r} of {self.algorithm} learns from stored data: give its folder as data (--data)"
            )
        if not takers and self.options.data is not None:
            left = ", ".join(repr(phase.name) for phase in phases)
            raise ValueError(f"no phase of this run of {self.algorithm} takes data (there is {left}); leave data out")

    def _check_environments(self, dataset: Dataset, instances: Sequence[tuple[Instance, Mapping[str, Any]]]) -> None:
        """Rejects stored replay recorded with other environment options, unless they make the same environment."""
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
        """The environment's options at a grid point, as JSON values."""
        return json_values({**self.env_options, **_env_overrides(overrides)})

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """Options in which the evaluation environment differs from training, including those of its family."""
        return {**evaluation_options(self.env), **self.eval_env_options}

    def to_json(self) -> dict[str, Any]:
        """Everything needed to build the experiment again, from any folder, as plain values."""
        folders = {name: getattr(self.options, name) for name in ("data", "start_from")}
        folders = {name: None if path is None else str(Path(path).absolute()) for name, path in folders.items()}
        return json_values(
            {
                "algorithm": self.algorithm,
                "env": self.env,
                "env_options": self.env_options,
                "eval_env_options": self.evaluation_options,
                "config": plain(self.base_config),
                "grid": self.grid,
                "train": plain(self.options) | folders,
            }
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Experiment":
        """The experiment described by `to_json`."""
        config_type = algorithms.get(data["algorithm"]).config
        config = config_type(**coerce(config_type, data["config"]))
        options = TrainOptions(**coerce(TrainOptions, data["train"]))
        env, env_options, evaluated = data["env"], data["env_options"], data.get("eval_env_options")
        if evaluated is None:  # written by a version that always evaluated in the training environment
            evaluated = {
                name: env_options.get(name, jaxmarl_envs.options(env)[name]) for name in evaluation_options(env)
            }
        return cls(data["algorithm"], env, config, env_options, data["grid"], options, evaluated)

    @classmethod
    def read(cls, folder: RunFolder) -> "Experiment":
        """Reads the experiment of a run folder.

        Raises:
          ValueError: the file does not describe an experiment; its name is given, and the version that wrote it if it
            was another one.
        """
        data = folder.read_config()
        try:
            return cls.from_json(data)
        except ValueError as error:
            raise ValueError(f"{folder.path / 'config.json'}: {error}{folder.other_version()}") from None


class _Kind(NamedTuple):
    """Lanes of one group, while the groups are being formed."""

    config: Any
    trained: Instance
    evaluated: Instance
    lanes: list[Lane]

    def serves(self, config: Any, trained: Instance, evaluated: Instance) -> bool:
        """Whether another lane can use the group's programs too."""
        structures: list[Any] = [jax.tree.structure(one) for one in (self.config, config)]
        return (
            structures[0] == structures[1]  # floats are leaves, all else is structure
            and same_program(self.trained, trained)
            and same_program(self.evaluated, evaluated)
        )


def _env_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(ENV_PREFIX): v for k, v in overrides.items() if k.startswith(ENV_PREFIX)}
