"""The arguments of an experiment: one dataclass per algorithm, made from its config and `TrainOptions`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jaxmarl_envs
import tyro

from jaxmarl_suite import algorithms, recipes, runner
from jaxmarl_suite.algorithms import coerce
from jaxmarl_suite.cli._parse import EVAL_PREFIX, PROG, parse, parse_grid, take_env_options, with_prefix
from jaxmarl_suite.recipes import Recipe
from jaxmarl_suite.runner import Experiment, TrainOptions

_GRID = tyro.conf.arg(
    metavar="FIELD=A,B|START:STOP",
    help="Values of a config field, or of env.NAME, an option of the environment. Repeatable; every combination is run.",
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


def parse_experiment(argv: Sequence[str], command: str, summary: str) -> Request:
    """Parses the arguments of `train`, `sweep` or `plan`.

    Raises:
      ValueError: an invalid argument.
    """
    env_options, rest = take_env_options(argv)
    eval_env_options, rest = take_env_options(rest, EVAL_PREFIX)
    wants_help = bool({"-h", "--help"} & set(rest))
    name = _algorithm(rest, command, wants_help)
    recipe = None if name is None else recipes.choose(_value(rest, "--recipe") or "auto", name, _value(rest, "--env"))
    arguments = _arguments(name, command, recipe)
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
    grid = parse_grid(given.grid, config) if command != "train" else {}
    if command == "sweep" and not grid:
        raise ValueError('missing --grid, e.g. --grid learning_rate=1e-4,3e-4; for one setting use "train"')
    experiment = Experiment(given.algorithm, given.env, config, env_options, grid, given.options, eval_env_options)
    if command == "plan":
        return Request(experiment, None, False, (), recipe)
    return Request(experiment, given.run_dir, given.resume, given.sinks, recipe)


def _algorithm(argv: Sequence[str], command: str, wants_help: bool) -> str | None:
    """The algorithm's name: the first argument, or the only known name among them. None if only help is wanted."""
    if argv and not argv[0].startswith("-"):
        return algorithms.get(argv[0]).name
    named = [word for word in argv if word in algorithms.names()]
    if len(named) == 1:
        return named[0]
    if wants_help:
        return None
    raise ValueError(
        f'missing the algorithm: "{PROG} {command} ALGO --env ID"; there are: {", ".join(algorithms.names())}'
    )


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


def _arguments(algorithm: str | None, command: str, recipe: Recipe | None) -> type:
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
            ("sinks", Annotated[tuple[Literal["tensorboard", "wandb"], ...], sinks], ()),
        ]
    how = 'Tuned settings: "auto" for those of this algorithm and environment if there are any, "none", or a name.'
    fields.append(("recipe", Annotated[str, tyro.conf.arg(metavar="NAME", help=how)], "auto"))
    fields.append(
        ("options", Annotated[TrainOptions, tyro.conf.arg(name="")], dataclasses.field(default=TrainOptions()))
    )
    if algorithm is not None:
        spec = algorithms.get(algorithm)
        default = spec.default_config
        if recipe is not None:
            default = dataclasses.replace(default, **coerce(default, recipe.settings))
        fields.append((_field(algorithm), spec.config, dataclasses.field(default=default)))
    return dataclasses.make_dataclass("Arguments", fields, frozen=True)
