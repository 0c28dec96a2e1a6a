"""The named matrix games."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmarl_envs.core import Environment, Family, TimeLimit, UnknownOption, UnknownVariant
from jaxmarl_envs.matrix._env import MatrixGame, MatrixParams

MAX_TABLE = 10_000_000
"""Maximum number of entries of a payoff table; 40 MB of float32."""
MMDP_LIMIT = 100

# climbing, penalty: Claus and Boutilier (1998). G1, G3, Gw (with w = 10.4): QPLEX's code, `matrix_game_{2,3,1}.py`.
# xor: a control that every method should solve. M1 to M4: MAZero's code, `matgame.py`, where they last 10 steps.
_G1 = ((8, -12, -12), (-12, 0, 0), (-12, 0, 0))
_GAMES: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "climbing": ((11, -30, 0), (-30, 7, 6), (0, 0, 5)),
    "xor": ((0, 1), (1, 0)),
    "G1": _G1,
    "G3": ((8, -12, -12), (-12, 6, 0), (-12, 0, 6)),
    "Gw": ((10.4, 0, 10), (0, 10, 10), (10, 10, 10)),
    "M1": _G1,
    "M2": ((0, 0, -12), (0, 0, -12), (-12, -12, 8)),
    "M3": ((10, -10, -10), (-10, 9, 0), (-10, 0, 9)),
    "M4": ((2, 6, 10), (2, 4, 9), (1, 2, 3)),
}
_VARIANTS = (
    "climbing",
    "penalty",
    "penalty-100",
    "xor",
    "G1",
    "G3",
    "Gw",
    "M1",
    "M2",
    "M3",
    "M4",
    "random-2x3",
    "random-3x5",
    "multitask-2x3",
    "two-step",
    "mmdp",
)


def make(variant: str, /, **options: Any) -> Environment:
    """The game called `variant`.

    Args:
      variant: one of `FAMILY.variants`, or `penalty-K` (both miscoordinations cost K), `random-NxA` (N agents with A
        actions each, payoffs drawn from N(0, 1)), `multitask-NxA` (several such games, one of which is drawn in each
        episode and observed by all).
      options: `horizon` (steps; one-shot games and M1 to M4, which default to 1 and 10), `seed` (random, multitask:
        of the payoffs, default 0), `num_games` (multitask, default 10).

    Raises:
      ValueError: an option that the variant does not have, or a size out of range.
      UnknownVariant: any other variant.
    """
    number = re.fullmatch(r"penalty-(\d+(?:\.\d+)?)", variant)
    size = re.fullmatch(r"(random|multitask)-(\d+)x(\d+)", variant)
    if variant in _GAMES or variant == "penalty" or number:
        horizon = _options(variant, options, horizon=10 if re.fullmatch("M[1-4]", variant) else 1)["horizon"]
        cost = float(number[1]) if number else 20.0
        payoff = _GAMES.get(variant) or ((10, 0, -cost), (0, 2, 0), (-cost, 0, 10))
        return repeated_game(variant, np.array(payoff), horizon)
    if size:
        n_agents, num_actions = int(size[2]), int(size[3])
        if size[1] == "random":
            chosen = _options(variant, options, seed=0, horizon=1)
            _check_size(variant, n_agents, num_actions, 1)
            rng = np.random.default_rng(chosen["seed"])
            return repeated_game(variant, rng.standard_normal((num_actions,) * n_agents), chosen["horizon"])
        chosen = _options(variant, options, seed=0, num_games=10)
        return _multitask(variant, n_agents, num_actions, **chosen)
    if variant == "two-step":
        _options(variant, options)
        return _two_step()
    if variant == "mmdp":
        _options(variant, options)
        return _mmdp()
    raise UnknownVariant


def repeated_game(name: str, payoff: np.ndarray, horizon: int = 1) -> MatrixGame:
    """The game with team payoffs `payoff` [A, ..., A] (one axis per agent), played `horizon` times and then terminated.

    All agents observe the fraction of steps that are over, or the constant 1 in a one-shot game.

    Raises:
      ValueError: if the axes differ in length, the table is too large, or `horizon` is below 1.
    """
    n_agents, num_actions = payoff.ndim, payoff.shape[0] if payoff.ndim else 0
    if any(length != num_actions for length in payoff.shape):
        raise ValueError(f"matrix/{name}: payoffs need one axis per agent, all of the same length, got {payoff.shape}")
    _check_size(name, n_agents, num_actions, 1)
    return MatrixGame(
        n_agents=n_agents,
        num_actions=num_actions,
        n_stages=horizon,
        start=0,
        one_hot=False,
        episode_limit=horizon,
        id=f"matrix/{name}",
        default_params=_params(payoff.reshape(1, -1), np.arange(1, horizon + 1)[:, None]),
    )


def _multitask(name: str, n_agents: int, num_actions: int, num_games: int, seed: int) -> MatrixGame:
    _check_size(name, n_agents, num_actions, num_games)
    payoff = np.random.default_rng(seed).standard_normal((num_games, num_actions**n_agents))
    return MatrixGame(
        n_agents=n_agents,
        num_actions=num_actions,
        n_stages=num_games,
        start=None,
        one_hot=True,
        episode_limit=1,
        id=f"matrix/{name}",
        default_params=_params(payoff, np.full((num_games, 1), num_games)),
    )


def _two_step() -> MatrixGame:
    """The two-step game of QMIX's paper: agent 0's first action selects the matrix of the second step."""
    payoff = np.array([[0, 0, 0, 0], [7, 7, 7, 7], [0, 1, 1, 8]])
    successor = np.array([[1, 1, 2, 2], [3, 3, 3, 3], [3, 3, 3, 3]])
    return MatrixGame(
        n_agents=2,
        num_actions=2,
        n_stages=3,
        start=0,
        one_hot=True,
        episode_limit=2,
        id="matrix/two-step",
        default_params=_params(payoff, successor),
    )


def _mmdp() -> Environment:
    """The two-state MMDP on which linearly factorized fitted Q-iteration diverges (QPLEX's code, `mmdp_game_1.py`).

    Stage 1 is the start; there (0, 0) pays 1 and (1, 1) leads to the absorbing stage 0, where all rewards are zero. It
    never terminates: the limit of 100 steps truncates. The reward is 1, as in the source's configuration file, and the
    global state is the stage once (the source repeats it for each agent).
    """
    game = MatrixGame(
        n_agents=2,
        num_actions=2,
        n_stages=2,
        start=1,
        one_hot=True,
        episode_limit=None,
        id="matrix/mmdp",
        default_params=_params(np.array([[0, 0, 0, 0], [1, 0, 0, 0]]), np.array([[0, 0, 0, 0], [1, 1, 1, 0]])),
    )
    return TimeLimit(game, MMDP_LIMIT)


def _params(payoff: np.ndarray, successor: np.ndarray) -> MatrixParams:
    """The tables as NumPy arrays, so that making an environment starts no device."""
    payoff_any: Any = payoff.astype(np.float32)
    successor_any: Any = successor.astype(np.int32)
    return MatrixParams(payoff=payoff_any, successor=successor_any)


def _options(variant: str, options: Mapping[str, Any], **accepted: int) -> dict[str, int]:
    """`accepted` (names with defaults) updated with `options`: all integers, at least 1 except for seeds."""
    for name, value in options.items():
        if name not in accepted:
            raise UnknownOption(
                f"matrix/{variant}: unknown option {name!r}; accepted: {', '.join(accepted) or 'no options'}",
                accepted,
            )
        lowest = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise ValueError(f"matrix/{variant}: {name} must be an integer of at least {lowest}, got {value!r}")
    return {**accepted, **options}


def _check_size(name: str, n_agents: int, num_actions: int, n_stages: int) -> None:
    if n_agents < 1 or num_actions < 2:
        raise ValueError(
            f"matrix/{name}: needs at least 1 agent and 2 actions, got {n_agents} agents and {num_actions} actions"
        )
    # In logarithms first, since the power of two huge numbers would be too large to compute.
    if n_agents * np.log(num_actions) > 100 or n_stages * num_actions**n_agents > MAX_TABLE:
        raise ValueError(
            f"matrix/{name}: a payoff table of {n_stages} x {num_actions}**{n_agents} entries is too large; at most "
            f"{MAX_TABLE} are accepted"
        )


FAMILY = Family(
    name="matrix",
    make=make,
    variants=_VARIANTS,
    summary="cooperative payoff tables: one-shot, repeated, contextual, and two small games in stages",
    pattern="penalty-K, random-NxA, multitask-NxA (N agents, A actions)",
)
