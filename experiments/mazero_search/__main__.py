"""`python -m experiments.mazero_search`: searches, then rewrites the README's tables."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import tyro

from experiments._study import markdown_table, processor, provenance, random_return, train_all
from experiments.mazero_search import presets, tables
from experiments.mazero_search.root_choices import SAMPLES
from jaxmarl_suite import analysis, runner

FOLDER = Path(__file__).parent
CHOICES: dict[str, Callable[[int], str]] = {
    "reference": tables.reference_table,
    "simulations": tables.simulations_table,
    "backup": tables.backup_table,
    "optimism": tables.optimism_table,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Root choices of searches, and returns of planning in the environment itself."""

    runs: Path = Path("runs/mazero_search")
    """Where run folders lie; finished ones are used as they are."""
    parts: tuple[str, ...] = (*CHOICES, "returns")
    """Which tables to measure: of root choices, or the returns of planning."""
    tasks: tuple[str, ...] = tuple(presets.TASKS)
    """Of the returns."""
    roots: int = 1024
    """Searches of each cell."""
    fresh: bool = False
    """Search everything anew."""


def returns_table(runs: dict[str, analysis.Run]) -> str:
    """Mean returns by simulations, with 95 % bootstrap intervals over seeds."""
    *others, most = presets.SIMULATIONS
    rows = []
    for name, run in runs.items():
        label = run.env + (", rollouts" if "rollouts" in name else "")
        row = [label, f"{random_return(run.env):.2f}"]
        for metric in (*(f"search-{number}/return" for number in others), "return"):
            values = run.curve(metric).values[:, -1]
            found = analysis.bootstrap_estimate([values])
            row.append(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
        rows.append(row)
    return markdown_table(["task", "uniform", *(f"S = {number}" for number in (*others, most))], rows)


def main(options: Options) -> None:
    unknown = set(options.parts) - {*CHOICES, "returns"}
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(CHOICES)}, returns")
    runner.configure()
    readme = FOLDER / "README.md"
    for name in (name for name in CHOICES if name in options.parts):
        began = time.perf_counter()
        markdown = CHOICES[name](options.roots)
        seconds = time.perf_counter() - began
        signed = (
            f"{options.roots:,} roots per cell, {SAMPLES} joint actions drawn at each node; {seconds:.0f} s with "
            f"compilation on {processor()}, {runner.usable_cores()} cores; JAX {jax.__version__}."
        )
        analysis.update_section(readme, f"table:{name}", f"{markdown}\n\n{signed}")
        print(f"{name}\n\n{markdown}\n", flush=True)
    if "returns" in options.parts:
        runs = train_all(presets.runs(options.tasks), options.runs, fresh=options.fresh)
        markdown = f"{returns_table(runs)}\n\n{provenance(list(runs.values()))}"
        analysis.update_section(readme, "table:returns", markdown)
        print(markdown)


if __name__ == "__main__":
    main(tyro.cli(Options))
