"""`train`, `sweep`, `resume`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite import runner
from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.cli._console import TrainingConsole, print_summary
from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session
from jaxmarl_suite.runner import Experiment


def train(argv: list[str], session: Session) -> Result:
    """One setting, many seeds."""
    return _train(argv, "train", "Trains an algorithm on an environment, all seeds in one compiled program.", session)


def sweep(argv: list[str], session: Session) -> Result:
    """A grid of settings, many seeds each."""
    return _train(argv, "sweep", "Trains every point of a grid times every seed, in as few programs as fit.", session)


@dataclasses.dataclass(frozen=True)
class ResumeArguments:
    """The arguments of `resume`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder."""


def resume(argv: list[str], session: Session) -> Result:
    """An interrupted or killed run, to its end."""
    given = parse(ResumeArguments, argv, "resume", "Continues a run from its newest whole checkpoint.")
    return _resume(given.run, None, session)


def _train(argv: list[str], command: str, summary: str, session: Session) -> Result:
    request = parse_experiment(argv, command, summary)
    experiment = request.experiment
    if request.resume:
        if request.run_dir is None:
            raise ValueError("--resume needs --run-dir, the run to continue")
        return _resume(request.run_dir, experiment, session)
    runner.configure()
    total = runner.total_env_steps(experiment)
    folder = request.run_dir or runner.default_run_dir(experiment.algorithm, experiment.env)
    with TrainingConsole(session, experiment, folder, total) as listener:
        path = runner.run(experiment, run_dir=folder, sinks=request.sinks, listener=listener)
    return _finish(path, session)


def _resume(run_dir: Path, given: Experiment | None, session: Session) -> Result:
    folder = runner.RunFolder.open(run_dir)
    stored = folder.read("config.json")
    if folder.path.joinpath("summary.json").is_file() and given is None:
        status = folder.read("summary.json").get("status")
        if status == "finished":
            session.note(f"{run_dir} is finished already")
            return _finish(folder.path, session)
    runner.configure()
    experiment = given or Experiment.from_json(stored)
    total = runner.total_env_steps(experiment)
    with TrainingConsole(session, experiment, folder.path, total) as listener:
        listener.take_up(folder.path)
        path = runner.resume(run_dir, experiment=given, listener=listener)
    return _finish(path, session)


def _finish(path: Path, session: Session) -> Result:
    summary: dict[str, Any] = runner.RunFolder(path).read("summary.json")
    print_summary(session, path, summary)
    if not session.quiet:
        session.console().print(f"[dim]{PROG} plot {path}[/]  draws the curves")
    return {"run_dir": str(path), **summary}
