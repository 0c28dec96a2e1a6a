"""`python -m experiments.tad_matrix_games`: trains what is missing, then rewrites the README's tables and the figure."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tyro

from experiments._study import Preset, markdown_table, provenance, train_all
from experiments._tuning import search, tuned_table
from experiments.tad_matrix_games import presets
from experiments.tad_matrix_games.presets import solved
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent
METHODS = (
    ("tad-ppo", "return"),
    ("tad-ppo", "teacher/return"),
    ("mappo", "return"),
    ("ippo", "return"),
    ("happo", "return"),
)
LABELS = ("TAD-PPO student", "TAD-PPO teacher", "MAPPO", "IPPO", "HAPPO")


@dataclasses.dataclass(frozen=True)
class Options:
    """TAD-PPO, MAPPO, IPPO and HAPPO on matrix games: tables and figure."""

    runs: Path = Path("runs/tad_matrix_games")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""
    search: bool = False
    """Search the settings of every method and write them to tuned.json; nothing else."""


def final(run: analysis.Run, metric: str = "return") -> np.ndarray:
    """[L] values of the last evaluation."""
    return run.curve(metric).values[:, -1]


def fraction(flags: np.ndarray) -> str:
    """`k/n [low, high]` with an exact (Clopper-Pearson) 95 % interval."""
    estimate = analysis.fraction_estimate(int(flags.sum()), len(flags))
    return f"{int(flags.sum())}/{len(flags)} [{estimate.low:.2f}, {estimate.high:.2f}]"


def named_table(runs: dict[str, analysis.Run], group: str) -> str:
    header = ["game (optimum)", *LABELS]
    rows = []
    for game in presets.GAMES:
        cells = [f"{game} ({runs[f'{group}-{game}-tad-ppo'].optimum[0]:g})"]
        for name, metric in METHODS:
            run = runs[f"{group}-{game}-{name}"]
            cells.append(f"{fraction(solved(run, metric))}; {final(run, metric).mean():.2f}")
        rows.append(cells)
    return markdown_table(header, rows)


def random_table(runs: dict[str, analysis.Run]) -> str:
    rows = []
    for (name, metric), label in zip(METHODS, LABELS):
        run = runs[f"random-{name}"]
        ratio = analysis.bootstrap_estimate([final(run, metric) / run.optimum])
        rows.append([label, fraction(solved(run, metric)), f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"])
    return markdown_table(["method", "games solved", "IQM of return / optimum"], rows)


def gap_table(runs: dict[str, analysis.Run]) -> str:
    rows = []
    for game in (*presets.GAMES, *presets.OTHER_GAMES):
        tad, mappo = (runs[f"{presets.group_of(game)}-{game}-{name}"] for name in ("tad-ppo", "mappo"))
        student, teacher = final(tad), final(tad, "teacher/return")
        rows.append(
            [
                game,
                f"{tad.optimum[0]:.4g}",
                f"{student.mean():.3f}",
                f"{teacher.mean():.3f}",
                f"{np.abs(student - teacher).max():.4f}",
                f"{final(mappo).mean():.3f}",
                str(len(student)),
            ]
        )
    header = ["game", "optimum", "student", "teacher", "largest gap of a seed", "MAPPO", "seeds"]
    return markdown_table(header, rows)


def entropy_table(runs: dict[str, analysis.Run]) -> str:
    rows = []
    for game in presets.TRAPS:
        for name in ("tad-ppo", "mappo"):
            run = runs[f"entropy-{game}-{name}"]
            flags = solved(run)
            cells = []
            for point in run.points:
                own = flags[run.lane_indices(point)]
                cells.append(f"{int(own.sum())}/{len(own)}")
            rows.append([f"{game}, {name}", *cells])
    return markdown_table(["game, method", *(f"{e:g}" for e in presets.ENTROPIES)], rows)


def main(options: Options) -> None:
    if options.search:
        search(presets.searches(), presets.TUNED, options.runs, fresh=options.fresh)
        return
    groups: dict[str, tuple[list[Preset], Callable[[dict[str, analysis.Run]], str]]] = {
        "common": (presets.named_runs("common"), functools.partial(named_table, group="common")),
        "named": (presets.named_runs("named"), functools.partial(named_table, group="named")),
        "random": (presets.random_runs(), random_table),
        "gap": (presets.other_runs(), gap_table),
        "entropy": (presets.entropy_runs(), entropy_table),
    }
    readme = FOLDER / "README.md"
    analysis.update_section(readme, "table:tuned", tuned_table(presets.TUNED))
    runs: dict[str, analysis.Run] = {}
    for name, (wanted, table) in groups.items():
        found = train_all(wanted, options.runs, fresh=options.fresh)
        runs |= found
        analysis.update_section(readme, f"table:{name}", f"{table(runs)}\n\n{provenance(list(found.values()))}")
    curves = [runs[f"named-{game}-{algorithm}"] for game in presets.TRAPS for algorithm in presets.ALGORITHMS]
    analysis.plot(curves, FOLDER / "curves.png", title="Four matrix games that mislead decentralized policies")
    print(readme.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(tyro.cli(Options))
