"""The scenarios: who starts where.

Positions are those of the scenarios of Google Research Football (google-research/football, Apache-2.0, commit 3d9e754),
in its units and in the frame of the left team: x from -1 to 1 towards the right goal, y downwards.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Point = tuple[float, float]
PLAYER_UNITS = np.array([55.0, 84.96])
"""Meters per unit of players' positions."""
BALL_UNITS = np.array([54.4, 83.6])
"""Meters per unit of the ball's position, and of all that is observed."""
MOST_PLAYERS = 16
"""Outfield players on a side of a match."""


class Scenario(NamedTuple):
    """A scenario; both teams also have a keeper."""

    ball: Point
    agents: tuple[Point, ...]
    """The left outfield players that are agents."""
    right: tuple[Point, ...] = ()
    """The right outfield players, which follow a script."""
    mates: tuple[Point, ...] = ()
    """The left outfield players that follow a script."""
    is_goal_empty: bool = False
    """Whether the right keeper starts at the other goal."""
    rules: str = "grf"
    """Default of the option `rules`."""
    limit: int = 400
    """Default time limit of the rules "grf", in steps."""
    plays_on: bool = False
    """Whether the episode continues when the right team wins the ball."""
    is_lazy: bool = False
    """Whether the right outfield players stand still."""
    is_match: bool = False
    """Whether play restarts after goals and balls out of play."""


_CHASERS = tuple((-0.12, y) for y in (-0.2, -0.1, 0.0, 0.1, 0.2))
_COUNTER = ((0.5, -0.3161), (0.25, -0.1), (0.25, 0.1), (0.35, 0.316102))
_COUNTER_MATES = (
    (-0.672, -0.19576), (-0.75, -0.06356), (-0.75, 0.063559), (-0.672, 0.19576), (-0.434, -0.10568), (-0.434, 0.10568),
)  # fmt: skip


def _counter_right(second: float) -> tuple[Point, ...]:
    """The full right team of a counterattack; `second`: x of its second player. Two players share a place, as in GRF."""
    return (
        (-0.128, 0.19576), (second, 0.06356), (0.4, -0.063559), (-0.128, 0.19576), (-0.365, 0.10568), (-0.282, 0.0),
        (-0.365, -0.10568), (-0.54, 0.3161), (-0.51, 0.0), (-0.54, -0.316102),
    )  # fmt: skip


SCENARIOS: Mapping[str, Scenario] = {
    "empty_goal_close": Scenario((0.77, 0.0), ((0.75, 0.0),), is_goal_empty=True),
    "empty_goal": Scenario((0.02, 0.0), ((0.0, 0.0),), is_goal_empty=True),
    "run_to_score": Scenario((0.02, 0.0), ((0.0, 0.0),), _CHASERS, is_goal_empty=True),
    "run_to_score_with_keeper": Scenario((0.02, 0.0), ((0.0, 0.0),), _CHASERS),
    "pass_and_shoot_with_keeper": Scenario((0.7, -0.28), ((0.7, 0.0), (0.7, -0.3)), ((0.75, -0.3),)),
    "run_pass_and_shoot_with_keeper": Scenario((0.7, -0.28), ((0.7, 0.0), (0.7, -0.3)), ((0.75, -0.1),)),
    "3_vs_1_with_keeper": Scenario((0.62, 0.0), ((0.6, 0.0), (0.7, 0.2), (0.7, -0.2)), ((0.75, 0.0),), rules="cds"),
    "corner": Scenario(
        (0.99, 0.41),
        ((1.0, 0.42), (0.7, 0.15), (0.7, 0.05), (0.7, -0.05), (0.0, 0.0), (0.6, 0.35), (0.8, 0.07), (0.8, -0.03),
         (0.8, -0.13), (0.7, -0.3)),
        ((0.75, 0.18), (0.75, 0.08), (0.75, -0.02), (1.0, 0.1), (0.8, 0.25), (0.88, 0.07), (0.88, -0.03), (0.88, -0.13),
         (0.75, -0.25), (0.2, 0.0)),
        plays_on=True,
    ),
    "counterattack_easy": Scenario((0.26, -0.11), _COUNTER, _counter_right(-0.4), _COUNTER_MATES, rules="cds"),
    "counterattack_hard": Scenario((0.26, -0.11), _COUNTER, _counter_right(0.4), _COUNTER_MATES, rules="cds"),
    "counterattack_easy_small": Scenario((0.26, -0.11), _COUNTER, ((0.4, -0.063559),), rules="cds"),
    "counterattack_hard_small": Scenario(
        (0.26, -0.11), _COUNTER, ((0.4, 0.06356), (0.4, -0.063559)), rules="cds"
    ),
    "single_goal_versus_lazy": Scenario(
        (-0.48, -0.06356),
        ((0.0, 0.02), (0.0, -0.02), (-0.422, -0.19576), (-0.5, -0.06356), (-0.5, 0.063559), (-0.422, 0.19576),
         (-0.184212, -0.10568), (-0.267574, 0.0), (-0.184212, 0.10568), (-0.01, -0.2161)),
        ((0.05, 0.0), (0.01, -0.216102), (0.422, 0.19576), (0.5, 0.06356), (0.5, -0.063559), (0.422, -0.19576),
         (0.184212, 0.10568), (0.267574, 0.0), (0.184212, -0.10568), (0.01, 0.2161)),
        limit=3000,
        is_lazy=True,
    ),
}  # fmt: skip


def match(a: int, b: int) -> Scenario:
    """A match of `a` agents against `b` scripted players, and a keeper each.

    Up to four outfield players of a team start as in GRF's 5_vs_5, more in rows of four behind each other.
    """
    right = tuple((-x, -y) for x, y in _formation(b))
    return Scenario((0.0, 0.0), _formation(a), right, limit=3000, plays_on=True, is_match=True)


def _formation(count: int) -> tuple[Point, ...]:
    if count <= 4:
        return ((-0.04, 0.04), (-0.04, -0.04), (-0.1, -0.1), (-0.1, 0.1))[:count]
    places = []
    for first in range(0, count, 4):
        size = min(4, count - first)
        places += [(-0.06 - 0.04 * first, 0.16 * (k - (size - 1) / 2)) for k in range(size)]
    return tuple(places)


def start_of(scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the players, [P, 2], and of the ball, [2], in meters; float32.

    The left team first, with its keeper first and its agents last; then the right keeper and the right team.
    """
    keeper = (-1.0 if scenario.is_goal_empty else 1.0, 0.0)
    players = ((-1.0, 0.0), *scenario.mates, *scenario.agents, keeper, *scenario.right)
    return (np.array(players) * PLAYER_UNITS).astype(np.float32), (np.array(scenario.ball) * BALL_UNITS).astype(
        np.float32
    )
