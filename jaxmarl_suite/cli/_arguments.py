"""The arguments of an experiment: one dataclass per algorithm, made from its config and `TrainOptions`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jaxmarl_envs
import tyro

from jaxmarl_suite import algorithms, recipes, runner
from jaxmarl_suite.algorithms import coerce
from jaxmarl_suite.cli._config_file import ConfigFile, Sink, read_config_file
from jaxmarl_suite.cli._parse import EVAL_PREFIX, PROG, Shown, parse, parse_grid, take_env_options, with_prefix
from jaxmarl_suite.recipes import Recipe
from jaxmarl_suite.runner import Experiment, TrainOptions, WandbOptions

_GRID = tyro.conf.arg(
    metavar="FIELD=A,B|START:STOP",
    help="Values of a config field, or of env.NAME, an option of the environment. Repeatable; every combination is run.",
)

_CONFIG = tyro.conf.arg(
    metavar="FILE",
    help="A JSON file with defaults for what is not given here: a run's config.json, or an object with some of its parts "
    "(algorithm, env, env_options, config, train, ...).",
)


@dataclasses.dataclass(frozen=True)
class Request:
    """An experiment and the other arguments of its command."""

    experiment: Experiment
    run_dir: Path | None
    resume: bool
    sinks: tuple[str, ...]
    recipe: Recipe | None
    """Where the settings come from that were not given; None for the algorithm's defaults."""
    show: Shown = None
    wandb: WandbOptions | None = None
    """None if all are at their defaults."""


def parse_experiment(argv: Sequence[str], command: str, summary: str) -> Request:
    """Parses the arguments of `train`, `sweep` or `plan`.

    Raises:
      ValueError: an invalid argument.
    """
    env_options, rest = take_env_options(argv)
    eval_env_options, rest = take_env_options(rest, EVAL_PREFIX)
    wants_help = bool({"-h", "--help"} & set(rest))
    path = _value(rest, "--config")
    file = read_config_file(Path(path)) if path else ConfigFile()
    rest = file.arguments(rest, _named_algorithm(rest))
    name = _algorithm(rest, command, wants_help)
    recipe = None if name is None else _recipe(file, _value(rest, "--recipe") or "auto", name, _value(rest, "--env"))
    arguments = _arguments(name, command, recipe, file)
    about = (
        f"{summary}\n\nSet options of the environment with --env.NAME VALUE, and options in which evaluations differ from "
        f"training with {EVAL_PREFIX}NAME VALUE"
    )
    if name is not None:
        rest = with_prefix(arguments, rest, _flag_prefix(name))
        about += f". Defaults are those of recipe {recipe.name}" if recipe else ""
        about += f"; --{_flag_prefix(name)}.NAME may be shortened to --NAME if there is no other option of that name"
    else:
        about += f'.\nThe settings of an algorithm: "{PROG} {command} ALGO --help"; algorithms: ' + ", ".join(
            algorithms.names()
        )
    if wants_help:
        about += _env_help(_value(rest, "--env"))
    given: Any = parse(arguments, rest, command, about)
    config = getattr(given, _field(given.algorithm))
    grid = file.grid
    if command != "train" and given.grid:
        grid = parse_grid(given.grid, config)
    if command == "train" and grid:
        raise ValueError(f'{file.path}: has a grid, which is for "sweep"')
    if command == "sweep" and not grid:
        raise ValueError('missing --grid, e.g. --grid learning_rate=1e-4,3e-4; for one setting use "train"')
    env_options = {**file.env_options, **env_options}
    eval_env_options = {**file.eval_env_options, **eval_env_options}
    experiment = Experiment(given.algorithm, given.env, config, env_options, grid, given.options, eval_env_options)
    if command == "plan":
        return Request(experiment, None, False, (), recipe)
    # The file's sinks may be overridden, and then its options of W&B have no use.
    unused = WandbOptions() if "wandb" in given.sinks else file.wandb_options()
    wandb = None if given.wandb in (WandbOptions(), unused) else given.wandb
    return Request(experiment, given.run_dir, given.resume, given.sinks, recipe, given.show, wandb)


def _algorithm(argv: Sequence[str], command: str, wants_help: bool) -> str | None:
    """The algorithm's name. None if only help is wanted."""
    named = _named_algorithm(argv)
    if named is not None or wants_help:
        return named
    raise ValueError(
        f'missing the algorithm: "{PROG} {command} ALGO --env ID"; there are: {", ".join(algorithms.names())}'
    )


