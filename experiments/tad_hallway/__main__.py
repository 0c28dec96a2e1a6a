"""`python -m experiments.tad_hallway`: trains what is missing, then rewrites the README's tables and figures."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import tyro

from experiments._study import markdown_table, provenance, train_all
from experiments._tuning import search, tuned_table
from experiments.tad_hallway import presets
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """TAD-PPO, MAPPO, IPPO and HAPPO on hallway: tables and figures."""

    runs: Path = Path("runs/tad_hallway")
    """Where run folders lie; finished ones are used as they are."""
    fresh: bool = False
    """Train everything anew."""
    search: bool = False
    """Search the settings of every method and write them to tuned.json; nothing else."""
    parts: tuple[str, ...] = ("partial", "observed")
    """What to train, or to search for."""


def win_rate(run: analysis.Run, metric: str = "win") -> str:
    """IQM over seeds with a 95 % bootstrap interval, and the worst seed, at the last evaluation."""
    rates = run.curve(metric).values[:, -1]
    estimate = analysis.bootstrap_estimate([rates])
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]; worst {np.min(rates):.2f}"


def table(runs: dict[str, analysis.Run], prefix: str, maps: dict[str, int]) -> str:
    rows = []
    for lengths, steps in maps.items():
        tad = runs[f"{prefix}-{lengths}-tad-ppo"]
        others = [win_rate(runs[f"{prefix}-{lengths}-{name}"]) for name in presets.ALGORITHMS[1:]]
        rows.append([f"{lengths} ({steps // 1000}k)", win_rate(tad), win_rate(tad, "teacher/win"), *others])
    return markdown_table(["map (steps)", "TAD-PPO student", "TAD-PPO teacher", "MAPPO", "IPPO", "HAPPO"], rows)


def imitation_table(runs: dict[str, analysis.Run]) -> str:
    rows = []
    for lengths in presets.PARTIAL:
        for context, name in (("own cell", f"partial-{lengths}-tad-ppo"), ("global state", f"imitation-{lengths}")):
            run = runs[name]
            rows.append([f"{lengths}, {context}", win_rate(run), win_rate(run, "teacher/win")])
    return markdown_table(["map, what the teacher sees", "student", "teacher"], rows)


def search_table() -> str:
    """For each discount and bonus the best win rate over step sizes and clips, of those that the search tried."""
    columns = sorted(
        set(itertools.chain(*(itertools.product(g["gamma"], g["entropy"]) for g in presets.GRIDS.values())))
    )
    rows = []
    for group, content in json.loads(presets.TUNED.read_text(encoding="utf-8")).items():
        for method, found in content["methods"].items():
            best: dict[tuple[float, float], float] = {}
            for point in found["points"]:
                column = point["settings"]["gamma"], point["settings"]["entropy"]
                best[column] = max(best.get(column, 0.0), *point["score"])
            rows.append([f"{group}, {method}", *(f"{best[c]:.2f}" if c in best else "–" for c in columns)])
    return markdown_table(["group, method", *(f"γ {g:g}, entropy {e:g}" for g, e in columns)], rows)


def partial(options: Options) -> dict[str, str]:
    """Tables of the partially observed task; draws its figure."""
    runs = train_all(presets.partial_runs(), options.runs, fresh=options.fresh)
    imitation = runs | train_all(presets.imitation_runs(), options.runs, fresh=options.fresh)
    draw(runs, "partial", "Hallway, own cell and the clock seen")
    return {
        "table:partial": f"{table(runs, 'partial', presets.PARTIAL)}\n\n{provenance(list(runs.values()))}",
        "table:imitation": f"{imitation_table(imitation)}\n\n{provenance(list(imitation.values()))}",
    }


def observed(options: Options) -> dict[str, str]:
    """Table of the fully observed task; draws its figure."""
    runs = train_all(presets.observed_runs(), options.runs, fresh=options.fresh)
    draw(runs, "observed", "Hallway, all cells and the clock seen")
    return {"table:observed": f"{table(runs, 'observed', presets.OBSERVED)}\n\n{provenance(list(runs.values()))}"}


def draw(runs: dict[str, analysis.Run], name: str, title: str) -> None:
    named = [dataclasses.replace(run, env_options={}) for run in runs.values()]  # the title says them
    analysis.plot(named, FOLDER / f"{name}.png", metric="win", title=title)


PARTS = {"partial": partial, "observed": observed}
"""What a part is called, and what makes its README sections."""


def main(options: Options) -> None:
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(PARTS)}")
    if options.search:
        wanted = [group for group in presets.searches() if group.group in options.parts]
        search(wanted, presets.TUNED, options.runs, fresh=options.fresh)
        return
    readme = FOLDER / "README.md"
    analysis.update_section(readme, "table:tuned", tuned_table(presets.TUNED))
    analysis.update_section(readme, "table:search", search_table())
    for part in options.parts:
        for name, markdown in PARTS[part](options).items():
            analysis.update_section(readme, name, markdown)
    print(readme.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(tyro.cli(Options))
