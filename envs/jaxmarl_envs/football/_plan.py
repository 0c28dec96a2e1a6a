"""The static description of a game."""

import dataclasses
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax import Array

NUM_ACTIONS = 19
ACTIONS = (
    "idle", "left", "top left", "top", "top right", "right", "bottom right", "bottom", "bottom left", "long pass",
    "high pass", "short pass", "shot", "sprint", "release direction", "release sprint", "slide", "dribble",
    "release dribble",
)  # fmt: skip
DIRECTIONS = np.array([(-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1)], np.float32)
"""[8, 2] of actions 1 to 8; y grows downwards."""
DIRECTIONS = (DIRECTIONS / np.sqrt((DIRECTIONS**2).sum(1, keepdims=True))).astype(np.float32)
LONG, HIGH, SHORT, SHOT = 9, 10, 11, 12
SPRINT, RELEASE_DIRECTION, RELEASE_SPRINT, SLIDE, DRIBBLE, RELEASE_DRIBBLE = range(13, 19)
FREE, STUNNED = 0, 20
"""Kinds of acts besides 9 to 12 and `SLIDE`. A player is stunned after an act, and by a tackle."""
RUNNING, GOAL, CONCEDED, OUT, LOST, BACK, OFFSIDE, TIME = range(8)
"""Whether and how an episode ended."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes and options. Games with equal plans share a program, whatever their numbers."""

    n_agents: int
    n_left: int
    """Players of the left team: keeper, scripted outfield players, agents."""
    n_right: int
    """Players of the right team: keeper, outfield players."""
    rules: str
    rewards: tuple[str, ...]
    obs: str
    mask: str
    substeps: int
    plays_on: bool
    is_lazy: bool
    is_match: bool

    @property
    def n_players(self) -> int:
        """P."""
        return self.n_left + self.n_right

    @property
    def first_agent(self) -> int:
        """The player who is agent 0."""
        return self.n_left - self.n_agents

    @property
    def dt(self) -> float:
        """Seconds in a substep; a step has 0.1."""
        return 0.1 / self.substeps

    def duration(self, seconds: float) -> int:
        """Substeps, at least one."""
        return max(1, round(seconds / self.dt))

    @property
    def numbers(self) -> Array:
        """[P, 1] int32: 0, 1, ..."""
        return jnp.arange(self.n_players, dtype=jnp.int32)[:, None]

    @cached_property
    def is_left(self) -> np.ndarray:
        """[P, 1] bool"""
        return np.arange(self.n_players)[:, None] < self.n_left

    @cached_property
    def is_keeper(self) -> np.ndarray:
        """[P, 1] bool"""
        return np.isin(np.arange(self.n_players), (0, self.n_left))[:, None]

    @cached_property
    def is_agent(self) -> np.ndarray:
        """[P, 1] bool"""
        number = np.arange(self.n_players)[:, None]
        return (number >= self.first_agent) & (number < self.n_left)

    @cached_property
    def attack(self) -> np.ndarray:
        """[P, 1] float32: 1 for players who attack the right goal, -1 for others."""
        return np.where(self.is_left, 1, -1).astype(np.float32)
