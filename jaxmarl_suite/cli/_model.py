"""`model`: tests the world model of a run against its environment."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite.cli._console import print_table
from jaxmarl_suite.cli._parse import parse
from jaxmarl_suite.cli._session import Result, Session


@dataclasses.dataclass(frozen=True)
class ModelArguments:
    """The arguments of `model`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder of a method with a world model; the run may be unfinished."""
    lane: int = 0
    """The lane whose model is tested."""
    samples: int = 20
    """Tests, from random places of fresh episodes."""
    steps: int = 15
    """Steps that the model predicts without correction."""
    seed: int = 0
    """Seed of the episodes and of the model's samples."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw imagined beside true trajectories into this file (.png, .svg or .pdf)."""


def model(argv: list[str], session: Session) -> Result:
    """Tests one lane's model."""
    given = parse(ModelArguments, argv, "model", "Tests the world model in a run's newest checkpoint.")
    from jaxmarl_suite import runner

    if given.out is not None:
        from jaxmarl_suite.analysis import check_figure_path

        check_figure_path(given.out)
    found = runner.diagnose(
        given.run, lane=given.lane, samples=given.samples, steps=given.steps, seed=given.seed, warn=session.note
    )
    console, drift = session.console(), found.error.mean((0, 2))
    console.print(
        f"{found.algorithm} on {found.env}, lane {found.lane}, after {found.env_steps:,} environment steps: "
        f"{len(found.error)} tests of {given.steps} steps",
        markup=False,
    )
    rows: list[dict[str, Any]] = [
        {"step": f"{t + 1}", "mean error": f"{drift[t]:.3f}", "largest entry": f"{found.error[:, t].mean(0).max():.3f}"}
        for t in range(given.steps)
    ]
    print_table(console, rows)
    if not session.quiet:
        console.print("errors in standard deviations of the states", style="dim", markup=False)
    if len(found.gains):
        gains = "  ".join(f"{gain:.2f}" for gain in found.gains)
        console.print(f"effects of single agents' actions, 1 for all of it: {gains}", markup=False)
    if given.out is not None:
        from jaxmarl_suite import analysis

        console.print(str(analysis.plot_model(found.true, found.predicted, found.error, given.out)), markup=False)
    return {
        "run_dir": str(given.run),
        "lane": found.lane,
        "env_steps": found.env_steps,
        "error": [float(x) for x in drift],
        "gains": [float(x) for x in found.gains],
        "seconds": found.seconds,
        "figure": None if given.out is None else str(given.out),
    }
