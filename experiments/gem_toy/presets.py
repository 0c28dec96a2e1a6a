"""The runs of the study, as typed presets."""

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
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "GEM": ("gem", {}),
    "TD3*": ("td3-star", {}),
    "TD3*, 5 steps": ("td3-star", {"n_step": 5}),
    "BP": ("gem", {"critic_groups": 1, "num_critics": 2}),
    "TD3": ("td3", {}),
    "SAC": ("sac", {}),
}
"""TD3 and SAC have their own defaults, one gradient step an environment step. BP is GEM with one estimator: the plain
maximum over bootstraps that are the smaller of two critics."""
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "symmetric loss": {"kappa": 1.0},
    "no floor": {"floor": False},
    "one group of four": {"critic_groups": 1},
    "no layer normalisation": {"layer_norm": False},
    "mean over stops, β = 0.9": {"average": True, "beta": 0.9},
}
ABLATED = "pendulum"


def _preset(name: str, algorithm: str, env: str, settings: Mapping[str, Any], delay: int) -> Preset:
    return Preset(
        name,
        algorithm,
        env,
        {**SHARED, **settings},
        env_options={"delay": delay} if delay > 1 else {},
        options=TrainOptions(
            total_steps=STEPS, seeds=SEEDS, evaluations=EVALUATIONS, eval_episodes=10, absolute_episodes=0
        ),
    )


def runs_of(methods: tuple[str, ...], tasks: Mapping[str, str], delay: int) -> list[Preset]:
    """These methods on these tasks; named METHOD on TASK."""
    return [
        _preset(f"{method} on {task}{', delayed' if delay > 1 else ''}", *_of(method, env), delay)
        for task, env in tasks.items()
        for method in methods
    ]


def _of(method: str, env: str) -> tuple[str, str, Mapping[str, Any]]:
    algorithm, settings = METHODS[method]
    return algorithm, env, settings


def plain_runs() -> list[Preset]:
    """Rewards as they come."""
    return runs_of(("GEM", "TD3*", "BP", "TD3", "SAC"), PLAIN, 1)


def delayed_runs() -> list[Preset]:
    """Rewards in sums every 20 steps."""
    return runs_of(("GEM", "TD3*", "TD3*, 5 steps"), DELAYED, DELAY)


def ablation_runs() -> list[Preset]:
    """GEM without one part each, where rewards are delayed."""
    env = DELAYED[ABLATED]
    return [_preset(f"{name}, delayed", "gem", env, settings, DELAY) for name, settings in ABLATIONS.items()]
