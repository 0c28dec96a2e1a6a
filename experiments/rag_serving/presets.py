"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments._study import Preset
from experiments.rag_serving import guided
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
    methods: Mapping[str, Mapping[str, Any]]
    """Settings by method."""


_CACHE_RULES = ("lru", "lfu", "lfu-da", "lru-unless-held", "lfu-da-unless-held", "shared-first")
_SERVE_RULES = (
    "rr-fifo+lru",
    "jsq-fifo+lru",
    "session-fifo+lru",
    "overlap-fifo+lru",
    "balanced-fifo+lru",
    "balanced-fifo+lfu-da",
    "balanced-sjf+lfu-da",
    "balanced-guard+lfu-da",
)
CACHE_PPO: Mapping[str, Any] = {
    "num_envs": 64,
    "rollout_length": 64,
    "epochs": 4,
    "minibatches": 2,
    "learning_rate": 5e-4,
    "entropy": 0.003,
}
SERVE_PPO: Mapping[str, Any] = {
    "num_envs": 32,
    "rollout_length": 64,
    "epochs": 4,
    "minibatches": 4,
    "learning_rate": 5e-4,
    "entropy": 0.003,
    "hidden": (32, 32),
}
GUIDED: Mapping[str, Any] = {**SERVE_PPO, "learning_rate": 2e-4, "entropy": 0.001}
QMIX: Mapping[str, Any] = {"num_envs": 16, "gradient_steps": 4, "epsilon_steps": 50_000.0}

_CACHE_METHODS = {"mappo": CACHE_PPO, "tad-ppo": {**CACHE_PPO, "entropy": 0.02}, "qmix": QMIX}
_SERVE_METHODS = {
    "mappo": SERVE_PPO,
    guided.NAME: GUIDED,
    "tad-ppo": {**SERVE_PPO, "entropy": 0.02},
    "qmix": QMIX,
}
METHODS = tuple(_SERVE_METHODS)


def _serve(env: str) -> Level:
    return Level(env, 150_000, "ttft", "rr-fifo+lru", _SERVE_RULES, _SERVE_METHODS)


LEVELS: Mapping[str, Level] = {
    "L0": Level("rag/cache-L0", 300_000, "cost", "lru", _CACHE_RULES[:3], {"mappo": CACHE_PPO}),  # no team
    "L1": Level("rag/cache-L1", 300_000, "cost", "lru", _CACHE_RULES, _CACHE_METHODS),
    "L2": _serve("rag/serve-L2"),
    "L2-busy": _serve("rag/serve-L2-busy"),
    "L3": _serve("rag/serve-L3"),
}


def runs_of(level: str, methods: Sequence[str] = METHODS) -> list[Preset]:
    """Runs on one level, on the windows of the first week; named METHOD on LEVEL."""
    chosen = LEVELS[level]
    options = TrainOptions(total_steps=chosen.steps, seeds=SEEDS, evaluations=6, eval_episodes=16, absolute_episodes=0)
    return [
        Preset(f"{method} on {level}", method, chosen.env, settings, options=options)
        for method, settings in chosen.methods.items()
        if method in methods
    ]


def all_runs() -> list[Preset]:
    """The whole study."""
    return [preset for level in LEVELS for preset in runs_of(level)]