def _named_algorithm(argv: Sequence[str]) -> str | None:
    """The first argument, or the only known name among them; None without."""
    if argv and not argv[0].startswith("-"):
        return algorithms.get(argv[0]).name
    named = [word for word in argv if word in algorithms.names()]
    return named[0] if len(named) == 1 else None


def _recipe(file: ConfigFile, name: str, algorithm: str, env: str) -> Recipe | None:
    """The recipe for the settings that the file leaves open."""
    if not file.has_all_settings(algorithm):
        return recipes.choose(name, algorithm, env)
    if name not in ("auto", "none"):
        raise ValueError(f"{file.path} has all settings of {algorithm} and leaves nothing to recipe {name!r}")
    return None


def _field(algorithm: str) -> str:
    return algorithm.replace("-", "_")


def _value(argv: Sequence[str], flag: str) -> str:
    """The value of an option, before the command line is parsed; empty if it is not given."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith(f"{flag}=") else [word])]
    value = (words[words.index(flag) + 1 :] or [""])[0] if flag in words else ""
    return "" if value.startswith("-") else value


def _env_help(env_id: str) -> str:
    """Help for the options and traced parameters of the environment, if one is given."""
    if not env_id:
        return ""
    traced = runner.env_parameters(env_id)
    static = {name: value for name, value in jaxmarl_envs.options(env_id).items() if name not in traced}
    lines = [f"Options of {env_id}, with their defaults:" if static or traced else f"{env_id} has no options"]
    lines += [f"  --env.{name.replace('_', '-')} {value}" for name, value in static.items()]
    lines += ["", "Traced options (a grid over them is one program):"] if traced else []
    lines += [f"  --env.{name.replace('_', '-')} {value:.6g}" for name, value in traced.items()]
    if evaluated := jaxmarl_envs.core.evaluation_options(env_id):
        lines += ["", "In evaluations:", *(f"  {EVAL_PREFIX}{name} {value}" for name, value in evaluated.items())]
    return "\n\n" + "\n".join(lines)


def _flag_prefix(algorithm: str) -> str:
    return _field(algorithm).replace("_", "-")


def _arguments(algorithm: str | None, command: str, recipe: Recipe | None, file: ConfigFile) -> type:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("algorithm", Annotated[str, tyro.conf.arg(metavar="ALGO", help="The algorithm."), tyro.conf.Positional]),
        ("env", Annotated[str, tyro.conf.arg(metavar="ID", help="The environment, e.g. matrix/climbing.")]),
    ]
    if command != "train":
        fields.append(("grid", Annotated[tuple[str, ...], _GRID, tyro.conf.UseAppendAction], ()))
    if command != "plan":
        run_dir = tyro.conf.arg(metavar="DIR", help="A new folder for the run. Default: runs/ENV-ALGORITHM-NNN.")
        again = tyro.conf.arg(help="Continue the run in --run-dir, which must have the same configuration.")
        sinks = tyro.conf.arg(help="Where to log metrics in addition to the run folder.")
        fields += [
            ("run_dir", Annotated[Path | None, run_dir], None),
            ("resume", Annotated[bool, again, tyro.conf.FlagCreatePairsOff], False),
            ("sinks", Annotated[tuple[Sink, ...], sinks], tuple(file.sinks)),
            ("wandb", WandbOptions, dataclasses.field(default=file.wandb_options())),
            ("show", Shown, None),
        ]
    how = 'Tuned settings: "auto" for those of this algorithm and environment if there are any, "none", or a name.'
    fields.append(("recipe", Annotated[str, tyro.conf.arg(metavar="NAME", help=how)], "auto"))
    fields.append(("config", Annotated[Path | None, _CONFIG], None))
    fields.append(
        ("options", Annotated[TrainOptions, tyro.conf.arg(name="")], dataclasses.field(default=file.options()))
    )
    if algorithm is not None:
        spec = algorithms.get(algorithm)
        default = spec.default_config
        if recipe is not None:
            default = dataclasses.replace(default, **coerce(default, recipe.settings))
        fields.append((_field(algorithm), spec.config, dataclasses.field(default=file.apply_to(default))))
    return dataclasses.make_dataclass("Arguments", fields, frozen=True)
