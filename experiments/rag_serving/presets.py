"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Level:
    """A rung of the ladder, its budget, and the rules that it is compared with."""

    env: str
    steps: int
    metric: str
    """What is tabled, lower is better: mean cost, or mean TTFT in seconds."""
    base: str
    """The rule that learned policies have to beat."""
    rules: tuple[str, ...]


_CACHE = ("lru", "lfu", "lfu-da", "lru-unless-held", "lfu-da-unless-held", "shared-first")
_SERVE = (
    "rr-fifo+lru",
    "jsq-fifo+lru",
    "session-fifo+lru",
    "overlap-fifo+lru",
    "balanced-fifo+lru",
    "balanced-fifo+lfu-da",
    "balanced-sjf+lfu-da",
    "balanced-guard+lfu-da",
)
LEVELS: Mapping[str, Level] = {
    "L0": Level("rag/cache-L0", 3_000_000, "cost", "lru", ("lru", "lfu", "lfu-da")),
    "L1": Level("rag/cache-L1", 3_000_000, "cost", "lru", _CACHE),
    "L2": Level("rag/serve-L2", 3_000_000, "ttft", "rr-fifo+lru", _SERVE),
    "L2-busy": Level("rag/serve-L2-busy", 3_000_000, "ttft", "rr-fifo+lru", _SERVE),
    "L3": Level("rag/serve-L3", 3_000_000, "ttft", "rr-fifo+lru", _SERVE),
}
PPO: Mapping[str, Any] = {"num_envs": 64, "rollout_length": 64, "learning_rate": 3e-4}
Q: Mapping[str, Any] = {"num_envs": 16}
METHODS: Mapping[str, Mapping[str, Any]] = {"mappo": PPO, "tad-ppo": PPO, "qmix": Q}
"""QMIX needs a team: it is left out at L0."""


def runs_of(level: str) -> list[Preset]:
    """All methods on one level, on the windows of the first week; named METHOD on LEVEL."""
    chosen = LEVELS[level]
    options = TrainOptions(total_steps=chosen.steps, seeds=SEEDS, evaluations=10, eval_episodes=16, absolute_episodes=0)
    return [
        Preset(f"{method} on {level}", method, chosen.env, settings, options=options)
        for method, settings in METHODS.items()
        if level != "L0" or method == "mappo"
    ]


def all_runs() -> list[Preset]:
    """The whole study."""
    return [preset for level in LEVELS for preset in runs_of(level)]
