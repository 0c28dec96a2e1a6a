"""`python -m experiments.tad_hallway`: trains what is missing, then rewrites the README's tables and figures."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

from experiments._study import markdown_table, provenance, train_all
from experiments.tad_hallway import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """TAD-PPO, MAPPO, IPPO and HAPPO on hallway: tables and figures."""

    runs: Path = Path("runs/tad_hallway")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""


def win_rate(run: analysis.Run, metric: str = "win") -> str:
    """IQM over seeds with a 95 % bootstrap interval, and the worst seed, at the last evaluation."""
    rates = run.curve(metric).values[:, -1]
    estimate = analysis.bootstrap_estimate([rates])
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]; worst {np.min(rates):.2f}"


def table(runs: dict[str, analysis.Run], prefix: str, maps: dict[str, int]) -> str:
    rows = []
    for lengths, steps in maps.items():
        tad = runs[f"{prefix}-{lengths}-tad-ppo"]
        others = [win_rate(runs[f"{prefix}-{lengths}-{name}"]) for name in presets.ALGORITHMS[1:]]
        rows.append([f"{lengths} ({steps // 1000}k)", win_rate(tad), win_rate(tad, "teacher/win"), *others])
    return markdown_table(["map (steps)", "TAD-PPO student", "TAD-PPO teacher", "MAPPO", "IPPO", "HAPPO"], rows)


def imitation_table(runs: dict[str, analysis.Run]) -> str:
    rows = []
    for lengths in presets.PARTIAL:
        for context, name in (("own cell", f"partial-{lengths}-tad-ppo"), ("global state", f"imitation-{lengths}")):
            run = runs[name]
            rows.append([f"{lengths}, {context}", win_rate(run), win_rate(run, "teacher/win")])
    return markdown_table(["map, what the teacher sees", "student", "teacher"], rows)


def sensitivity_table(runs: dict[str, analysis.Run]) -> str:
    rows, header = [], ["method"]
    for name, run in runs.items():
        rates = run.curve("win").values[:, -1]
        cells = [f"{analysis.iqm(rates[run.lane_indices(point)]):.2f}" for point in run.points]
        rows.append([name.removeprefix("sensitivity-"), *cells])
        header = ["method", *(f"γ {g:g}, entropy {e:g}" for g in presets.DISCOUNTS for e in presets.ENTROPIES)]
    return markdown_table(header, rows)


def main(options: Options) -> None:
    partial = train_all(presets.partial_runs(), options.runs, fresh=options.fresh)
    observed = train_all(presets.observed_runs(), options.runs, fresh=options.fresh)
    imitation = train_all(presets.imitation_runs(), options.runs, fresh=options.fresh)
    sensitivity = train_all(presets.sensitivity_runs(), options.runs, fresh=options.fresh)
    readme = FOLDER / "README.md"
    sections = {
        "observed": (table(observed, "observed", presets.OBSERVED), observed),
        "partial": (table(partial, "partial", presets.PARTIAL), partial),
        "imitation": (imitation_table(partial | imitation), imitation),
        "sensitivity": (sensitivity_table(sensitivity), sensitivity),
    }
    for name, (markdown, runs) in sections.items():
        analysis.update_section(readme, f"table:{name}", f"{markdown}\n\n{provenance(list(runs.values()))}")
    analysis.plot(list(observed.values()), FOLDER / "observed.png", metric="win", title="Hallway, fully observed")
    analysis.plot(list(partial.values()), FOLDER / "partial.png", metric="win", title="Hallway, own cell and clock")
    print(readme.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(tyro.cli(Options))
