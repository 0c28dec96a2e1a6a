"""The runs of the study, as typed presets."""

from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

ENV = "toy/puck"
STEPS, LONG_STEPS, SEEDS = 20_000, 200_000, 5
PLAY: Mapping[str, Any] = {"num_envs": 4, "rollout_length": 50}
"""A round, or a rollout of MAPPO, is 200 steps: one episode of each environment."""
NETWORKS: Mapping[str, Any] = {"hidden": (128, 128), "learning_rate": 5e-4, "critic_learning_rate": 5e-4, "gamma": 0.9}
"""Of all methods. With a discount of 0.99 MAPPO does not leave uniform play in a million steps: see the study's page."""
MODEL: Mapping[str, Any] = {
    **PLAY,
    **NETWORKS,
    "warmup_steps": 1000,
    "capacity": STEPS,
    "observations": "exact",
    "samples_ends": False,
}
"""Nothing terminates, and observations are a known function of the state."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "DIMA": ("dima", MODEL),
    "cumulative": ("dima", {**MODEL, "reveal": "cumulative"}),
    "joint": ("dima", {**MODEL, "reveal": "joint"}),
    "MLP ensemble": ("mbppo-mlp", MODEL),
    "transformer": ("mbppo-transformer", MODEL),
    "MAPPO": ("mappo", {**PLAY, **NETWORKS, "epochs": 5, "clip": 0.1, "entropy": 0.001, "entropy_end": 0.001}),
}


def _options(steps: int) -> TrainOptions:
    return TrainOptions(total_steps=steps, seeds=SEEDS, evaluations=20, eval_episodes=32, absolute_episodes=0)


def equal_runs(methods: tuple[str, ...] = tuple(METHODS)) -> list[Preset]:
    """All methods for the same number of steps."""
    return [Preset(method, METHODS[method][0], ENV, METHODS[method][1], options=_options(STEPS)) for method in methods]


def long_runs() -> list[Preset]:
    """MAPPO for ten times as many steps: how many it needs for the same level."""
    algorithm, settings = METHODS["MAPPO"]
    return [Preset("MAPPO, long", algorithm, ENV, settings, options=_options(LONG_STEPS))]
