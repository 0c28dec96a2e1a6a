"""`python -m experiments.policy_gradient_theory`: measures, then rewrites the README's tables and the figure."""

import dataclasses
import json
import platform
import re
import time
from pathlib import Path

import jax
import numpy as np
import tyro

from experiments._study import processor
from experiments.policy_gradient_theory import figure, study
from jaxmarl_suite.runner import usable_cores


@dataclasses.dataclass(frozen=True)
class Options:
    """Exact policy gradients on matrix games: tables and figure."""

    num_seeds: int = 1_000
    """Initializations of each named game."""
    num_games: int = 2_000
    """Random games of each size."""
    plateau_steps: tuple[int, ...] = (2_000, 20_000, 200_000)
    """When to look at long sequential plain ascents; increasing."""
    seed: int = 0
    """Seed of the initializations."""
    folder: Path = Path(__file__).parent
    """Where README.md is rewritten, and results.json and figure.png are put."""


def main(options: Options) -> None:
    # One CPU device per core: lanes are spread over devices, and these programs are too small for XLA to split otherwise.
    jax.config.update("jax_num_cpu_devices", usable_cores())
    start = time.perf_counter()
    named = study.named_games(options.num_seeds, options.seed)
    middle = time.perf_counter()
    random = study.random_games(options.num_games)
    end = time.perf_counter()
    plateaus = study.plateaus(options.num_seeds, options.seed, options.plateau_steps)
    steps, curves = study.trajectories(min(options.num_seeds, 200), options.seed)

    setting = (
        f"{processor()}, {jax.device_count()} {jax.default_backend()} device(s); JAX {jax.__version__}, "
        f"NumPy {np.__version__}, Python {platform.python_version()}; float32"
    )
    tables = {
        "named-games": _named_table(named)
        + f"\n\n{options.num_seeds} seeds per cell (key {options.seed}), {middle - start:.1f} s in all with compilation, "
        + f"on {setting}.",
        "plateaus": _plateau_table(plateaus, options.plateau_steps),
        "random-games": _random_table(random)
        + f"\n\n{options.num_games} games per row (`matrix/random-NxA`, seeds 0 to {options.num_games - 1}), "
        + f"{end - middle:.1f} s in all with compilation, on {setting}.",
    }
    readme = options.folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = _replace(text, name, table)
    readme.write_text(text, encoding="utf-8")
    results = {
        "options": {"num_seeds": options.num_seeds, "num_games": options.num_games, "seed": options.seed},
        "setting": setting,
        "named_games": [dataclasses.asdict(row) for row in named],
        "plateaus": {"steps": list(options.plateau_steps), "fraction": plateaus},
        "random_games": [dataclasses.asdict(row) for row in random],
    }
    text = json.dumps(_jsonable(results), indent=1, allow_nan=False)
    (options.folder / "results.json").write_text(text + "\n", encoding="utf-8")
    figure.draw(options.folder / "figure.png", named, random, steps, curves)
    print("\n\n".join(tables.values()))


def _named_table(rows: list[study.NamedRow]) -> str:
    lines = [
        "| game (optimum) | sd | " + " | ".join(study.ASCENTS) + " |",
        "|---|---|" + "---|" * len(study.ASCENTS),
    ]
    for row in rows:
        cells = [
            f"{row.optimal[name]:.3f} ({reference:.3f})"
            for name, reference in zip(study.ASCENTS, study.NAMED_REFERENCE[row.game, row.init_sd])
        ]
        lines.append(f"| {row.game} ({row.optimum:g}) | {row.init_sd:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _plateau_table(fractions: dict[str, list[float]], steps: tuple[int, ...]) -> str:
    lines = [
        "| game | " + " | ".join(f"{count} steps" for count in steps) + " |",
        "|---|" + "---|" * len(steps),
    ]
    lines += [f"| {game} | " + " | ".join(f"{x:.3f}" for x in row) + " |" for game, row in fractions.items()]
    return "\n".join(lines)


def _random_table(rows: list[study.RandomRow]) -> str:
    lines = [
        "| agents, actions | decentralized: solved | J/R* | sequential: solved | J/R* |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = []
        for kind, reference in zip(row.optimal, study.RANDOM_REFERENCE[row.num_agents, row.num_actions]):
            cells.append(f"{row.optimal[kind]:.3f} ({reference[0]:.3f})")
            cells.append(f"{row.ratio[kind]:.4f} ({reference[1]:.3f})")
        lines.append(f"| {row.num_agents}, {row.num_actions} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _replace(text: str, name: str, table: str) -> str:
    """`text` with what stands between the markers of `name` exchanged."""
    pattern = re.compile(rf"(<!-- table:{re.escape(name)} begin -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(
            f"README.md needs the marker '<!-- table:{name} begin -->' once, with '<!-- end -->' behind it"
        )
    return pattern.sub(lambda found: found[1] + table + "\n" + found[2], text)


def _jsonable(value: object) -> object:
    """`value` with NaN as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_jsonable(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value


if __name__ == "__main__":
    main(tyro.cli(Options))
