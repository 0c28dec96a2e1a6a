"""The toy tasks by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmarl_envs.core import DelayReward, Environment, EpisodeMetrics, Family, ShowOwed, TimeLimit, UnknownVariant
from jaxmarl_envs.core._options import Option, count, not_negative, positive, read_options, steps
from jaxmarl_envs.toy._cart_pole import STANDARD, CartPole, CartPoleParams
from jaxmarl_envs.toy._chain import Chain, ChainParams
from jaxmarl_envs.toy._handover import Handover, HandoverParams
from jaxmarl_envs.toy._linear_team import LinearTeam, LinearTeamParams, draw_system
from jaxmarl_envs.toy._pendulum import Pendulum, PendulumParams
from jaxmarl_envs.toy._point_mass import PointMass, PointMassParams
from jaxmarl_envs.toy._puck import MAX_AGENTS, Puck, PuckParams

MAX_ENTRIES = 10_000_000
"""Maximum number of entries of a task's matrices; 40 MB of float32."""


class _Task(NamedTuple):
    """How a variant is made, before its time limit."""

    make: Callable[..., Environment]
    """`(id, numbers, **static) -> task`, with `numbers` by name and float32."""
    limit: int
    """Default time limit in steps; 0 for twice the `length`."""
    numbers: Mapping[str, Option]
    """Options that become traced scalars of the same name."""
    static: Mapping[str, Option]
    """Static options: sizes, rules and seeds."""


def _pendulum(n_agents: int) -> _Task:
    def make(env_id: str, numbers: dict[str, Any]) -> Environment:
        return Pendulum(env_id, n_agents, PendulumParams(**numbers))

    numbers = {
        "gravity": Option(10.0),
        "mass": positive(1.0),
        "length": positive(1.0),
        "dt": positive(0.05),
        "max_torque": not_negative(2.0),
    }
    return _Task(make, 200, numbers, {})


def _cart_pole() -> _Task:
    def make(env_id: str, numbers: dict[str, Any]) -> Environment:
        return CartPole(env_id, CartPoleParams(**numbers))

    numbers = {
        "gravity": Option(STANDARD["gravity"]),
        "cart_mass": positive(STANDARD["cart_mass"]),
        "pole_mass": positive(STANDARD["pole_mass"]),
        "pole_length": positive(STANDARD["pole_length"]),
        "dt": positive(STANDARD["dt"]),
        "max_force": not_negative(STANDARD["max_force"]),
    }
    return _Task(make, 200, numbers, {})


def _point_mass(n_agents: int) -> _Task:
    def make(env_id: str, numbers: dict[str, Any], goal: str) -> Environment:
        return PointMass(env_id, n_agents, goal == "random", goal != "hidden", PointMassParams(**numbers))

    numbers = {
        "mass": positive(1.0),
        "drag": not_negative(0.5),
        "max_force": not_negative(1.0),
        "dt": positive(0.1),
        "goal_x": Option(0.0, -1.0, 1.0),
        "goal_y": Option(0.0, -1.0, 1.0),
    }
    return _Task(make, 100, numbers, {"goal": Option("random", choices=("random", "fixed", "hidden"))})


