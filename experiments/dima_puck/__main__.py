"""`python -m experiments.dima_puck`: trains what is missing, then rewrites the README's tables and the figure."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.dima_puck import presets
from jaxmarl_suite import analysis, runner

FOLDER = Path(__file__).parent
CONFIDENCE = 0.8


@dataclasses.dataclass(frozen=True)
class Options:
    """Policies learned in world models of the puck: tables and figure."""

    methods: tuple[str, ...] = tuple(presets.METHODS)
    """Methods to train."""
    runs: Path = Path("runs/dima_puck")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""


def returns_table(runs: dict[str, analysis.Run]) -> str:
    """Last evaluations at equal steps, with 80 % intervals over seeds."""
    rows = []
    for name, run in runs.items():
        e = analysis.bootstrap_estimate([run.curve().values[:, -1]], confidence=CONFIDENCE)
        rows.append([name, f"{e.value:.1f} [{e.low:.1f}, {e.high:.1f}]", f"{run.summary['seconds'] / 60:.0f}"])
    uniform = random_return(presets.ENV, episodes=256)
    return markdown_table(
        ["method", f"return after {presets.STEPS:,} steps", "minutes, all seeds"],
        [*rows, ["uniform", f"{uniform:.1f}", "–"]],
    )


def model_table(runs: dict[str, analysis.Run], folder: Path) -> str:
    """Errors of the models at the end, and effects of single agents' actions."""
    rows = []
    for name in runs:
        if name.startswith("MAPPO"):
            continue
        found = [runner.diagnose(folder / name, lane=lane) for lane in range(presets.SEEDS)]
        error = np.mean([one.error.mean((0, 2)) for one in found], axis=0)
        gains = np.mean([one.gains for one in found], axis=0)
        rows.append([name, f"{error[0]:.3f}", f"{error[-1]:.3f}", " ".join(f"{gain:.2f}" for gain in gains)])
    return markdown_table(["method", "error, step 1", "error, step 15", "gains of the agents"], rows)


def steps_needed(level: float, run: analysis.Run) -> str:
    """Environment steps after which the mean over seeds reaches `level`."""
    curve = run.curve()
    reached = np.flatnonzero(curve.values.mean(0) >= level)
    return f"{int(curve.env_steps[reached[0]]):,}" if len(reached) else f"more than {int(curve.env_steps[-1]):,}"


def main(options: Options) -> None:
    if unknown := [name for name in options.methods if name not in presets.METHODS]:
        raise SystemExit(f"unknown methods {', '.join(unknown)}; there are {', '.join(presets.METHODS)}")
    runs = train_all(presets.equal_runs(options.methods), options.runs, fresh=options.fresh)
    sections = {"table:returns": returns_table(runs)}
    if models := model_table(runs, options.runs):
        sections["table:models"] = models
    if "DIMA" in runs:
        (long,) = train_all(presets.long_runs(), options.runs, fresh=options.fresh).values()
        level = float(runs["DIMA"].curve().values[:, -1].mean())
        sections["table:steps"] = f"MAPPO needs {steps_needed(level, long)} steps for a mean return of {level:.1f}."
    for name, text in sections.items():
        analysis.update_section(FOLDER / "README.md", name, f"{text}\n\n{provenance(list(runs.values()))}")
        print(text)
    analysis.plot(list(runs.values()), FOLDER / "curves.png", title="A puck pushed to a goal")


if __name__ == "__main__":
    main(tyro.cli(Options))
