"""`python -m experiments.defaults`: trains what is missing, then rewrites the README's table."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

from experiments._study import markdown_table, provenance, random_returns, train_all
from experiments.defaults import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent
EPISODES = 4_000
"""Of uniform play."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Plain defaults beside uniform play: a table."""

    runs: Path = Path("runs/defaults")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""


def uniform(env: str) -> tuple[float, float, float]:
    """`(mean, low, high)` of the return of uniform play, with a 95 % interval."""
    returns = np.asarray(random_returns(env, EPISODES), np.float64)
    mean, error = returns.mean(), 1.96 * returns.std(ddof=1) / len(returns) ** 0.5
    return mean, mean - error, mean + error


def table(runs: dict[str, analysis.Run]) -> str:
    """Uniform play and the last evaluations of every pair, and whether their intervals are disjoint."""
    rows = []
    for preset in presets.runs():
        mean, low, high = uniform(preset.env)
        final = runs[preset.name].curve().values[:, -1]
        e = analysis.bootstrap_estimate([final])
        verdict = "above" if e.low > high else "below" if e.high < low else "not told apart"
        seeds = ", ".join(f"{value:.2f}" for value in np.sort(final))
        rows.append(
            [
                preset.env,
                preset.algorithm,
                f"{mean:.2f} [{low:.2f}, {high:.2f}]",
                f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]",
                seeds,
                verdict,
            ]
        )
    return markdown_table(["environment", "algorithm", "uniform play", "defaults", "seeds", "intervals"], rows)


def main(options: Options) -> None:
    runs = train_all(presets.runs(), options.runs, fresh=options.fresh)
    section = f"{table(runs)}\n\n{provenance(list(runs.values()))}"
    analysis.update_section(FOLDER / "README.md", "table:defaults", section)
    print(section)


if __name__ == "__main__":
    main(tyro.cli(Options))