def _linear_team() -> _Task:
    def make(
        env_id: str,
        numbers: dict[str, Any],
        n_agents: int,
        state_size: int,
        action_size: int,
        radius: float,
        seed: int,
    ) -> Environment:
        entries = state_size * (state_size + action_size * n_agents * (n_agents + 1) // 2)
        if entries > MAX_ENTRIES:
            raise ValueError(
                f"{env_id}: n_agents={n_agents}, state_size={state_size} and action_size={action_size} need {entries} "
                f"matrix entries; at most {MAX_ENTRIES} are accepted"
            )
        system = draw_system(seed, n_agents, state_size, action_size, radius)
        return LinearTeam(env_id, n_agents, state_size, action_size, LinearTeamParams(**system, **numbers))

    numbers = {
        "interaction": Option(0.0),
        "noise": not_negative(0.1),
        "start": not_negative(0.3),
        "action_cost": not_negative(1.0),
    }
    sizes = {"n_agents": count(3, 100), "state_size": count(4, 100), "action_size": count(1, 100)}
    return _Task(make, 50, numbers, {**sizes, "radius": Option(0.9, 0.0, 0.999), "seed": _SEED})


def _puck() -> _Task:
    def make(env_id: str, numbers: dict[str, Any], n_agents: int) -> Environment:
        return Puck(env_id, n_agents, PuckParams(**numbers))

    numbers = {
        "agent_mass": positive(0.5),
        "puck_mass": positive(0.5),
        "agent_drag": not_negative(2.0),
        "puck_drag": not_negative(1.0),
        "stiffness": not_negative(100.0),
        "max_force": not_negative(2.0),
        "dt": positive(0.1),
        "approach": not_negative(0.1),
    }
    return _Task(make, 50, numbers, {"n_agents": count(2, MAX_AGENTS)})


def _handover() -> _Task:
    def make(env_id: str, numbers: dict[str, Any]) -> Environment:
        return Handover(env_id, HandoverParams(**numbers))

    numbers = {
        "palm_mass": positive(1.0),
        "tip_mass": positive(0.2),
        "object_mass": positive(0.3),
        "hand_drag": not_negative(2.0),
        "object_drag": not_negative(8.0),
        "stiffness": not_negative(100.0),
        "finger_stiffness": not_negative(50.0),
        "finger_damping": not_negative(4.0),
        "max_force": not_negative(4.0),
        "dt": positive(0.1),
        "approach": not_negative(0.1),
    }
    return _Task(make, 75, numbers, {})


def _chain(is_continuous: bool) -> _Task:
    def make(
        env_id: str,
        numbers: dict[str, Any],
        length: int,
        n_agents: int,
        num_actions: int,
        wrong: str,
        seed: int,
    ) -> Environment:
        right: Any = np.random.default_rng(seed).integers(num_actions, size=(length, n_agents), dtype=np.int32)
        params = ChainParams(right=right, **numbers)
        return Chain(env_id, length, n_agents, num_actions, wrong == "end", is_continuous, params)

    sizes = {"length": count(50), "n_agents": count(1), "num_actions": count(2, lowest=2)}
    rules = {"wrong": Option("back", choices=("back", "end")), "seed": _SEED}
    return _Task(make, 0, {"slip": Option(0.0, 0.0, 1.0)}, {**sizes, **rules})


_SEED = Option(0, 0, 2**63)
_OWED = Option("hidden", choices=("hidden", "shown"))
_TASKS: Mapping[str, _Task] = {
    "pendulum": _pendulum(1),
    "pendulum-2": _pendulum(2),
    "inverted-pendulum": _cart_pole(),
    "point-mass": _point_mass(1),
    "point-mass-2": _point_mass(2),
    "linear-team": _linear_team(),
    "puck": _puck(),
    "handover": _handover(),
    "chain": _chain(is_continuous=False),
    "chain-continuous": _chain(is_continuous=True),
}


_WITHOUT_END = ("pendulum", "pendulum-2", "point-mass", "point-mass-2", "puck", "handover")
"""Tasks in which success is judged at each step."""


def make(variant: str, **options: Any) -> Environment:
    """The task called `variant`, with its time limit.

    The metric `success` describes the episode: whether it ended successfully or, in tasks without an end, the fraction
    of its steps in which the task's own `success` holds.

    Args:
      variant: one of `FAMILY.variants`.
      options: for every task `limit` (steps until the episode is truncated) and `delay` (default 1: rewards are summed
        and paid out every `delay` steps and at the end) with `owed` ("hidden" or "shown": whether observations include
        the time since the last payment and the unpaid sum). Also every traced scalar of a task's params by name:
        `gravity`, `noise`, `slip`, ... In addition: point-mass and point-mass-2: `goal` ("random", or "fixed" at
        (`goal_x`, `goal_y`), or "hidden": fixed and not observed); puck: `n_agents` (default 2); linear-team:
        `n_agents` (3), `state_size` (4), `action_size` (1), `radius` (0.9, the spectral radius), `seed` (0, of the
        matrices); chain and chain-continuous: `length` (50), `n_agents` (1), `num_actions` (2), `wrong` ("back" or
        "end": what wrong actions do), `seed` (0, of the right
        actions).

    Raises:
      ValueError: an option that the variant does not have, or an invalid value.
      UnknownVariant: any other variant.
    """
    if variant not in _TASKS:
        raise UnknownVariant
    env_id, task = f"toy/{variant}", _TASKS[variant]
    accepted = {**task.numbers, **task.static, "limit": steps(task.limit), "delay": steps(1), "owed": _OWED}
    chosen = read_options(env_id, options, accepted)
    numbers = {name: np.float32(chosen[name]) for name in task.numbers}
    static = {name: chosen[name] for name in task.static}
    env = task.make(env_id, numbers, **static)
    env = EpisodeMetrics(env, means=("success",)) if variant in _WITHOUT_END else env
    env = TimeLimit(env, chosen["limit"] or 2 * chosen["length"])
    is_shown = chosen["owed"] == "shown"
    if chosen["delay"] == 1:
        if is_shown:
            raise ValueError(f"{env_id}: owed='shown' needs a delay of at least 2 steps, got 1")
        return env
    delayed = DelayReward(env, chosen["delay"])
    return ShowOwed(delayed) if is_shown else delayed


FAMILY = Family(
    name="toy",
    make=make,
    variants=tuple(_TASKS),
    summary="cheap control tasks with continuous actions, and a sparse chain",
)
