"""The traced numbers of a game."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxmarl_envs.core import pytree_dataclass

Array = jax.Array
Scalar = Any
"""A float or [] float32; [1, 1 or E] within the rules."""


@pytree_dataclass
class FootballParams:
    """All numbers, traced: a grid over any scalar, as `env.NAME`, is one compiled program. Meters, seconds."""

    start: Array  # [P, 2] players, left team first, keepers first in their teams
    ball: Array  # [2]
    limit: Scalar = 400.0
    """Steps after which an episode is truncated."""
    noise: Scalar = 1.0
    """Width of all random numbers around their middle: at 0 the game is deterministic."""
    difficulty: Scalar = 0.6
    """Of the scripted right team, 0 to 1: speed, reaction, number of hunters, tackling."""
    sprint: Scalar = 7.6
    walk: Scalar = 5.0
    dribble: Scalar = 4.0
    ball_sprint: Scalar = 0.95
    """Multiplies the speed of owners who want to run faster than 6 m/s."""
    accel: Scalar = 9.5
    """Largest growth of speed, m/s²; falls to 0 at sprinting speed."""
    change: Scalar = 20.0
    """Largest change of velocity, m/s²."""
    change_ball: Scalar = 14.0
    """The same for the owner."""
    body: Scalar = 0.36
    """Radius between teammates."""
    body_foe: Scalar = 0.25
    """Radius between opponents."""
    shot_speed: Scalar = 32.0
    shot_sigma: Scalar = 0.08
    """Spread of shots, radians, before turns, pressure and speed."""
    pass_sigma: Scalar = 0.017
    tackle_rate: Scalar = 0.8
    """Tackles per second that win the ball, at difficulty 1."""
    trap_speed: Scalar = 20.0
    """Speed of the ball at which controlling it becomes hard."""
    reach_own: Scalar = 1.2
    """Distance at which players meet a ball of their own team."""
    reach_foe: Scalar = 0.7
    head: Scalar = 1.8
    """Height up to which players meet the ball."""
    hands: Scalar = 2.4
    """The same for a keeper's hands."""
    keeper_hold: Scalar = 0.95
    """Probability of a save at the keeper's body."""
    keeper_slip: Scalar = 0.5
    """How much of it is lost at full reach."""
    keeper_reach: Scalar = 0.8
    keeper_react: Scalar = 0.3
    """Time after a kick until the keeper dives."""
    keeper_dive: Scalar = 4.0
    """Growth of the keeper's reach in a dive, m/s."""
    keeper_stretch: Scalar = 1.7
    """Largest growth of the reach."""
    keeper_run: Scalar = 4.0
    """Speed towards the line of a shot."""
    keeper_smother: Scalar = 2.5
    """Tackles per second of a keeper in the penalty area."""
    keeper_close: Scalar = 8.0
    """Distance of the ball from the goal at which the keeper runs at its owner."""
    contain: Scalar = 1.5
    """How far from the owner opponents wait, on the side of their goal."""
    start_jitter: Scalar = 0.0
    """Largest random offset of outfield players at the start, along each axis."""
    offside: Scalar = 0.0
    """Whether offside is called: above 0."""


def default_params(start: Any, ball: Any, **numbers: float) -> FootballParams:
    """The numbers as NumPy arrays, so that making an environment starts no device."""
    scalars: dict[str, Any] = {
        field.name: np.float32(numbers.get(field.name, field.default))
        for field in dataclasses.fields(FootballParams)
        if field.default is not dataclasses.MISSING
    }
    return FootballParams(start, ball, **scalars)
