"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.algorithms.imagination import FULL
from jaxmarl_suite.runner import TrainOptions

ROBOTS = ("hopper-3x1", "halfcheetah-2x3")
NETWORKS: Mapping[str, Any] = {"hidden": (128, 128), "learning_rate": 5e-4, "critic_learning_rate": 5e-4}
PPO: Mapping[str, Any] = {**NETWORKS, "epochs": 5, "clip": 0.1, "entropy": 0.001, "entropy_end": 0.001}
PLAY: Mapping[str, Any] = {"num_envs": 8, "rollout_length": 125}
"""A round, or a rollout of MAPPO, is 1000 steps."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a machine can afford."""

    steps: int
    """Environment steps of a training."""
    seeds: int
    evaluations: int
    model: Mapping[str, Any]
    """Settings of DIMA."""


BUDGETS: Mapping[str, Budget] = {
    "small": Budget(30_000, 3, 10, {**PLAY, **NETWORKS, "warmup_rounds": 4, "capacity": 30_000}),
    "full": Budget(
        300_000,
        4,
        30,
        {
            **PLAY,
            **NETWORKS,
            "model_size": FULL.model_size,
            "imagined_envs": FULL.imagined_envs,
            "model_updates": FULL.model_updates,
        },
    ),
}
"""`small` is for two cores, with small networks; `full` has the sizes of DIMA's code, and is for an accelerator."""


def runs(budget: str, robots: tuple[str, ...] = ROBOTS) -> list[Preset]:
    """DIMA, its variant and MAPPO on the robots."""
    chosen = BUDGETS[budget]
    options = TrainOptions(
        total_steps=chosen.steps,
        seeds=chosen.seeds,
        evaluations=chosen.evaluations,
        eval_episodes=8,
        absolute_episodes=0,
    )
    methods: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "DIMA": ("dima", chosen.model),
        "cumulative": ("dima", {**chosen.model, "reveal": "cumulative"}),
        "MAPPO": ("mappo", {**PLAY, **PPO}),
    }
    return [
        Preset(f"{budget}-{robot}-{name}", algorithm, f"mabrax/{robot}", settings, {"obs": "dima"}, options=options)
        for robot in robots
        for name, (algorithm, settings) in methods.items()
    ]
