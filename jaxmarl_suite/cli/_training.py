"""`train`, `sweep`, `resume`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.text import Text

from jaxmarl_suite import runner
from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.cli._console import TrainingConsole, print_summary, shown_metrics
from jaxmarl_suite.cli._parse import PROG, Shown, parse
from jaxmarl_suite.cli._session import Result, Session
from jaxmarl_suite.runner import Experiment


def train(argv: list[str], session: Session) -> Result:
    """Trains one setting with many seeds."""
    return _train(argv, "train", "Trains an algorithm on an environment, all seeds in one compiled program.", session)


def sweep(argv: list[str], session: Session) -> Result:
    """Trains a grid of settings with many seeds each."""
    return _train(argv, "sweep", "Trains every grid point with every seed, in as few programs as possible.", session)


@dataclasses.dataclass(frozen=True)
class ResumeArguments:
    """The arguments of `resume`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder."""
    memory_gib: float | None = None
    """Memory that training may use from now on, in GiB. Default: as the run began."""
    show: Shown = None


def resume(argv: list[str], session: Session) -> Result:
    """Continues an interrupted or killed run to its end."""
    given = parse(ResumeArguments, argv, "resume", "Continues a run from its newest intact checkpoint.")
    folder = runner.RunFolder.open(given.run)
    experiment = Experiment.read(folder)
    if folder.summary().get("status") == "finished":
        session.note(f"{given.run} is finished already")
        spec = experiment.groups_to_evaluate()[0].eval_env.spec
        return _finish(folder.path, given.run, session, shown_metrics(spec, given.show))
    if given.memory_gib is not None:
        options = dataclasses.replace(experiment.options, memory_gib=given.memory_gib)
        experiment = dataclasses.replace(experiment, options=options)
    return _resume(given.run, experiment, session, given.show)


def _train(argv: list[str], command: str, summary: str, session: Session) -> Result:
    request = parse_experiment(argv, command, summary)
    experiment = request.experiment
    if request.resume:
        if request.run_dir is None:
            raise ValueError("--resume needs --run-dir, the run to continue")
        return _resume(request.run_dir, experiment, session, request.show, request.sinks, request.wandb)
    if request.recipe:
        session.note(request.recipe.announcement)
    runner.configure()
    total = runner.total_steps(experiment)
    metrics = shown_metrics(experiment.groups()[0].eval_env.spec, request.show)
    folder = request.run_dir or runner.default_run_dir(experiment.algorithm, experiment.env)
    with TrainingConsole(session, experiment, folder, total, metrics) as listener:
        path = runner.run(experiment, run_dir=folder, sinks=request.sinks, wandb=request.wandb, listener=listener)
    return _finish(path, folder, session, metrics)


def _resume(
    run_dir: Path,
    experiment: Experiment,
    session: Session,
    show: Shown,
    sinks: tuple[str, ...] = (),
    wandb: runner.WandbOptions | None = None,
) -> Result:
    stored = Experiment.read(runner.RunFolder.open(run_dir))
    runner.check_data(run_dir, stored)
    runner.configure()
    total = runner.total_steps(experiment)
    metrics = shown_metrics(experiment.groups()[0].eval_env.spec, show)
    with TrainingConsole(session, experiment, run_dir, total, metrics) as listener:
        listener.take_up(run_dir)
        path = runner.resume(run_dir, experiment=experiment, sinks=sinks or None, wandb=wandb, listener=listener)
    return _finish(path, run_dir, session, metrics)


def _finish(path: Path, name: Path, session: Session, metrics: Sequence[str]) -> Result:
    """Prints and returns the results of the run at `path`, which the user knows as `name`."""
    summary: dict[str, Any] = runner.RunFolder(path).summary()
    print_summary(session, path, summary, metrics)
    if not session.quiet:
        session.console().print(Text.assemble((f"{PROG} plot {name}", "dim"), "  draws the curves"))
    return {"run_dir": str(name), **summary}
