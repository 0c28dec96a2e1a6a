"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

ROBOTS = ("halfcheetah-6x1", "ant-4x2", "hopper-3x1")
METHODS = ("mappo", "ippo", "happo")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a machine can afford."""

    steps: int
    """Environment steps of a training."""
    seeds: int
    evaluations: int
    settings: Mapping[str, Any]


BUDGETS: Mapping[str, Budget] = {
    "small": Budget(
        200_000,
        5,
        10,
        {
            "num_envs": 32,
            "rollout_length": 64,
            "epochs": 8,
            "minibatches": 4,
            "learning_rate": 1e-3,
            "entropy": 0.0,
            "value_norm_decay": 0.99,
        },
    ),
    "full": Budget(
        100_000_000,
        10,
        50,
        {"num_envs": 2048, "rollout_length": 32, "epochs": 4, "minibatches": 32, "learning_rate": 3e-4, "entropy": 0.0},
    ),
}
"""`small` fits two cores; `full` is for an accelerator and has not been run here."""


def runs(budget: str) -> list[Preset]:
    """All methods on all robots."""
    chosen = BUDGETS[budget]
    options = TrainOptions(
        total_steps=chosen.steps,
        seeds=chosen.seeds,
        evaluations=chosen.evaluations,
        eval_episodes=8,
        absolute_episodes=0,
    )
    return [
        Preset(f"{budget}-{robot}-{method}", method, f"mabrax/{robot}", chosen.settings, options=options)
        for robot in ROBOTS
        for method in METHODS
    ]
