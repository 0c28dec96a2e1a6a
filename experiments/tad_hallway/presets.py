"""The runs of the study, as typed presets."""

from pathlib import Path
from typing import Any

from experiments._study import Preset
from experiments._tuning import Search, tuned
from jaxmarl_suite.runner import TrainOptions

TUNED = Path(__file__).with_name("tuned.json")
ALGORITHMS = ("tad-ppo", "mappo", "ippo", "happo")
NUM_SEEDS = 10
OBSERVED = {"4-4": 250_000, "6-6": 250_000, "2-6-10": 250_000, "4-4-4-4": 250_000}
"""Maps of the fully observed task, with environment steps."""
PARTIAL = {"4-4": 400_000, "6-6": 400_000}
"""Maps on which agents see their own cell and the clock."""
ENV_OPTIONS = {"observed": {"clock": True, "observe_state": True}, "partial": {"clock": True}}
SHARED = {"num_envs": 64, "rollout_length": 16, "epochs": 4, "critic_learning_rate": 3e-3, "value_norm_decay": 0.99}
GRIDS = {
    "partial": {"learning_rate": [3e-3], "clip": [0.1, 0.2], "gamma": [0.9, 0.99], "entropy": [0.4, 0.8]},
    "observed": {"learning_rate": [1e-3, 3e-3], "clip": [0.1, 0.2], "gamma": [0.9, 0.99], "entropy": [0.05, 0.4]},
}
SEARCHED = {"partial": (PARTIAL, 4), "observed": ({"2-6-10": 150_000}, 3)}
"""For each group maps with environment steps, and seeds of each."""


def fixed(group: str, algorithm: str, teacher_context: str | None = None) -> dict[str, Any]:
    """The settings that were not searched."""
    if algorithm != "tad-ppo":
        return dict(SHARED)
    context = teacher_context or ("local" if group == "partial" else "state")
    return {**SHARED, "distill_epochs": 16, "distill_learning_rate": 3e-3, "teacher_context": context}


def searches() -> list[Search]:
    """The same points for every method, on seeds from 1000 on."""
    return [
        Search(
            group,
            [f"hallway/{lengths}" for lengths in maps],
            {algorithm: fixed(group, algorithm) for algorithm in ALGORITHMS},
            GRIDS[group],
            lambda run: run.curve("win").values[None, :, -1],
            TrainOptions(
                total_steps=max(maps.values()),
                seeds=seeds,
                first_seed=1000,
                evaluations=4,
                absolute_episodes=0,
                log_rows=10,
            ),
            ENV_OPTIONS[group],
        )
        for group, (maps, seeds) in SEARCHED.items()
    ]


def _runs(group: str, maps: dict[str, int]) -> list[Preset]:
    return [
        _run(f"{group}-{lengths}-{algorithm}", group, algorithm, lengths, steps)
        for lengths, steps in maps.items()
        for algorithm in ALGORITHMS
    ]


def _run(name: str, group: str, algorithm: str, lengths: str, steps: int, context: str | None = None) -> Preset:
    return Preset(
        name,
        algorithm,
        f"hallway/{lengths}",
        fixed(group, algorithm, context) | tuned(TUNED, group, algorithm),
        env_options=ENV_OPTIONS[group],
        options=TrainOptions(total_steps=steps, seeds=NUM_SEEDS, evaluations=20, absolute_episodes=0),
    )


def observed_runs() -> list[Preset]:
    """All methods where every agent sees all cells and the clock."""
    return _runs("observed", OBSERVED)


def partial_runs() -> list[Preset]:
    """All methods where an agent sees its own cell and the clock; the teacher too, plus its predecessors' actions."""
    return _runs("partial", PARTIAL)


def imitation_runs() -> list[Preset]:
    """TAD-PPO as above with a teacher that sees the whole state: what its students cannot follow."""
    return [
        _run(f"imitation-{lengths}", "partial", "tad-ppo", lengths, steps, "state")
        for lengths, steps in PARTIAL.items()
    ]
