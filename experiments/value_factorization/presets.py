"""The runs of the deep part, as typed presets."""

from collections.abc import Mapping
from typing import Any

from experiments._study import Preset
from jaxmarl_suite.runner import TrainOptions

METHODS = ("iql", "vdn", "qmix", "cw-qmix", "ow-qmix", "qplex", "qtran")

MMDP_SEEDS = 6
MMDP_Q: Mapping[str, Any] = {
    "num_envs": 64,
    "rollout_length": 1,
    "batch_size": 128,
    "capacity": 25_600,
    "learning_starts": 6400,
    "gradient_steps": 10,
    "target_period": 100,
    "recurrent": False,
    "last_action": False,
    "double_q": False,
    "optimizer": "adam",
    "learning_rate": 3e-4,
    "epsilon_start": 1.0,
    "epsilon_end": 1.0,
}
"""Single steps, drawn from the last four episodes of every environment. An episode spends about 4 of its 100 steps in the
start state, at its beginning, so that less than whole episodes would not be uniform data."""
COARSE: Mapping[str, Any] = {"gradient_steps": 3, "target_period": 30, "learning_rate": 3e-3}
"""A worse fit between two copies: 30 gradient steps instead of 100, and ten times as long."""
STEPS_A_COPY = 64 * 10
WAITING_COPIES = 10
"""Copies before the first gradient step: one whole episode of every environment."""
MMDP_COPIES = 250
SHORTER: Mapping[str, int] = {"qmix": 100}
"""QMIX's values would soon pass what float32 can square."""
ON_POLICY_COPIES = 500
"""More, as values approach their fixed point by a factor of 0.9906 a copy."""

GAMES = ("G1", "G3", "Gw")
GAME_SEEDS = 10
GAME_Q: Mapping[str, Any] = {
    "num_envs": 32,
    "rollout_length": 2,
    "capacity": 500,
    "recurrent": False,
    "learning_rate": 1e-3,
    "epsilon_start": 1.0,
    "epsilon_end": 1.0,
    "target_period": 200,
}
TWO_STEP_METHODS = ("vdn", "qmix", "qplex")
TWO_STEP_SEEDS = 10
STEPS = 20_000


def _mmdp(name: str, method: str, copies: int, **settings: Any) -> Preset:
    copies += WAITING_COPIES
    return Preset(
        name,
        method,
        "matrix/mmdp",
        {**MMDP_Q, **settings},
        options=TrainOptions(
            total_steps=copies * STEPS_A_COPY,
            seeds=MMDP_SEEDS,
            evaluations=5,
            eval_episodes=1,
            absolute_episodes=0,
            log_rows=copies,
        ),
    )


def mmdp_runs() -> list[Preset]:
    """The divergence MMDP with uniform data; QPLEX once more with a coarse fit, VDN near its own policy."""
    return [
        *(_mmdp(f"mmdp-{method}", method, SHORTER.get(method, MMDP_COPIES)) for method in METHODS),
        _mmdp("mmdp-qplex-coarse", "qplex", MMDP_COPIES, **COARSE),
        _mmdp("mmdp-vdn-on-policy", "vdn", ON_POLICY_COPIES, epsilon_start=0.05, epsilon_end=0.05),
    ]


def game_runs() -> list[Preset]:
    """Matrix games with uniform data; QPLEX once more with the gradient of its advantages."""
    options = TrainOptions(total_steps=STEPS, seeds=GAME_SEEDS, evaluations=20, absolute_episodes=0)
    variants: list[tuple[str, str, dict[str, Any]]] = [(method, method, {}) for method in METHODS]
    variants.append(("qplex-flows", "qplex", {"stop_gradient": False}))
    return [
        Preset(
            f"{game}-{name}",
            method,
            f"matrix/{game}",
            {**GAME_Q, "learning_rate": 2e-3, **settings},
            options=options,
        )
        for name, method, settings in variants
        for game in GAMES
    ]


def two_step_runs() -> list[Preset]:
    """The two-step game with uniform data."""
    options = TrainOptions(total_steps=STEPS, seeds=TWO_STEP_SEEDS, evaluations=20, absolute_episodes=0)
    return [Preset(f"two-step-{m}", m, "matrix/two-step", GAME_Q, options=options) for m in TWO_STEP_METHODS]
