"""The runs of the study, as typed presets."""

from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

ALGORITHMS = ("tad-ppo", "mappo", "ippo", "happo")
GAMES = ("climbing", "penalty", "G1", "G3", "xor")
TRAPS = ("climbing", "penalty", "G1", "G3")
"""Games whose optimum near-uniform decentralised policies turn away from."""
OTHER_GAMES = ("Gw", "two-step", "multitask-2x3", "mmdp", "M1", "M2", "M3", "M4")
NUM_SEEDS = 20
NUM_RANDOM_GAMES = 50
ENTROPIES = (0.01, 0.05, 0.2, 0.5, 1.0)

# Picked by hand, mostly for TAD-PPO; the README says how, and on what.
SETTINGS = {
    "num_envs": 256,
    "rollout_length": 1,
    "epochs": 4,
    "learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "clip": 0.1,
    "entropy": 0.05,
}
STEPS = 256 * 400
# Games with many joint actions or many tasks need more exploration and more episodes; the same for all methods.
LARGE_SETTINGS = SETTINGS | {"entropy": 1.0}
DISTILLATION = {"tad-ppo": {"distill_epochs": 4}}
LARGE_STEPS = 256 * 800


def settings_of(algorithm: str, shared: Mapping[str, Any] = SETTINGS) -> dict[str, Any]:
    """The shared settings, and what only one method has."""
    return {**shared, **DISTILLATION.get(algorithm, {})}


def main_runs() -> list[Preset]:
    """All methods on the five named games."""
    options = TrainOptions(total_steps=STEPS, seeds=NUM_SEEDS, evaluations=40, absolute_episodes=0)
    return [
        Preset(f"{game}-{algorithm}", algorithm, f"matrix/{game}", settings_of(algorithm), options=options)
        for game in GAMES
        for algorithm in ALGORITHMS
    ]


def random_runs() -> list[Preset]:
    """All methods on random games of five players with four actions: one lane a game."""
    options = TrainOptions(total_steps=LARGE_STEPS, seeds=1, evaluations=10, absolute_episodes=0)
    return [
        Preset(
            f"random-{algorithm}",
            algorithm,
            "matrix/random-5x4",
            settings_of(algorithm, LARGE_SETTINGS),
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
        large = game.startswith("multitask")
        steps = LARGE_STEPS if large else 64 * 20 * 120 if long else STEPS
        options = TrainOptions(total_steps=steps, seeds=5, evaluations=10, absolute_episodes=0)
        presets += [
            Preset(
                f"{game}-{algorithm}",
                algorithm,
                f"matrix/{game}",
                settings_of(algorithm, (LARGE_SETTINGS if large else SETTINGS) | shape),
                options=options,
            )
            for algorithm in ("tad-ppo", "mappo")
        ]
    return presets


def entropy_runs() -> list[Preset]:
    """TAD-PPO and MAPPO with more and less exploration."""
    options = TrainOptions(total_steps=STEPS, seeds=6, evaluations=4, absolute_episodes=0, first_seed=100)
    return [
        Preset(
            f"entropy-{game}-{algorithm}",
            algorithm,
            f"matrix/{game}",
            settings_of(algorithm),
            grid={"entropy": list(ENTROPIES)},
            options=options,
        )
        for game in TRAPS
        for algorithm in ("tad-ppo", "mappo")
    ]
