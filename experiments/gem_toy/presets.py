"""The runs of the study, as typed presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

SEEDS = 8
STEPS = 15_000
EVALUATIONS = 30
SHARED: Mapping[str, Any] = {"hidden": (64, 64), "capacity": 20_000, "warmup_steps": 1_000}
"""Otherwise GEM's own settings, those of td3-star: blocks of 100 steps and 200 gradient steps."""

PLAIN: Mapping[str, str] = {"pendulum": "toy/pendulum", "point-mass": "toy/point-mass"}
DELAYED: Mapping[str, str] = {**PLAIN, "inverted-pendulum": "toy/inverted-pendulum"}
DELAY = 20
JUDGED = 3
"""The critics' bias is measured so many times, at equal distances: every 5,000 steps."""
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "GEM": ("gem", {}),
    "TD3*": ("td3-star", {}),
    "TD3*, 5 steps": ("td3-star", {"n_step": 5}),
    "BP": ("gem", {"critic_groups": 1, "num_critics": 2}),
    "GEM, symmetric loss": ("gem", {"kappa": 1.0}),
    "GEM, one critic a group": ("gem", {"num_critics": 2}),
    "TD3": ("td3", {}),
    "SAC": ("sac", {}),
}
"""TD3 and SAC have their own defaults, one gradient step an environment step. BP is GEM with one estimator: the plain
maximum over bootstraps that are the smaller of two critics."""
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "symmetric loss": {"kappa": 1.0},
    "no floor": {"floor": False},
    "one group of four": {"critic_groups": 1},
    "no layer normalization": {"layer_norm": False},
    "mean over stops, β = 0.9": {"average": True, "beta": 0.9},
}
ABLATED = "pendulum"


OPTIONS = TrainOptions(total_steps=STEPS, seeds=SEEDS, evaluations=EVALUATIONS, eval_episodes=10, absolute_episodes=0)
BIASED = ("GEM", "TD3*", "BP", "GEM, symmetric loss", "GEM, one critic a group")
"""Methods whose critics are judged."""


def _runs(
    methods: tuple[str, ...], tasks: Mapping[str, str], suffix: str = "", options: TrainOptions = OPTIONS, **owed: Any
) -> list[Preset]:
    """These methods on these tasks; named METHOD on TASK and `suffix`."""
    return [
        Preset(
            f"{method} on {task}{suffix}",
            METHODS[method][0],
            env,
            {**SHARED, **METHODS[method][1]},
            env_options=owed,
            options=options,
        )
        for task, env in tasks.items()
        for method in methods
    ]


def plain_runs() -> list[Preset]:
    """Rewards as they come; with checkpoints on the way where critics are judged."""
    judged = dataclasses.replace(OPTIONS, lasting_checkpoints=JUDGED)
    return [*_runs(BIASED, PLAIN, options=judged), *_runs(("TD3", "SAC"), PLAIN)]


def delayed_runs() -> list[Preset]:
    """Rewards in sums every 20 steps."""
    return _runs(("GEM", "TD3*", "TD3*, 5 steps"), DELAYED, ", delayed", delay=DELAY)


def shown_runs() -> list[Preset]:
    """The same where payments are negative, and observations show what is owed."""
    return _runs(("GEM", "TD3*", "TD3*, 5 steps"), PLAIN, ", delayed and shown", delay=DELAY, owed="shown")


def ablation_runs() -> list[Preset]:
    """GEM without one part each, where rewards are delayed."""
    (whole,) = _runs(("GEM",), {ABLATED: DELAYED[ABLATED]}, delay=DELAY)
    return [
        dataclasses.replace(whole, name=f"{name}, delayed", settings={**SHARED, **settings})
        for name, settings in ABLATIONS.items()
    ]
