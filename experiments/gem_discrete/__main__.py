"""`python -m experiments.gem_discrete`: trains what is missing, then rewrites the README's tables."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.gem_discrete import presets
from experiments.gem_toy.measures import ratio
from jaxmarl_suite import analysis
from jaxmarl_suite.analysis import Run

FOLDER = Path(__file__).parent
BASE = "DQN"


@dataclasses.dataclass(frozen=True)
class Options:
    """GEM with discrete actions and DQN, on catch, deep sea and games of MinAtar: tables."""

    runs: Path = Path("runs/gem_discrete")
    """Where run folders lie; finished ones are used as they are."""
    tasks: tuple[str, ...] = tuple(presets.TASKS)
    """What to train and table."""
    fresh: bool = False
    """Train everything anew."""


def interval(values: NDArray[np.float64]) -> str:
    """IQM over seeds with its 95 % bootstrap interval."""
    e = analysis.bootstrap_estimate([values])
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def section(task: str, runs: dict[str, Run]) -> str:
    """Final returns and areas of all methods on one task, and the ratios of areas to that of DQN."""
    chosen = presets.TASKS[task]
    random = random_return(chosen.env, **chosen.options)
    areas = {method: runs[f"{method} on {task}"].curve().values.mean(axis=1) - random for method in presets.METHODS}
    rows = [
        [
            f"{task} ({random:.2f}), {method}",
            interval(runs[f"{method} on {task}"].curve().values[:, -1]),
            interval(area),
            "" if method == BASE else ratio(area, areas[BASE]),
        ]
        for method, area in areas.items()
    ]
    table = markdown_table(["task (uniform actions), method", "final return", "area", "ratio to DQN [90 %]"], rows)
    return f"{table}\n\n{provenance(list(runs.values()))}"


def main(options: Options) -> None:
    unknown = set(options.tasks) - set(presets.TASKS)
    if unknown:
        raise SystemExit(f"unknown tasks {', '.join(sorted(unknown))}; accepted: {', '.join(presets.TASKS)}")
    for task in options.tasks:
        markdown = section(task, train_all(presets.runs_of(task), options.runs, fresh=options.fresh))
        analysis.update_section(FOLDER / "README.md", f"table:{task}", markdown)
        print(f"{task}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
