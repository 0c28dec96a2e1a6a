"""What passes between the parts of a game. P players, the left team first; E instances last."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import pytree_dataclass

Array = jax.Array


@pytree_dataclass
class Game:
    """All that the rules remember, of one instance. Within the rules every field has a last axis E."""

    x: Array  # [P] float32, meters from the middle
    y: Array  # [P] downwards
    vx: Array  # [P] m/s
    vy: Array  # [P]
    hx: Array  # [P] unit vector: where players face
    hy: Array  # [P]
    ball: Array  # [6] x, y, z, and velocities
    owner: Array  # [1] int32, -1: nobody
    last: Array  # [1] int32: who touched the ball last; -1: nobody yet
    lock: Array  # [1] int32 substeps in which the last toucher may not touch a free ball and nobody may tackle
    since: Array  # [1] int32 substeps since the last kick, at most 1000
    beaten: Array  # [1] int32 substeps in which keepers may not touch the ball
    kind: Array  # [P] int32: act, see `_plan`
    timer: Array  # [P] int32: substeps until the next phase of the act
    direction: Array  # [n] int32: held direction, 0 none, or the action 1 to 8
    sprints: Array  # [n] bool
    dribbles: Array  # [n] bool
    checks: Array  # [n] int32: checkpoints collected
    counts: Array  # [4] int32: goals, conceded, passes between agents, shots of the left team
    t: Array  # [1] int32: steps
    over: Array  # [1] int32: whether and how the episode ended, see `_plan`

    def replace(self, **changes: Any) -> "Game":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Wishes(NamedTuple):
    """What players want to do in a step: [P, E] each."""

    vx: Array  # velocity, m/s
    vy: Array
    aim_x: Array  # held direction, a unit vector or 0
    aim_y: Array
    is_careful: Array  # bool: dribbles


def chosen(is_chosen: Array, values: Array) -> Array:
    """[1, E]: the value of the only player with `is_chosen` [P, E]; 0 if there is none."""
    return jnp.where(is_chosen, values, jnp.zeros((), values.dtype)).sum(0, keepdims=True, dtype=values.dtype)


def smallest(values: Array, numbers: Array) -> tuple[Array, Array]:
    """[P, E] bool: the first of the smallest `values` [P, E]; and the smallest value, [1, E]."""
    least = values.min(0, keepdims=True)
    first = jnp.where(values == least, numbers, jnp.int32(1 << 20)).min(0, keepdims=True)
    return numbers == first, least


def any_of(flags: Array) -> Array:
    """[1, E] bool."""
    return flags.any(0, keepdims=True)


def length(x: Array, y: Array) -> Array:
    """[*] length of a vector; at least 1e-6, so that it may be divided by."""
    return jnp.sqrt(jnp.maximum(x * x + y * y, 1e-12))
