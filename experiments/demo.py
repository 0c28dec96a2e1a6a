"""`python -m experiments.demo`: TAD-PPO, MAPPO, IPPO and HAPPO on climbing, ten seeds each; a table and a figure."""

import dataclasses
import time
from pathlib import Path

import tyro

from experiments._study import Preset, provenance, train_all
from experiments.tad_matrix_games.presets import ALGORITHMS, STEPS, settings_of
from jaxmarl_suite import analysis
from jaxmarl_suite.runner import TrainOptions


@dataclasses.dataclass(frozen=True)
class Options:
    """Four methods on one matrix game, in a few minutes."""

    env: str = "matrix/climbing"
    """Any one-shot matrix game."""
    seeds: int = 10
    """Seeds a method."""
    runs: Path = Path("runs/demo")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""
    readme: Path | None = None
    """Also put the table into this file (between its markers) and the figure into `docs/images/` beside it."""


def main(options: Options) -> None:
    started = time.perf_counter()
    train = TrainOptions(total_steps=STEPS["named"], seeds=options.seeds, evaluations=40)
    presets = [Preset(name, name, options.env, settings_of(name, "named"), options=train) for name in ALGORITHMS]
    runs = list(train_all(presets, options.runs, fresh=options.fresh).values())
    figure = analysis.plot(runs, options.runs / "curves.png")
    table = analysis.table(runs)
    (options.runs / "table.md").write_text(table + "\n", encoding="utf-8")
    if options.readme is not None:
        note = f"{options.seeds} seeds, {STEPS['named']:,} environment steps each; {provenance(runs)}"
        analysis.update_section(options.readme, "table:demo", f"{table}\n\n{note}")
        analysis.plot(runs, options.readme.parent / "docs" / "images" / "climbing.png")
    print()
    print(table)
    print(f"\nfigure: {figure}\nrun folders: {options.runs}/<method>\n{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main(tyro.cli(Options))
