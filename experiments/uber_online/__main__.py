"""`python -m experiments.uber_online`: trains what is missing, then rewrites the README's tables."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.gem_toy.measures import ratio
from experiments.uber_offline.data import record
from experiments.uber_offline.measures import interval
from experiments.uber_offline.presets import LIBRARY_TIER, POINT_MASS, library_runs
from experiments.uber_online import presets
from jaxmarl_suite import analysis
from jaxmarl_suite.analysis import Run

FOLDER = Path(__file__).parent
METHODS = (presets.TD3, *presets.METHODS)


@dataclasses.dataclass(frozen=True)
class Options:
    """TD3 with and without libraries of behaviors, on goals of the point mass that the data knows nothing of."""

    runs: Path = Path("runs/uber_online")
    """Where run folders lie; finished ones are used as they are."""
    offline: Path = Path("runs/uber_offline")
    """Where those of uber_offline lie: the data and the libraries."""
    methods: tuple[str, ...] = METHODS
    """What to compare with TD3."""
    goals: tuple[str, ...] = tuple(presets.GOALS)
    fresh: bool = False
    """Train everything online anew."""


def areas(run: Run) -> NDArray[np.float64]:
    """[L] mean return over all evaluations, above that of uniform actions."""
    return run.curve().values.mean(axis=1) - random_return(run.env, **run.env_options)


def over_goals(runs: Mapping[str, Run], method: str, goals: tuple[str, ...]) -> tuple[NDArray[np.float64], ...]:
    """`(areas, final returns)` [L] of a method, averaged over goals."""
    found = [runs[presets.run_name(method, goal)] for goal in goals]
    return tuple(np.mean(x, axis=0) for x in ([areas(r) for r in found], [r.curve().values[:, -1] for r in found]))


def pooled_table(runs: Mapping[str, Run], options: Options) -> str:
    """Areas and final returns over all goals, and their ratios to those of TD3."""
    base, _ = over_goals(runs, presets.TD3, options.goals)
    rows = []
    for method in options.methods:
        area, final = over_goals(runs, method, options.goals)
        cells = [interval(area), "" if method == presets.TD3 else ratio(area, base), interval(final)]
        own, acts, most = "", "", ""
        if method != presets.TD3:
            found = [runs[presets.run_name(method, goal)] for goal in options.goals]
            own = interval(np.mean([run.curve("own/return").values[:, -1] for run in found], axis=0))
            acts, most = (
                f"{np.mean([run.curve(f'learner/{name}', kind='train').values[:, -1] for run in found]):.2f}"
                for name in ("acts_own", "acts_most")
            )
        rows.append([method, *cells, own, acts, most])
    header = [
        "method",
        "area",
        "ratio to TD3 [90 %]",
        "final return",
        "own policy alone",
        "share of π",
        "largest share",
    ]
    return markdown_table(header, rows)


def goals_table(runs: Mapping[str, Run], options: Options) -> str:
    """Ratios of areas to those of TD3 by goal."""
    rows = []
    for method in options.methods:
        if method != presets.TD3:
            pairs = [(presets.run_name(method, goal), presets.run_name(presets.TD3, goal)) for goal in options.goals]
            rows.append([method, *(ratio(areas(runs[ours]), areas(runs[theirs])) for ours, theirs in pairs)])
    return markdown_table(["ratio to TD3 [90 %]", *options.goals], rows)


def main(options: Options) -> None:
    for chosen, accepted in ((options.methods, METHODS), (options.goals, presets.GOALS)):
        if unknown := set(chosen) - set(accepted):
            raise SystemExit(f"unknown {', '.join(sorted(unknown))}; accepted: {', '.join(accepted)}")
    options = dataclasses.replace(options, methods=tuple(dict.fromkeys((presets.TD3, *options.methods))))
    record(options.offline, (POINT_MASS,), (LIBRARY_TIER,))
    names = dict.fromkeys(presets.METHODS[method][0] for method in options.methods if method != presets.TD3)
    libraries = train_all(library_runs(options.offline, tuple(names)), options.offline)
    runs = train_all(presets.runs(options.offline, options.methods, options.goals), options.runs, fresh=options.fresh)
    signed = provenance([*libraries.values(), *runs.values()])
    for name, make in {"pooled": pooled_table, "goals": goals_table}.items():
        markdown = f"{make(runs, options)}\n\n{signed}"
        analysis.update_section(FOLDER / "README.md", f"table:{name}", markdown)
        print(f"{name}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
