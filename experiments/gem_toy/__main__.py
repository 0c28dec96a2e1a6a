"""`python -m experiments.gem_toy`: trains what is missing, then rewrites the README's tables and the figure."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from experiments._study import markdown_table, provenance, random_return, train_all
from experiments.gem_toy import measures, presets
from jaxmarl_suite import analysis
from jaxmarl_suite.analysis import Run

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """GEM, TD3* and their relatives on toy tasks, with plain and with delayed rewards: tables and figure."""

    runs: Path = Path("runs/gem_toy")
    """Where run folders lie; finished ones are used as they are."""
    parts: tuple[str, ...] = ("plain", "delayed", "shown", "ablations")
    """What to train and table."""
    fresh: bool = False
    """Train everything anew."""


def interval(values: NDArray[np.float64], digits: int = 0) -> str:
    """IQM over seeds with its 95 % bootstrap interval."""
    e = analysis.bootstrap_estimate([values])
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def returns_table(runs: Mapping[str, Run], tasks: Mapping[str, str], suffix: str, methods: tuple[str, ...]) -> str:
    """Final returns and areas of all methods, and the ratios of areas to those of TD3*."""
    rows = []
    for task, env in tasks.items():
        base = measures.area(runs[f"TD3* on {task}{suffix}"])
        for method in methods:
            run = runs[f"{method} on {task}{suffix}"]
            area = measures.area(run)
            compared = "" if method == "TD3*" else measures.ratio(area, base)
            final = interval(run.curve().values[:, -1])
            rows.append([f"{task} ({random_return(env):.0f}), {method}", final, interval(area), compared])
    return markdown_table(["task (uniform actions), method", "final return", "area", "ratio to TD3* [90 %]"], rows)


def bias_table(folder: Path) -> str:
    """Bias of the critics on the way and at the end."""
    steps = [presets.STEPS * k // presets.JUDGED for k in range(1, presets.JUDGED + 1)]
    rows = [
        [f"{task}, {method}", *(interval(measures.bias(folder / f"{method} on {task}", step), 2) for step in steps)]
        for task in presets.PLAIN
        for method in presets.BIASED
    ]
    return markdown_table(["task, method", *(f"after {step:,} steps" for step in steps)], rows)


def plain(options: Options) -> dict[str, str]:
    """README sections of plain rewards."""
    runs = train_all(presets.plain_runs(), options.runs, fresh=options.fresh)
    signed = provenance(list(runs.values()))
    methods = ("GEM", "TD3*", "BP", "TD3", "SAC")
    return {
        "plain": f"{returns_table(runs, presets.PLAIN, '', methods)}\n\n{signed}",
        "bias": bias_table(options.runs),
    }


def delayed(options: Options) -> dict[str, str]:
    """README sections of delayed rewards."""
    runs = train_all(presets.delayed_runs(), options.runs, fresh=options.fresh)
    table = returns_table(runs, presets.DELAYED, ", delayed", ("GEM", "TD3*", "TD3*, 5 steps"))
    return {"delayed": f"{table}\n\n{provenance(list(runs.values()))}"}


def shown(options: Options) -> dict[str, str]:
    """README section of delayed rewards whose debts are observed."""
    runs = train_all(presets.shown_runs(), options.runs, fresh=options.fresh)
    table = returns_table(runs, presets.PLAIN, ", delayed and shown", ("GEM", "TD3*", "TD3*, 5 steps"))
    return {"shown": f"{table}\n\n{provenance(list(runs.values()))}"}


def ablations(options: Options) -> dict[str, str]:
    """README section of GEM without one of its parts each."""
    runs = train_all(presets.ablation_runs(), options.runs, fresh=options.fresh)
    whole = f"GEM on {presets.ABLATED}, delayed"
    (first,) = [preset for preset in presets.delayed_runs() if preset.name == whole]
    own = train_all([first], options.runs)[whole]
    rows = []
    for name, run in {"GEM": own, **{key.removesuffix(", delayed"): run for key, run in runs.items()}}.items():
        rows.append([name, interval(run.curve().values[:, -1]), interval(measures.area(run))])
    table = markdown_table(["GEM with", "final return", "area"], rows)
    return {"ablations": f"{table}\n\n{provenance([own, *runs.values()])}"}


PARTS = {"plain": plain, "delayed": delayed, "shown": shown, "ablations": ablations}
"""What a part is called, and what makes its README sections."""


def main(options: Options) -> None:
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(PARTS)}")
    for part in options.parts:
        for name, markdown in PARTS[part](options).items():
            analysis.update_section(FOLDER / "README.md", f"table:{name}", markdown)
            print(f"{name}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
