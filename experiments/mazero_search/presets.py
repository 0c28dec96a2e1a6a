"""The runs in which the environment itself is searched, as typed presets."""

from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

SIMULATIONS = (10, 25, 50, 100, 200)
SEEDS, EPISODES = 4, 16
TASKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "hallway": ("hallway/4-4", {}),
    "hallway-rollouts": ("hallway/4-4", {"rollout_steps": 14}),
    "M1": ("matrix/M1", {}),
    "M3": ("matrix/M3", {}),
    "connector": ("jumanji/connector-5x5-3ag", {}),
    "micro": ("micro/3m", {}),
}
"""Run name -> environment and settings of `mcts`."""


def runs(names: tuple[str, ...] = tuple(TASKS)) -> list[Preset]:
    """One run per task; nothing is trained."""
    options = TrainOptions(total_steps=1, seeds=SEEDS, evaluations=1, eval_episodes=EPISODES, absolute_episodes=0)
    return [
        Preset(name, "mcts", env, {"simulations": SIMULATIONS, **settings}, options=options)
        for name, (env, settings) in TASKS.items()
        if name in names
    ]
