"""`python -m experiments.dima_mabrax`: trains what is missing, then rewrites the README's table and the figure."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.dima_mabrax import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """DIMA on brax's robots: table and figure."""

    budget: Literal["small", "full"] = "small"
    """`small` for two cores; `full` for an accelerator."""
    robots: tuple[str, ...] = presets.ROBOTS
    """Which robots."""
    runs: Path = Path("runs/dima_mabrax")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""


def table(runs: dict[str, analysis.Run], robots: tuple[str, ...]) -> str:
    """Last evaluations, beside the return of uniform actions."""
    lines = []
    for robot in robots:
        uniform = random_return(f"mabrax/{robot}", episodes=32)
        for name, run in runs.items():
            if robot in name:
                e = analysis.bootstrap_estimate([run.curve().values[:, -1]])
                shown = f"{e.value:.0f} [{e.low:.0f}, {e.high:.0f}]"
                lines.append([robot, name.split(f"{robot}-")[1], shown, f"{uniform:.0f}"])
    return markdown_table(["robot", "method", "return", "uniform actions"], lines)


def main(options: Options) -> None:
    if unknown := [name for name in options.robots if name not in presets.ROBOTS]:
        raise SystemExit(f"unknown robots {', '.join(unknown)}; there are {', '.join(presets.ROBOTS)}")
    runs = train_all(presets.runs(options.budget, options.robots), options.runs, fresh=options.fresh)
    steps = presets.BUDGETS[options.budget].steps
    section = (
        f"After {steps:,} environment steps:\n\n{table(runs, options.robots)}\n\n{provenance(list(runs.values()))}"
    )
    analysis.update_section(FOLDER / "README.md", f"table:{options.budget}", section)
    analysis.plot(list(runs.values()), FOLDER / f"{options.budget}.png", title="Robots divided among agents")
    print(section)


if __name__ == "__main__":
    main(tyro.cli(Options))
