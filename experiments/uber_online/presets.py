"""The runs of the study, as typed presets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments._study import Preset
from experiments.uber_offline.presets import HIDDEN, LIBRARIES, LIBRARY, LIBRARY_SEEDS, POINT_MASS, TASKS
from jaxmarl_suite.runner import TrainOptions

STEPS, EVALUATIONS = 8_000, 40
GOALS: Mapping[str, tuple[float, float]] = {
    "north-east": (0.6, 0.6),
    "north-west": (-0.6, 0.6),
    "south-west": (-0.6, -0.6),
    "south-east": (0.6, -0.6),
}
"""The data was recorded by a policy that learned to reach the middle."""
ONLINE: Mapping[str, Any] = {
    "hidden": HIDDEN,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "capacity": 8_000,
    "warmup_steps": 1_000,
}
"""Of TD3 and of all others, beside TD3's defaults."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "UBER": ("intents", {}),
    "UBER, α = 100": ("intents", {"inverse_temperature": 100.0}),
    "PEX, untrained": ("untrained", {}),
    "PEX, imitation": ("imitation", {}),
    "PEX, constant reward": ("constant", {}),
    "PEX, true reward of the data": ("reward", {}),
}
"""Name -> what the library learned from, and settings of the second phase; α is 10 otherwise."""
TD3 = "TD3"
OPTIONS: Mapping[str, Any] = {
    "total_steps": STEPS,
    "seeds": LIBRARY_SEEDS,
    "evaluations": EVALUATIONS,
    "eval_episodes": 10,
    "absolute_episodes": 0,
    "lane_mode": "vmap",
}


def run_name(method: str, goal: str) -> str:
    """The name of a method's run."""
    return f"{method}, goal {goal}"


def runs(libraries: Path, methods: tuple[str, ...], goals: tuple[str, ...] = tuple(GOALS)) -> list[Preset]:
    """A run per method and goal; lane i takes the library of seed i."""
    task, found = TASKS[POINT_MASS], []
    for goal in goals:
        options = {**task.env_options, **dict(zip(("goal_x", "goal_y"), GOALS[goal]))}
        for method in methods:
            name = run_name(method, goal)
            if method == TD3:
                found.append(Preset(name, "td3", task.env, ONLINE, options, options=TrainOptions(**OPTIONS)))
                continue
            library, own = METHODS[method]
            settings = {**LIBRARY, **LIBRARIES[library], **ONLINE, **own}
            start = TrainOptions(**OPTIONS, start_from=str(libraries / f"library of {library}"))
            found.append(Preset(name, "uber", task.env, settings, options, options=start))
    return found
