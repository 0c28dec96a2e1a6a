"""The runs of the study, as typed presets."""

from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

GAMES = ("M1", "M2", "M3", "M4")
NUM_SEEDS = 10
STEPS = 2_000
FACTOR = 10
"""Methods without a model are given this many times the steps, too."""

PLANNING: Mapping[str, Any] = {
    "num_envs": 4,
    "rollout_length": 5,
    "gradient_steps": 10,
    "warmup_steps": 260,
    "learning_rate": 5e-3,
    "target_period": 50,
    "unroll_steps": 3,
    "width": 32,
    "hidden": (32,),
}
MAZERO: Mapping[str, Any] = {**PLANNING, "communication_layers": 0}
PPO: Mapping[str, Any] = {
    "num_envs": 8,
    "rollout_length": 10,
    "learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "entropy": 0.05,
    "value_norm_decay": 0.99,
}
QMIX: Mapping[str, Any] = {
    "num_envs": 4,
    "rollout_length": 5,
    "capacity": 4_000,
    "learning_starts": 52,
    "gradient_steps": 10,
    "recurrent": False,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "target_period": 50,
}
"""Capacity and start are counted in stretches of five steps: 20,000 and 260 steps."""

PLANNERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mazero": ("mazero", MAZERO),
    "mean": ("mazero", {**MAZERO, "backup": "mean"}),
    "cloning": ("mazero", {**MAZERO, "policy_loss": "cloning"}),
    "mean-cloning": ("mazero", {**MAZERO, "backup": "mean", "policy_loss": "cloning"}),
    "muzero-joint": ("muzero-joint", PLANNING),
}
"""Run name -> method and settings."""
MODEL_FREE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mappo": ("mappo", PPO),
    "qmix": ("qmix", QMIX),
    "tad-ppo": ("tad-ppo", {**PPO, "entropy": 0.5}),
}


def options(steps: int, num_seeds: int) -> TrainOptions:
    """An evaluation every 100 steps, or ten times as rarely."""
    return TrainOptions(total_steps=steps, seeds=num_seeds, evaluations=20, eval_episodes=8, absolute_episodes=0)


def settings_for(method: str, settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Settings for a run of so many steps: ε of QMIX falls during its first half."""
    return {**settings, "epsilon_steps": steps / 2} if method == "qmix" else dict(settings)


def runs(
    games: tuple[str, ...] = GAMES,
    methods: tuple[str, ...] = (*PLANNERS, *MODEL_FREE),
    num_seeds: int = NUM_SEEDS,
) -> list[Preset]:
    """Named GAME-METHOD, and GAME-METHOD-long for those with ten times the steps."""
    found = []
    for name, (method, settings) in (PLANNERS | MODEL_FREE).items():
        if name not in methods:
            continue
        lengths = {"": STEPS} if name in PLANNERS else {"": STEPS, "-long": FACTOR * STEPS}
        for suffix, steps in lengths.items():
            chosen = settings_for(method, settings, steps)
            for game in games:
                env = f"matrix/{game}"
                found.append(Preset(f"{game}-{name}{suffix}", method, env, chosen, options=options(steps, num_seeds)))
    return found
