"""The runs of the study, as typed presets."""

from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

ALGORITHMS = ("tad-ppo", "mappo", "ippo", "happo")
NUM_SEEDS = 10
OBSERVED = {"4-4": 250_000, "6-6": 250_000, "2-6-10": 250_000, "4-4-4-4": 250_000}
"""Maps of the fully observed task, with environment steps."""
PARTIAL = {"4-4": 400_000, "6-6": 400_000}
"""Maps on which agents see their own cell and the clock."""

SETTINGS: dict[str, Any] = {
    "num_envs": 64,
    "rollout_length": 16,
    "epochs": 4,
    "learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "clip": 0.1,
    "gamma": 0.9,
    "entropy": 0.4,
}
DISCOUNTS, ENTROPIES = (0.9, 0.99), (0.1, 0.4)


def _runs(prefix: str, maps: dict[str, int], env_options: dict[str, bool], **tad: Any) -> list[Preset]:
    return [
        Preset(
            f"{prefix}-{lengths}-{algorithm}",
            algorithm,
            f"hallway/{lengths}",
            SETTINGS | (tad if algorithm == "tad-ppo" else {}),
            env_options=env_options,
            options=TrainOptions(total_steps=steps, seeds=NUM_SEEDS, evaluations=20),
        )
        for lengths, steps in maps.items()
        for algorithm in ALGORITHMS
    ]


def observed_runs() -> list[Preset]:
    """All methods where every agent sees all cells and the clock."""
    return _runs(
        "observed",
        OBSERVED,
        {"clock": True, "observe_state": True},
        distill_epochs=16,
        distill_learning_rate=3e-3,
    )


def partial_runs() -> list[Preset]:
    """All methods where an agent sees its own cell and the clock; the teacher too, plus its predecessors' actions."""
    return _runs("partial", PARTIAL, {"clock": True}, teacher_context="local", distill_epochs=4)


def sensitivity_runs() -> list[Preset]:
    """TAD-PPO and MAPPO on the smallest partially observed map with other discounts and entropy bonuses."""
    return [
        Preset(
            f"sensitivity-{algorithm}",
            algorithm,
            "hallway/4-4",
            SETTINGS | ({"teacher_context": "local", "distill_epochs": 4} if algorithm == "tad-ppo" else {}),
            env_options={"clock": True},
            grid={"gamma": list(DISCOUNTS), "entropy": list(ENTROPIES)},
            options=TrainOptions(total_steps=250_000, seeds=4, first_seed=100, evaluations=4, absolute_episodes=0),
        )
        for algorithm in ("tad-ppo", "mappo")
    ]


def imitation_runs() -> list[Preset]:
    """TAD-PPO as above with a teacher that sees the whole state: what its students cannot follow."""
    return [
        Preset(
            f"imitation-{lengths}",
            "tad-ppo",
            f"hallway/{lengths}",
            SETTINGS | {"teacher_context": "state", "distill_epochs": 4},
            env_options={"clock": True},
            options=TrainOptions(total_steps=steps, seeds=NUM_SEEDS, evaluations=20),
        )
        for lengths, steps in PARTIAL.items()
    ]
