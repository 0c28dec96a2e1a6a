"""`python -m experiments.dima_linear`: trains the models, then rewrites the README's table."""

import dataclasses
import platform
import time
from pathlib import Path

import jax
import numpy as np
import tyro

from experiments._study import markdown_table, processor
from experiments.dima_linear import study
from jaxmarl_suite import analysis, runner


@dataclasses.dataclass(frozen=True)
class Options:
    """One-step errors of world models of a linear team: table."""

    steps: int = 4000
    """Gradient steps of each model."""
    seeds: int = 2
    """Data sets and networks per model."""
    models: tuple[str, ...] = study.MODELS
    """Which models."""
    folder: Path = Path(__file__).parent
    """Where README.md is rewritten."""


def main(options: Options) -> None:
    if min(options.steps, options.seeds) < 1:
        raise SystemExit(f"steps and seeds must be positive, got {options.steps} and {options.seeds}")
    if unknown := [name for name in options.models if name not in study.MODELS]:
        raise SystemExit(f"unknown models {', '.join(unknown)}; there are {', '.join(study.MODELS)}")
    runner.configure()
    start = time.perf_counter()
    lines = []
    for behavior in study.BEHAVIORS:
        for name in options.models:
            found = [study.errors(behavior, name, seed, steps=options.steps) for seed in range(options.seeds)]
            mean, sample, floor = (np.array([getattr(e, k) for e in found]) for k in ("mean", "sample", "floor"))
            lines.append(
                [behavior, name, *(f"{x.mean():.3f}" for x in (mean, sample, floor)), f"{(mean / floor).mean():.2f}"]
            )
            print(lines[-1], flush=True)
    table = markdown_table(["actions", "model", "error of the mean", "of a sample", "noise", "mean / noise"], lines)
    setting = (
        f"\n\n{options.steps} gradient steps, means of {options.seeds} seeds; {time.perf_counter() - start:.0f} s with "
        f"compilation, on {processor()}, {runner.usable_cores()} cores; JAX {jax.__version__}, Python "
        f"{platform.python_version()}."
    )
    analysis.update_section(options.folder / "README.md", "table:errors", table + setting)
    print(table + setting)


if __name__ == "__main__":
    main(tyro.cli(Options))
