"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

SEEDS = 8
NUM_ENVS, WIDTH, CAPACITY, LEARNING_RATE = 8, 64, 20_000, 1e-3
BLOCK = 256
"""Environment steps between two renewals of the memory, and of all target networks."""
RATIO = 4
"""Environment steps a gradient step."""
BATCH, WARMUP = 64, 1_000


@dataclasses.dataclass(frozen=True)
class Task:
    """An environment with its options and its budget."""

    env: str
    options: Mapping[str, Any]
    steps: int
    evaluations: int


TASKS: Mapping[str, Task] = {
    "catch": Task("gymnax/catch", {}, 10_000, 10),
    "deep-sea 8": Task("gymnax/deep-sea", {"size": 8, "randomize_actions": True}, 20_000, 20),
    "breakout": Task("gymnax/breakout", {"time_limit": 300}, 16_000, 8),
    "space-invaders": Task("gymnax/space-invaders", {"time_limit": 300}, 16_000, 8),
}
"""MinAtar's episodes are cut after 300 steps, so that evaluations of a good policy end."""
GEM: Mapping[str, Any] = {
    "num_envs": NUM_ENVS,
    "rollout_length": BLOCK // NUM_ENVS,
    "gradient_steps": BLOCK // RATIO,
    "target_period": BLOCK // RATIO,
    "capacity": CAPACITY,
    "batch_size": BATCH,
    "warmup_steps": WARMUP,
    "hidden": (WIDTH, WIDTH),
    "learning_rate": LEARNING_RATE,
}
DQN: Mapping[str, Any] = {
    "num_envs": NUM_ENVS,
    "rollout_length": 1,
    "gradient_steps": NUM_ENVS // RATIO,
    "target_period": BLOCK // RATIO,
    "capacity": CAPACITY,
    "batch_size": BATCH,
    "learning_starts": WARMUP,
    "recurrent": False,
    "last_action": False,
    "share_parameters": False,
    "width": WIDTH,
    "optimizer": "adam",
    "optimizer_eps": 1e-8,
    "max_grad_norm": 1e9,
    "learning_rate": LEARNING_RATE,
}
"""Sequences of one step, so that replay and batches are counted in steps as GEM's are; no clipping, as there."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "DQN": ("iql", DQN),
    "gem-q": ("gem-q", GEM),
    "gem-q, one step": ("gem-q", {**GEM, "max_steps": 1}),
    "gem-q, κ = 0.25": ("gem-q", {**GEM, "kappa": 0.25}),
    "gem-meta": ("gem-meta", GEM),
}
"""The third has everything of gem-q but the memory: targets of one step, from the same four networks. The fourth has the
asymmetric loss of the continuous agents."""


def runs_of(task: str) -> list[Preset]:
    """All methods on one task; named METHOD on TASK."""
    chosen = TASKS[task]
    options = TrainOptions(
        total_steps=chosen.steps,
        seeds=SEEDS,
        evaluations=chosen.evaluations,
        eval_episodes=10,
        absolute_episodes=0,
    )
    return [
        Preset(
            f"{method} on {task}",
            algorithm,
            chosen.env,
            {**settings, "epsilon_steps": chosen.steps / 2},
            env_options=chosen.options,
            options=options,
        )
        for method, (algorithm, settings) in METHODS.items()
    ]


def all_runs() -> list[Preset]:
    """The whole study."""
    return [preset for task in TASKS for preset in runs_of(task)]
