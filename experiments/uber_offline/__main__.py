"""`python -m experiments.uber_offline`: records and trains what is missing, then rewrites the README's tables."""

import dataclasses
from pathlib import Path

import tyro

from experiments._study import fraction, markdown_table, provenance, train_all
from experiments.uber_offline import measures, presets
from experiments.uber_offline.data import record
from experiments.uber_offline.measures import interval
from jaxmarl_suite import analysis
from jaxmarl_suite.replay import read_vault

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """Tiers of datasets, offline learners with the true reward, and the diversity of libraries without it."""

    runs: Path = Path("runs/uber_offline")
    """Where run folders and datasets lie; finished ones are used as they are."""
    parts: tuple[str, ...] = ("tiers", "learners", "diversity")
    """What to record or train, and table."""
    tasks: tuple[str, ...] = tuple(presets.TASKS)
    """Of tiers and learners; diversity is measured on the point mass."""
    libraries: tuple[str, ...] = ("intents", "imitation", "constant")
    """Whose diversity is measured."""
    fresh: bool = False
    """Train learners and libraries anew; what is recorded is kept."""


def tiers(options: Options) -> str:
    """The cards of all datasets."""
    runs = record(options.runs, options.tasks, presets.PLAYED_TIERS)
    rows = []
    for task in options.tasks:
        for tier in presets.PLAYED_TIERS:
            card = read_vault(presets.data_folder(options.runs, task, tier)).about
            returns = card["returns"]
            numbers = [f"{returns[name]:.1f}" for name in ("mean", "std", "min", "max")]
            score = "" if card["score"] is None else f"{card['score']:.0f}"
            rows.append([f"{task}, {tier}", f"{card['size']:,}", f"{card['episodes']:,}", *numbers, score])
    header = ["task, tier", "steps", "episodes", "mean return", "std", "min", "max", "score"]
    return f"{markdown_table(header, rows)}\n\n{provenance(runs)}"


def learners(options: Options) -> str:
    """Returns of offline learners beside those in their data."""
    record(options.runs, options.tasks, ("medium", "expert"))
    runs = train_all(presets.learner_runs(options.runs, options.tasks), options.runs, fresh=options.fresh)
    rows = []
    for task in options.tasks:
        for method, tier in presets.LEARNERS:
            final = runs[f"{method} on {task} {tier}"].curve().values[:, -1]
            card = read_vault(presets.data_folder(options.runs, task, tier)).about
            low, high, mean = card["random_return"], card["expert_return"], card["returns"]["mean"]
            scores = [f"{100 * (value - low) / (high - low):.0f}" for value in (mean, final.mean())]
            reached = measures.is_reached(final, tier=tier, mean=mean, random=low)
            rows.append([f"{method}, {task} {tier}", f"{mean:.1f}", interval(final), *scores, reached])
    header = ["learner, data", "mean of the data", "return", "score of the data", "score", "met"]
    return f"{markdown_table(header, rows)}\n\n{provenance(list(runs.values()))}"


def diversity(options: Options) -> str:
    """How much the policies of libraries differ, and the best of them."""
    record(options.runs, (presets.POINT_MASS,), (presets.LIBRARY_TIER,))
    data = presets.data_folder(options.runs, presets.POINT_MASS, presets.LIBRARY_TIER)
    mean = read_vault(data).about["returns"]["mean"]
    runs = train_all(presets.library_runs(options.runs, options.libraries), options.runs, fresh=options.fresh)
    rows = []
    for name, run in zip(options.libraries, runs.values()):
        returns = measures.member_returns(run)
        best = returns.max(1)
        apart = measures.action_distances(run.path, data)
        beats = fraction(int((best >= mean).sum()), len(best))
        rows.append([name, interval(returns.std(1)), interval(best), beats, interval(apart, 2)])
    header = ["library of", "std of returns", "best return", f"best ≥ mean of the data ({mean:.1f})", "action distance"]
    return f"{markdown_table(header, rows)}\n\n{provenance(list(runs.values()))}"


PARTS = {"tiers": tiers, "learners": learners, "diversity": diversity}


def main(options: Options) -> None:
    accepted_names = (options.parts, PARTS), (options.tasks, presets.TASKS), (options.libraries, presets.LIBRARIES)
    for chosen, accepted in accepted_names:
        if unknown := set(chosen) - set(accepted):
            raise SystemExit(f"unknown {', '.join(sorted(unknown))}; accepted: {', '.join(accepted)}")
    for part in options.parts:
        markdown = PARTS[part](options)
        analysis.update_section(FOLDER / "README.md", f"table:{part}", markdown)
        print(f"{part}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
