"""`tune`: searches settings and compares the best with plain ones on seeds of their own."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite.cli._console import TrainingConsole, print_table
from jaxmarl_suite.cli._parse import PROG, flat_settings, parse, parse_grid, take_env_options
from jaxmarl_suite.cli._session import Result, Session

_SPACE = tyro.conf.arg(
    metavar="FIELD=A,B|LOW:HIGH[:log]", help="Values or a range of a config field. Repeatable; all are drawn together."
)
_FIX = tyro.conf.arg(metavar="FIELD=VALUE", help="A config field that is not searched. Repeatable.")


_SIZES = ("total_steps", "points", "rounds", "seeds", "final_seeds", "metric", "draw_seed")


@dataclasses.dataclass(frozen=True)
class TuneArguments:
    """The arguments of `tune`."""

    algorithm: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ALGO")]
    """The algorithm."""
    env: Annotated[str, tyro.conf.arg(metavar="ID")]
    """The environment."""
    space: Annotated[tuple[str, ...], _SPACE, tyro.conf.UseAppendAction] = ()
    fix: Annotated[tuple[str, ...], _FIX, tyro.conf.UseAppendAction] = ()
    total_steps: int = 200_000
    """Environment steps per seed in the last round and in the final comparison."""
    points: int = 16
    """Points of the first round."""
    rounds: int = 3
    """Rounds; each keeps the best third of the points and trains them three times as long. 1 is random search."""
    seeds: int = 2
    """Seeds per point."""
    final_seeds: int = 5
    """Seeds of the final comparison; none of them is used in the search."""
    metric: str = "return"
    """What is maximized."""
    draw_seed: int = 0
    """Seed of the points."""
    folder: Path | None = None
    """Where the runs lie; the same command continues there. Default: runs/tune-ENV-ALGO."""


def tune(argv: list[str], session: Session) -> Result:
    """Searches settings by successive halving."""
    env_options, rest = take_env_options(argv)
    about = (
        "Searches settings by successive halving: all points and seeds of a round train together, the best third goes on "
        "for three times as long, and the winner is compared with plain settings on other seeds."
    )
    given = parse(TuneArguments, rest, "tune", about)
    from jaxmarl_suite import algorithms, runner, tuning

    spec = algorithms.get(given.algorithm)
    settings = {name: values[0] for name, values in parse_grid(given.fix, spec.default_config).items()}
    folder = given.folder or Path("runs") / f"tune-{given.env.replace('/', '-')}-{spec.name}"
    tuner = tuning.Tuner(
        spec.name,
        given.env,
        tuning.parse_space(given.space, spec.default_config),
        settings,
        env_options,
        **{name: getattr(given, name) for name in _SIZES},
    )

    def watch(path: Path, experiment: runner.Experiment) -> TrainingConsole:
        return TrainingConsole(session, experiment, path, runner.total_steps(experiment))

    found = tuning.tune(tuner, folder, watch=watch)
    _show(session, tuner, found)
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in {**settings, **found.best}.items())
    session.console().print(f"{PROG} train {spec.name} --env {given.env} {flags}", style="dim", markup=False)
    return {"folder": str(folder), **dataclasses.asdict(found)}


def _show(session: Session, tuner: Any, found: Any) -> None:
    """Prints the points of all rounds, and the final comparison."""
    rows = [
        {
            "round": number + 1,
            "steps": f"{tuner.steps(number):,}",
            "setting": flat_settings(one["settings"]),
            tuner.metric: one["score"],
        }
        for number, points in enumerate(found.rounds)
        for one in points
    ]
    print_table(session.console(), rows)
    compared = {"tuned": found.tuned, "plain settings": found.plain}
    print_table(
        session.console(),
        [
            {"settings": name, "interquartile mean": f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}]"}
            for name, one in compared.items()
        ],
        title=f"{tuner.metric} after {tuner.total_steps:,} steps, seeds 0 to {tuner.final_seeds - 1}",
    )
