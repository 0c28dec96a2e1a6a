"""The runs and datasets of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TIERS, TrainOptions

HIDDEN = (64, 64)
POINT_MASS = "point-mass"


@dataclasses.dataclass(frozen=True)
class Task:
    """What data is recorded of."""

    env: str
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = 20_000
    """Of the run that is recorded."""


TASKS: Mapping[str, Task] = {
    POINT_MASS: Task("toy/point-mass", {"goal": "hidden"}),
    "pendulum": Task("toy/pendulum"),
    "inverted-pendulum": Task("toy/inverted-pendulum"),
}
"""The goal of the point mass is in the middle and not observed, so that tasks with other goals look the same."""
PLAYED_TIERS = tuple(tier for tier in TIERS if tier != "replay")
CHECKPOINTS = 100
DATA_STEPS = 20_000
SOURCE: Mapping[str, Any] = {
    "hidden": HIDDEN,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "warmup_steps": 1_000,
    "capacity": 20_000,
    "gradient_steps": 25,
}
"""SAC, with a gradient step for every second environment step: it is to pass through all levels, not to be fast."""

LEARNER_SEEDS = 5
LEARNER: Mapping[str, Any] = {
    "hidden": HIDDEN,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "total_gradient_steps": 10_000,
}
LEARNERS = (("td3-bc", "medium"), ("td3-bc", "expert"), ("bc", "medium"))

LIBRARY_SEEDS = 8
LIBRARY: Mapping[str, Any] = {
    "hidden": HIDDEN,
    "intent_hidden": HIDDEN,
    "num_intents": 16,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "total_gradient_steps": 5_000,
    "head_mode": "vmap",
    "warmup_steps": 0,
}
"""Without a warm-up, as what follows the library in its own run is a single update."""
LIBRARIES: Mapping[str, Mapping[str, Any]] = {
    "intents": {},
    "imitation": {"library": "imitation"},
    "constant": {"library": "constant"},
    "reward": {"library": "reward", "num_intents": 1},
    "untrained": {"library": "untrained"},
}
LIBRARY_TIER = "medium-replay"
"""Of narrow data, all intents come to the same behavior."""


def source_runs(tasks: tuple[str, ...] = tuple(TASKS)) -> list[Preset]:
    """What the data is recorded from."""
    return [
        Preset(
            f"sac on {name}",
            "sac",
            TASKS[name].env,
            SOURCE,
            TASKS[name].env_options,
            options=TrainOptions(
                total_steps=TASKS[name].steps,
                evaluations=CHECKPOINTS,
                lasting_checkpoints=CHECKPOINTS,
                eval_episodes=20,
                absolute_episodes=0,
            ),
        )
        for name in tasks
    ]


def data_folder(folder: Path, task: str, tier: str) -> Path:
    """Where a dataset lies."""
    return folder / "data" / f"{task} {tier}"


def learner_runs(folder: Path, tasks: tuple[str, ...] = tuple(TASKS)) -> list[Preset]:
    """TD3+BC with the true reward on medium and expert data, and behavior cloning on the former."""
    return [
        Preset(
            f"{method} on {task} {tier}",
            method,
            TASKS[task].env,
            LEARNER,
            TASKS[task].env_options,
            options=TrainOptions(
                seeds=LEARNER_SEEDS,
                evaluations=2,
                eval_episodes=100,
                absolute_episodes=0,
                data=str(data_folder(folder, task, tier)),
            ),
        )
        for task in tasks
        for method, tier in LEARNERS
    ]


def library_runs(folder: Path, names: tuple[str, ...] = tuple(LIBRARIES)) -> list[Preset]:
    """Libraries of the point mass; their runs end with the shortest possible second phase."""
    task = TASKS[POINT_MASS]
    options = TrainOptions(
        total_steps=50,
        seeds=LIBRARY_SEEDS,
        evaluations=2,
        eval_episodes=50,
        absolute_episodes=0,
        data=str(data_folder(folder, POINT_MASS, LIBRARY_TIER)),
    )
    return [
        Preset(
            f"library of {name}", "uber", task.env, {**LIBRARY, **LIBRARIES[name]}, task.env_options, options=options
        )
        for name in names
    ]
