"""The runs of the study, as typed presets."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments._study import Preset
from experiments._tuning import Search, tuned
from jaxmarl_suite import analysis
from jaxmarl_suite.runner import TrainOptions

TUNED = Path(__file__).with_name("tuned.json")
ALGORITHMS = ("tad-ppo", "mappo", "ippo", "happo")
GAMES = ("climbing", "penalty", "G1", "G3", "xor")
TRAPS = ("climbing", "penalty", "G1", "G3")
"""Games whose optimum near-uniform decentralized policies turn away from."""
OTHER_GAMES = ("Gw", "two-step", "multitask-2x3", "mmdp", "M1", "M2", "M3", "M4")
TOLERANCE = 0.01
NUM_SEEDS = 20
NUM_RANDOM_GAMES = 50
ENTROPIES = (0.01, 0.05, 0.2, 0.5, 1.0)

SHARED = {"num_envs": 256, "rollout_length": 1, "epochs": 4, "critic_learning_rate": 3e-3, "value_norm_decay": 0.99}
COMMON = {"learning_rate": 3e-3, "clip": 0.1, "entropy": 0.05}
"""For all methods alike: policies stay near uniform, as the theory has them, with little bonus for exploring."""
GRID = {"learning_rate": [1e-3, 3e-3], "clip": [0.1, 0.2], "entropy": [0.05, 0.2, 0.5, 1.0]}
STEPS = {"named": 256 * 400, "random": 256 * 800}


def group_of(game: str) -> str:
    """Whose settings a game of the last table takes: ten games at once need the exploration that random games do."""
    return "random" if game.startswith("multitask") else "common"


def fixed(algorithm: str) -> dict[str, Any]:
    """The settings that were not searched."""
    return {**SHARED, "distill_epochs": 4} if algorithm == "tad-ppo" else dict(SHARED)


def settings_of(algorithm: str, group: str) -> dict[str, Any]:
    """The settings of a method: `common`, or what the search chose for `named` or `random` games."""
    return fixed(algorithm) | (COMMON if group == "common" else tuned(TUNED, group, algorithm))


def ratios(run: analysis.Run) -> np.ndarray:
    """[L] returns of the last evaluation, divided by the optimum."""
    return run.curve(normalized=True).values[:, -1]


def solved(run: analysis.Run, metric: str = "return") -> np.ndarray:
    """[L] whether a lane ends within the tolerance of its optimum."""
    return run.curve(metric).values[:, -1] >= run.optimum - TOLERANCE


def searches() -> list[Search]:
    """Sixteen points per method: four seeds on each of four named games, and six random games; half as long as reported."""
    methods = {algorithm: fixed(algorithm) for algorithm in ALGORITHMS}
    options = TrainOptions(first_seed=1000, evaluations=4, absolute_episodes=0, log_rows=10)
    return [
        Search(
            "named",
            [f"matrix/{game}" for game in TRAPS],
            methods,
            GRID,
            lambda run: np.stack([solved(run), ratios(run)]),
            dataclasses.replace(options, total_steps=STEPS["named"] // 2, seeds=4),
        ),
        Search(
            "random",
            ["matrix/random-5x4"],
            methods,
            GRID,
            lambda run: ratios(run)[None],
            dataclasses.replace(options, total_steps=STEPS["random"] // 2),
            env_grid={"env.seed": list(range(1000, 1006))},
        ),
    ]


def named_runs(group: str) -> list[Preset]:
    """All methods on the five named games, at `common` or at their own (`named`) settings."""
    options = TrainOptions(total_steps=STEPS["named"], seeds=NUM_SEEDS, evaluations=40, absolute_episodes=0)
    return [
        Preset(
            f"{group}-{game}-{algorithm}", algorithm, f"matrix/{game}", settings_of(algorithm, group), options=options
        )
        for game in GAMES
        for algorithm in ALGORITHMS
    ]


def random_runs() -> list[Preset]:
    """All methods on random games of five players with four actions: one lane per game."""
    options = TrainOptions(total_steps=STEPS["random"], seeds=1, evaluations=10, absolute_episodes=0)
    return [
        Preset(
            f"random-{algorithm}",
            algorithm,
            "matrix/random-5x4",
            settings_of(algorithm, "random"),
            grid={"env.seed": list(range(NUM_RANDOM_GAMES))},
            options=options,
        )
        for algorithm in ALGORITHMS
    ]


def other_runs() -> list[Preset]:
    """TAD-PPO and MAPPO on the other listed games, several of them with more than one step."""
    presets = []
    for game in OTHER_GAMES:
        long = game in ("mmdp", "M1", "M2", "M3", "M4", "two-step")
        shape = {"num_envs": 64, "rollout_length": 20} if long else {}
        group = group_of(game)
        steps = 64 * 20 * 120 if long else STEPS["random" if group == "random" else "named"]
        options = TrainOptions(total_steps=steps, seeds=5, evaluations=10, absolute_episodes=0)
        presets += [
            Preset(
                f"{group}-{game}-{algorithm}",
                algorithm,
                f"matrix/{game}",
                settings_of(algorithm, group) | shape,
                options=options,
            )
            for algorithm in ("tad-ppo", "mappo")
        ]
    return presets


def entropy_runs() -> list[Preset]:
    """TAD-PPO and MAPPO with more and less exploration than the common bonus."""
    options = TrainOptions(total_steps=STEPS["named"], seeds=6, evaluations=4, absolute_episodes=0, first_seed=100)
    return [
        Preset(
            f"entropy-{game}-{algorithm}",
            algorithm,
            f"matrix/{game}",
            settings_of(algorithm, "common"),
            grid={"entropy": list(ENTROPIES)},
            options=options,
        )
        for game in TRAPS
        for algorithm in ("tad-ppo", "mappo")
    ]
