"""`python -m experiments.dima_gain`: measures, then rewrites the README's tables."""

import dataclasses
import platform
import time
from pathlib import Path

import jax
import numpy as np
import tyro

from experiments._study import markdown_table, processor
from experiments.dima_gain import study
from jaxmarl_suite import analysis, runner


@dataclasses.dataclass(frozen=True)
class Options:
    """Gains of DIMA's sampler: tables."""

    steps: int = 3000
    """Gradient steps of each trained network."""
    teams: tuple[int, ...] = (2, 3)
    """Sizes of the teams of the trained networks; none for the exact table alone."""
    seed: int = 0
    """Seed of the trained networks."""
    folder: Path = Path(__file__).parent
    """Where README.md is rewritten."""


def main(options: Options) -> None:
    if options.steps < 1 or any(n < 1 for n in options.teams):
        raise SystemExit(f"steps and teams must be positive, got {options.steps} and {options.teams}")
    runner.configure()
    start = time.perf_counter()
    exact = study.exact_rows()
    lines = []
    for n in options.teams:
        for reveal in study.REVEALS:
            found = study.learned_gains(n, reveal, options.seed, steps=options.steps)
            known = study.exact_row(n, reveal)
            lines.append([f"{n}", reveal, _numbers(found), _numbers(known.gains)])
            print(lines[-1], flush=True)
    setting = (
        f"\n\n{time.perf_counter() - start:.0f} s with compilation, on {processor()}, {runner.usable_cores()} cores; JAX "
        f"{jax.__version__}, Python {platform.python_version()}."
    )
    tables = {"table:exact": _exact_table(exact) + ("" if lines else setting)}
    if lines:
        trained = f"\n\n{options.steps} gradient steps on 256 fresh examples each, seed {options.seed}."
        tables["table:learned"] = (
            markdown_table(["agents", "reveal", "trained", "exact posterior"], lines) + trained + setting
        )
    for name, markdown in tables.items():
        analysis.update_section(options.folder / "README.md", name, markdown)
        print(f"{name}\n\n{markdown}\n")


def _numbers(gains: "np.ndarray | list[float]") -> str:
    return " ".join(f"{gain:.3f}" for gain in gains)


def _exact_table(rows: list[study.Row]) -> str:
    lines = [
        [f"{r.n_agents}", r.reveal, r.order, f"{r.noise:.0%}", f"{r.offset:g}", _numbers(r.gains), f"{r.leftover:.3f}"]
        for r in rows
    ]
    return markdown_table(
        ["agents", "reveal", "order", "noise", "offset", "gains of agents 0, 1, ...", "leftover"], lines
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
