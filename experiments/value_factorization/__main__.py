"""`python -m experiments.value_factorization`: measures, then rewrites the README's tables and figures."""

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy
import tyro

from experiments._study import processor
from experiments.value_factorization import deep, tabular, tabular_figure, tabular_tables
from jaxmarl_suite import analysis, runner


@dataclasses.dataclass(frozen=True)
class Options:
    """Value factorization, tabular and deep: tables and figures."""

    num_seeds: int = 100
    """Seeds 0, 1, ... of each gradient descent."""
    descent_steps: int = 20_000
    """Steps of each gradient descent."""
    parts: tuple[str, ...] = ("tabular", "deep")
    """What to measure."""
    runs: Path = Path("runs/value_factorization")
    """Where run folders of the deep part lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""
    folder: Path = Path(__file__).parent
    """Where README.md is rewritten, and results and figures are put."""


def run_tabular(options: Options) -> dict[str, str]:
    """README sections of the tabular part; writes results_tabular.json and tabular.png."""
    start = time.perf_counter()
    rows: dict[str, list[Any]] = {
        "gamma": tabular.gamma_rows(),
        "epsilon": tabular.epsilon_rows(),
        "class": tabular.class_rows(),
        "game": tabular.game_rows(),
    }
    middle = time.perf_counter()
    rows["descent"] = tabular.descent_rows(options.num_seeds, steps=options.descent_steps)
    rows["weight"] = tabular.weight_rows(options.num_seeds, steps=options.descent_steps)
    end = time.perf_counter()
    tabular_figure.draw(options.folder / "tabular.png", tabular.curves(tabular_figure.GAMMAS, tabular_figure.EPSILONS))
    setting = (
        f"{processor()}, {runner.usable_cores()} cores; JAX {jax.__version__}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, Python {platform.python_version()}"
    )
    exact = f"\n\nThe tables of exact values took {middle - start:.1f} s in all, float64, on {setting}."
    descent = (
        f"\n\nSeeds 0 to {options.num_seeds - 1}, {options.descent_steps} steps; this table and the other one of gradient "
        f"descent took {end - middle:.1f} s in all with compilation, float32, on {setting}."
    )
    results = {"setting": setting, "num_seeds": options.num_seeds, "descent_steps": options.descent_steps}
    for name, group in rows.items():
        results[name] = [dataclasses.asdict(row) for row in group]
    text = json.dumps(_jsonable(results), indent=1, allow_nan=False)
    (options.folder / "results_tabular.json").write_text(text + "\n", encoding="utf-8")
    return {
        "table:tabular-gamma": tabular_tables.gamma_table(rows["gamma"]) + exact,
        "table:tabular-epsilon": tabular_tables.epsilon_table(rows["epsilon"]) + exact,
        "table:tabular-classes": tabular_tables.class_table(rows["class"]) + exact,
        "table:tabular-games": tabular_tables.game_table(rows["game"]) + exact,
        "table:tabular-descent": tabular_tables.descent_table(rows["descent"]) + descent,
        "table:tabular-weights": tabular_tables.weight_table(rows["weight"]) + descent,
    }


def run_deep(options: Options) -> dict[str, str]:
    """README sections of the deep part; trains what is missing and writes deep.png."""
    return deep.sections(options.runs, options.folder, fresh=options.fresh)


PARTS: dict[str, Callable[[Options], dict[str, str]]] = {"tabular": run_tabular, "deep": run_deep}
"""What a part is called, and what makes its README sections."""


def main(options: Options) -> None:
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(PARTS)}")
    if "deep" in options.parts:
        runner.configure()  # before JAX computes anything, the tabular part included
    readme = options.folder / "README.md"
    for part in options.parts:
        for name, markdown in PARTS[part](options).items():
            analysis.update_section(readme, name, markdown)
            print(f"{name}\n\n{markdown}\n")


def _jsonable(value: Any) -> Any:
    """`value` with infinities and NaN as null, which JSON does not have, and keys as text."""
    if isinstance(value, dict):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main(tyro.cli(Options))
