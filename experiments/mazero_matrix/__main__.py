"""`python -m experiments.mazero_matrix`: trains what is missing, then rewrites the README's tables and figure."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from experiments._study import markdown_table, provenance, train_all
from experiments.mazero_matrix import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent
LABELS = {
    "mazero": "MAZero",
    "mean": "MAZero, mean backup",
    "cloning": "MAZero, cloning",
    "mean-cloning": "MAZero, mean backup and cloning",
    "muzero-joint": "Gumbel MuZero, joint",
    "mappo": "MAPPO",
    "qmix": "QMIX",
    "tad-ppo": "TAD-PPO",
}
LEARNED, NEAR = 0.9, 0.95
"""Shares of the optimum: what counts as learned, and the bound for the median at the end."""


@dataclasses.dataclass(frozen=True)
class Options:
    """MAZero, its ablations, MAPPO, QMIX and TAD-PPO on repeated matrix games: tables and a figure."""

    runs: Path = Path("runs/mazero_matrix")
    """Where run folders lie; finished ones are used as they are."""
    games: tuple[str, ...] = presets.GAMES
    """Which of the games."""
    methods: tuple[str, ...] = (*presets.PLANNERS, *presets.MODEL_FREE)
    """Which of the methods."""
    num_seeds: int = presets.NUM_SEEDS
    """Seeds of each run."""
    fresh: bool = False
    """Train everything anew."""


def steps_to(run: analysis.Run, share: float = LEARNED) -> NDArray[np.float64]:
    """[L] environment steps until the first evaluation with this share of the optimum; inf for never."""
    curve = run.curve(normalized=True)
    # Networks that have learned nothing are tied; the first joint action, best then, is the optimum of M1 and M3.
    reached = (curve.values >= share) & (curve.env_steps >= run.config.get("warmup_steps", 0))
    return np.where(reached.any(1), curve.env_steps[reached.argmax(1)], math.inf)


def median_steps(steps: NDArray[np.float64], total: int) -> str:
    """Median over seeds, and how many of them arrive."""
    count = int(np.isfinite(steps).sum())
    middle = float(np.sort(steps)[len(steps) // 2])  # the upper one of two: half of the seeds are there by then
    shown = f"{middle:,.0f}" if math.isfinite(middle) else f"> {total:,}"
    return f"{shown} ({count}/{len(steps)})"


def final(run: analysis.Run, metric: str = "return") -> str:
    """Median return of the last evaluation with a bootstrap interval, as a share of the optimum."""
    values = run.curve(metric).values[:, -1] / run.optimum
    found = analysis.bootstrap_estimate([values], analysis.median)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def rows_of(runs: Mapping[str, analysis.Run], games: tuple[str, ...]) -> list[tuple[str, str, list[analysis.Run]]]:
    """`(label, metric, a run per game)` of each row."""
    rows = []
    for name in (*presets.PLANNERS, *presets.MODEL_FREE):
        suffixes = ("",) if name in presets.PLANNERS else ("", "-long")
        for suffix in suffixes:
            if f"{games[0]}-{name}{suffix}" not in runs:
                continue
            found = [runs[f"{game}-{name}{suffix}"] for game in games]
            label = LABELS[name] + (f", {found[0].total_steps:,} steps" if name in presets.MODEL_FREE else "")
            rows.append((label, "return", found))
            if name == "mazero":
                rows.append(("the same, policies without search", "policy/return", found))
    return rows


def final_table(runs: Mapping[str, analysis.Run], games: tuple[str, ...]) -> str:
    """Returns at the end."""
    body = [[label, *(final(run, metric) for run in found)] for label, metric, found in rows_of(runs, games)]
    return markdown_table(["method", *games], body)


def steps_table(runs: Mapping[str, analysis.Run], games: tuple[str, ...]) -> str:
    """Steps to 90 % of the optimum."""
    body = []
    for label, metric, found in rows_of(runs, games):
        if metric == "return":
            body.append([label, *(median_steps(steps_to(run), run.total_steps) for run in found)])
    return markdown_table(["method", *games], body)


def ratio_table(runs: Mapping[str, analysis.Run], games: tuple[str, ...]) -> str:
    """Steps of methods without a model over MAZero's: of the shorter run where half of its seeds arrive, as the longer
    one is evaluated ten times as rarely.
    """

    def middle(name: str) -> float:
        steps = steps_to(runs[name])
        return float(np.sort(steps)[len(steps) // 2])

    def ratio(game: str, name: str) -> str:
        other, own = middle(f"{game}-{name}"), middle(f"{game}-mazero")
        if not math.isfinite(other):
            other = middle(f"{game}-{name}-long")
        if not math.isfinite(own):
            return "–"
        most = runs[f"{game}-{name}-long"].total_steps
        return f"{other / own:.1f}" if math.isfinite(other) else f"> {most / own:.0f}"

    body = [
        [LABELS[name], *(ratio(game, name) for game in games)]
        for name in presets.MODEL_FREE
        if f"{games[0]}-{name}" in runs and f"{games[0]}-mazero" in runs
    ]
    return markdown_table(["steps to 90 %, over MAZero's", *games], body)


def main(options: Options) -> None:
    unknown = set(options.methods) - set(LABELS)
    if unknown:
        raise SystemExit(f"unknown methods {', '.join(sorted(unknown))}; accepted: {', '.join(LABELS)}")
    wanted = presets.runs(options.games, options.methods, options.num_seeds)
    runs = train_all(wanted, options.runs, fresh=options.fresh)
    names = ("mazero", "mappo", "qmix", "tad-ppo")
    shown = [runs[f"{game}-{name}"] for game in options.games for name in names if name in options.methods]
    analysis.plot(shown, FOLDER / "curves.png", title="Repeated matrix games: share of the optimum")
    games, signed = options.games, provenance(list(runs.values()))
    for name, markdown in {
        "final": final_table(runs, games),
        "steps": steps_table(runs, games),
        "ratio": ratio_table(runs, games),
    }.items():
        text = f"{markdown}\n\n{signed}"
        analysis.update_section(FOLDER / "README.md", f"table:{name}", text)
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
