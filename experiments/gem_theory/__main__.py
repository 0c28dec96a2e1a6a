"""`python -m experiments.gem_theory`: measures, then rewrites the README's tables and the figure."""

import dataclasses
import json
import platform
import time
from pathlib import Path

import jax
import numpy as np
import scipy
import tyro

from experiments._study import markdown_table, processor
from experiments.gem_theory import figure, study
from jaxmarl_suite import analysis, runner

TITLES = {
    "single": "one estimator",
    "double": "two, crossed",
    "floor": "two, with the floor",
    "evaluator_floor": "two, evaluator's floor",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Episodic-memory targets: tables and figure."""

    num_draws: int = 200_000
    """Trajectories of each sampled bias; a multiple of 20."""
    num_mdps: int = 20
    """Random MDPs of each slip."""
    num_episodes: int = 800
    """Episodes of tabular GEM on each."""
    seed: int = 0
    """Seed of the draws."""
    folder: Path = Path(__file__).parent
    """Where README.md is rewritten, and results.json and figure.png are put."""


def main(options: Options) -> None:
    if options.num_draws < 20 or options.num_draws % 20 or min(options.num_mdps, options.num_episodes) < 1:
        raise SystemExit(
            f"num_draws must be a positive multiple of 20, num_mdps and num_episodes at least 1, got "
            f"{options.num_draws}, {options.num_mdps} and {options.num_episodes}"
        )
    runner.configure()
    start = time.perf_counter()
    bias = study.bias_rows(options.num_draws, options.seed)
    places, curves = study.bias_curves()
    middle = time.perf_counter()
    tabular, excess = study.tabular(options.num_mdps, options.num_episodes, options.seed)
    chain, reach = study.chain()
    end = time.perf_counter()
    setting = (
        f"{processor()}, {runner.usable_cores()} cores; JAX {jax.__version__}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, Python {platform.python_version()}"
    )
    drawn = (
        f"\n\n{options.num_draws} trajectories a cell (key {options.seed}), float32, beside float64 quadrature; both "
        f"tables of biases took {middle - start:.1f} s in all with compilation, on {setting}."
    )
    tables = {
        "table:flat": _flat_table(bias) + drawn,
        "table:sloped": _sloped_table(bias) + drawn,
        "table:tabular": _tabular_table(tabular)
        + f"\n\n{options.num_mdps} MDPs a row (seeds 0 to {options.num_mdps - 1}, key {options.seed}), "
        + f"{options.num_episodes} episodes of {study.HORIZON} random steps; this table and the next took "
        + f"{end - middle:.1f} s in all with compilation, float32 beside float64 solutions, on {setting}.",
        "table:chain": _chain_table(chain),
    }
    for name, markdown in tables.items():
        analysis.update_section(options.folder / "README.md", name, markdown)
        print(f"{name}\n\n{markdown}\n")
    results = {
        "options": {"num_draws": options.num_draws, "num_mdps": options.num_mdps, "seed": options.seed},
        "setting": setting,
        **{
            n: [dataclasses.asdict(r) for r in rows]
            for n, rows in (("bias", bias), ("tabular", tabular), ("chain", chain))
        },
    }
    text = json.dumps(results, indent=1, allow_nan=False)
    (options.folder / "results.json").write_text(text + "\n", encoding="utf-8")
    figure.draw(options.folder / "figure.png", bias, places, curves, excess, reach)


def _cell(row: study.BiasRow) -> str:
    known = "" if row.reference is None else f" ({_signed(row.reference, 2)})"
    return f"{_signed(row.sampled, 3)} / {_signed(row.exact, 3)}{known}"


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no negative zero


def _flat_table(rows: list[study.BiasRow]) -> str:
    lines = []
    for size in (1, 2):
        for kind, title in TITLES.items():
            found = [r for r in rows if not r.gap and (r.kind, r.group_size) == (kind, size)]
            name = title if size == 1 else f"{title}, least of two each"
            lines.append([name, *map(_cell, found)])
    return markdown_table(["target", *(f"{h} places" for h in study.PLACES)], lines)


def _sloped_table(rows: list[study.BiasRow]) -> str:
    lines = [[title, *(_cell(r) for r in rows if r.gap and r.kind == kind)] for kind, title in TITLES.items()]
    return markdown_table(["target", *(f"gap {g:g}" for g in study.GAPS)], lines)


def _tabular_table(rows: list[study.TabularRow]) -> str:
    header = (
        "slip", "estimators", "fewest updates", "max(Q - Q*), ever", "max abs(Q - Q*), end", "mean(Q - Q*), end",
        "max(Q - Q_max), ever", "value lost, mean", "value lost, worst", "bound, mean",
    )  # fmt: skip
    lines = [
        [
            f"{r.slip:g}",
            str(r.estimators),
            str(r.least_updates),
            _signed(r.highest_excess, 4),
            f"{r.last_error:.4f}",
            _signed(r.last_excess, 4),
            _signed(r.above_ceiling, 4),
            *(f"{abs(x):.4f}" for x in (r.value_loss, r.worst_loss)),  # never negative but by rounding
            f"{r.bound:.1f}",
        ]
        for r in rows
    ]
    return markdown_table(header, lines)


def _chain_table(rows: list[study.ChainRow]) -> str:
    names = ["whole trajectory" if r.max_steps is None else f"at most {r.max_steps}" for r in rows]
    lines = [[name, str(r.refreshes), f"{r.after_one:.6f}"] for name, r in zip(names, rows)]
    return markdown_table(
        ["rewards from the trajectory", "refreshes needed", "first target after one refresh / worth"], lines
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
