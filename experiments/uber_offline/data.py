"""The datasets of the study."""

from pathlib import Path

from experiments._study import train_all
from experiments.uber_offline import presets
from jaxmarl_suite.analysis import Run
from jaxmarl_suite.runner import make_dataset


def record(folder: Path, tasks: tuple[str, ...], tiers: tuple[str, ...]) -> list[Run]:
    """Makes the datasets that are missing; returns the runs that they come from."""
    runs = train_all(presets.source_runs(tasks), folder)
    for task, run in zip(tasks, runs.values()):
        for tier in tiers:
            path = presets.data_folder(folder, task, tier)
            if not path.exists():
                print(f"[{path.name}] recording", flush=True)
                make_dataset(run.path, path, tier=tier, steps=presets.DATA_STEPS, warn=print)
    return list(runs.values())
