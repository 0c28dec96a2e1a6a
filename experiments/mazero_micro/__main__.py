"""`python -m experiments.mazero_micro`: trains what is missing, then rewrites the README's tables and figures."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tyro

from experiments._study import markdown_table, provenance, train_all
from experiments.mazero_matrix.__main__ import LABELS, median_steps
from experiments.mazero_micro import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent
SOLVED = 0.9
"""Win rate that counts as solved."""


@dataclasses.dataclass(frozen=True)
class Options:
    """MAZero, MAPPO, QMIX and TAD-PPO by environment steps: tables and figures."""

    runs: Path = Path("runs/mazero_micro")
    """Where run folders lie; finished ones are used as they are."""
    parts: tuple[str, ...] = ("hallway",)
    """What to train: "hallway", "fight", or, on a GPU, "paper"."""
    fresh: bool = False
    """Train everything anew."""


def table(runs: Mapping[str, analysis.Run]) -> str:
    """Win rates at the end, and steps until nine of ten episodes are won."""
    rows = []
    for name, run in runs.items():
        label = LABELS[run.algorithm]
        metrics = {label: "win"} | ({"the same, policies without search": "policy/win"} if "mazero" in name else {})
        for shown, metric in metrics.items():
            curve = run.curve(metric)
            found = analysis.bootstrap_estimate([curve.values[:, -1]])
            reached = curve.values >= SOLVED
            steps = np.where(reached.any(1), curve.env_steps[reached.argmax(1)], math.inf)
            rows.append(
                [
                    f"{shown}, {run.total_steps:,} steps",
                    f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]",
                    f"{curve.values[:, -1].min():.2f}",
                    median_steps(steps, run.total_steps),
                ]
            )
    return markdown_table(["method", "win rate", "worst seed", f"steps to {SOLVED:g} (seeds)"], rows)


def main(options: Options) -> None:
    parts = {"hallway": presets.hallway_runs, "fight": presets.fight_runs, "paper": presets.paper_runs}
    unknown = set(options.parts) - set(parts)
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(parts)}")
    for part in options.parts:
        runs = train_all(parts[part](), options.runs, fresh=options.fresh)
        shown = [run for name, run in runs.items() if not name.endswith("-long")]
        analysis.plot(shown, FOLDER / f"{part}.png", metric="win", title=f"{part}: win rate by environment steps")
        text = f"{table(runs)}\n\n{provenance(list(runs.values()))}"
        analysis.update_section(FOLDER / "README.md", f"table:{part}", text)
        print(f"{part}\n\n{text}\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
