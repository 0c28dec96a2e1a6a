"""`python -m experiments.mabrax_ppo`: trains what is missing, then rewrites the README's table and the figure."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.mabrax_ppo import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """MAPPO, IPPO and HAPPO on brax's robots: table and figure."""

    budget: Literal["small", "full"] = "small"
    """`small` for two cores; `full` for an accelerator."""
    runs: Path = Path("runs/mabrax_ppo")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""


def table(runs: dict[str, analysis.Run], budget: str) -> str:
    """Final returns, beside those of uniform actions and of the first evaluation."""
    rows = []
    for robot in presets.ROBOTS:
        uniform = random_return(f"mabrax/{robot}", episodes=32)
        cells = []
        for method in presets.METHODS:
            final = runs[f"{budget}-{robot}-{method}"].curve().values[:, -1]
            e = analysis.bootstrap_estimate([final])
            cells.append(f"{e.value:.0f} [{e.low:.0f}, {e.high:.0f}]")
        rows.append([robot, f"{uniform:.0f}", *cells])
    return markdown_table(["robot", "uniform actions", *(method.upper() for method in presets.METHODS)], rows)


def main(options: Options) -> None:
    runs = train_all(presets.runs(options.budget), options.runs, fresh=options.fresh)
    section = f"{table(runs, options.budget)}\n\n{provenance(list(runs.values()))}"
    analysis.update_section(FOLDER / "README.md", f"table:{options.budget}", section)
    title = "Robots divided among agents"
    analysis.plot(list(runs.values()), FOLDER / f"{options.budget}.png", title=title)
    print(section)


if __name__ == "__main__":
    main(tyro.cli(Options))
