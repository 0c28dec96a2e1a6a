"""The runs of the study, as typed presets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments._study import Preset
from experiments._tuning import Search, tuned
from jaxmarl_suite.runner import TrainOptions

Q_METHODS = ("iql", "vdn", "qmix", "cw-qmix", "ow-qmix", "qplex", "qtran")
PPO_METHODS = ("mappo", "ippo")

GAMES = ("two-step", "climbing", "penalty")
GAME_METHODS = (*Q_METHODS, *PPO_METHODS, "tad-ppo")
GAME_SEEDS = 10
GAME_STEPS = 20_000
GAME_Q: Mapping[str, Any] = {
    "num_envs": 32,
    "rollout_length": 2,
    "capacity": 500,
    "recurrent": False,
    "learning_rate": 1e-3,
    "epsilon_steps": 10_000.0,
    "target_period": 200,
}
"""Feed-forward, as one step of the games shows all there is; ε falls from 1 to 0.05 over the first half."""
GAME_PPO: Mapping[str, Any] = {"num_envs": 32, "rollout_length": 2, "value_norm_decay": 0.99}

HALLWAY = "hallway/4-4"
HALLWAY_METHODS = (*Q_METHODS, *PPO_METHODS)
HALLWAY_SEEDS = 12
HALLWAY_STEPS = 400_000
TUNING_STEPS = 300_000
HALLWAY_OPTIONS = {"clock": True}
HALLWAY_Q: Mapping[str, Any] = {
    "num_envs": 32,
    "rollout_length": 8,
    "recurrent": False,
    "optimizer": "adam",
    "epsilon_steps": 50_000.0,
    "target_period": 200,
}
HALLWAY_OWN: Mapping[str, Mapping[str, Any]] = {
    "cw-qmix": {"central_hidden": 64},
    "ow-qmix": {"central_hidden": 64},
    "qplex": {"heads": 4, "depth": 1},
}
"""Smaller mixers than by default, to save time; QPLEX's is its authors' for micromanagement."""
HALLWAY_PPO: Mapping[str, Any] = {"num_envs": 64, "rollout_length": 16, "epochs": 4, "value_norm_decay": 0.99}
HALLWAY_GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "Q-learning": {"learning_rate": (5e-4, 2e-3), "gamma": (0.9, 0.99), "epsilon_end": (0.05, 0.2)},
    "PPO": {"learning_rate": (1e-3, 3e-3), "gamma": (0.9, 0.99), "entropy": (0.1, 0.4)},
}
TUNED = Path(__file__).with_name("tuned.json")

SMAX = "smax/3m"
SMAX_SEEDS = 6
SMAX_STEPS = 400_000
SMAX_Q: Mapping[str, Any] = {
    "num_envs": 16,
    "rollout_length": 32,
    "capacity": 2000,
    "gradient_steps": 2,
    "target_period": 200,
    "epsilon_steps": 100_000.0,
    "optimizer": "adam",
    "learning_rate": 1e-3,
}
SMAX_PPO: Mapping[str, Any] = {"num_envs": 32, "rollout_length": 32, "epochs": 4, "minibatches": 2}
SMAX_RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "qmix": ("qmix", SMAX_Q),
    "qmix-observations": ("qmix", {**SMAX_Q, "context": "observations"}),
    "mappo": ("mappo", SMAX_PPO),
}
"""Run name -> method and settings; "observations" shows the mixer all observations in place of the state."""


def group_of(name: str) -> str:
    """Which grid a method is searched on."""
    return "Q-learning" if name in Q_METHODS else "PPO"


def hallway_settings(name: str) -> dict[str, Any]:
    """A method's settings on hallway that were not searched."""
    return {**HALLWAY_Q, **HALLWAY_OWN.get(name, {})} if name in Q_METHODS else dict(HALLWAY_PPO)


def game_runs() -> list[Preset]:
    """All methods on the small games."""
    options = TrainOptions(total_steps=GAME_STEPS, seeds=GAME_SEEDS, evaluations=20, absolute_episodes=0)
    return [
        Preset(f"{game}-{name}", name, f"matrix/{game}", GAME_Q if name in Q_METHODS else GAME_PPO, options=options)
        for game in GAMES
        for name in GAME_METHODS
    ]


def searches() -> list[Search]:
    """Eight points per method on hallway, three seeds each that are not reported."""
    options = TrainOptions(total_steps=TUNING_STEPS, seeds=3, first_seed=1000, evaluations=6, absolute_episodes=0)
    return [
        Search(
            group,
            [HALLWAY],
            {name: hallway_settings(name) for name in HALLWAY_METHODS if group_of(name) == group},
            grid,
            lambda run: run.curve("win").values[None, :, -2:].mean(-1),
            options,
            HALLWAY_OPTIONS,
        )
        for group, grid in HALLWAY_GRIDS.items()
    ]


def hallway_runs() -> list[Preset]:
    """All methods on hallway with the settings chosen for each."""
    options = TrainOptions(total_steps=HALLWAY_STEPS, seeds=HALLWAY_SEEDS, evaluations=20, absolute_episodes=0)
    return [
        Preset(
            f"hallway-{name}",
            name,
            HALLWAY,
            hallway_settings(name) | tuned(TUNED, group_of(name), name),
            env_options=HALLWAY_OPTIONS,
            options=options,
        )
        for name in HALLWAY_METHODS
    ]


def smax_runs() -> list[Preset]:
    """Micromanagement, against the heuristic."""
    options = TrainOptions(total_steps=SMAX_STEPS, seeds=SMAX_SEEDS, evaluations=20, keep_checkpoints=1)
    return [
        Preset(f"smax-{label}", name, SMAX, settings, options=options) for label, (name, settings) in SMAX_RUNS.items()
    ]
