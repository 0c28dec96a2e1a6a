"""What passes between the parts of a fight. U = N + M units, allies first; E instances last."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import pytree_dataclass
from jaxmarl_envs.core._batch_last import fold, row

Array = jax.Array
NOBODY = 0xFFFFFFFF


@pytree_dataclass
class Fight:
    """All that the rules remember; of one instance, without the axis E."""

    x: Array  # [U] float32, as all: 1/4096 cell, whole numbers; where the dead fell
    y: Array  # [U]
    hp: Array  # [U] 0 for the dead
    shield: Array  # [U]
    cool: Array  # [U] loops until the next shot
    quiet: Array  # [U] loops since the last damage, as far as it matters
    target: Array  # [M] the ally that an enemy attacks; -1: none
    energy: Array  # [U] of medivacs; [0] where there are none
    mends: Array  # [U] 1 for medivacs that healed in the last substep; [0] where there are none
    fuse: Array  # [U] 1 for banelings that explode next; [0] where there are none
    kinds: Array  # [U] place among the map's kinds; [0] where they are fixed

    def replace(self, **changes: Any) -> "Fight":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Orders(NamedTuple):
    """What the allies do in a step: [N, E] float32 each."""

    attack: Array  # the enemy to attack; -1: none
    heal: Array  # the ally to heal; -1: none
    move_x: Array  # direction, 1/64 cell, 10 cells long; 0: none
    move_y: Array


class Chance(NamedTuple):
    """What is drawn for a step: [U, E]."""

    noise: Array  # loops, added to the time until the next shot
    hits: Array  # bool, whether a shot of this unit hits


class Aim(NamedTuple):
    """Where a unit's target is: [U, E]."""

    x: Array  # 1/64 cell
    y: Array
    radius: Array  # 1/64 cell
    mark: Array  # bool: a flyer for allies, a melee unit for enemies
    is_there: Array  # bool


def packed(x: Array, y: Array, radius: Array, mark: Array, alive: Array) -> Array:
    """[., E] uint32: all of an `Aim` in one word, so that one select a pair fetches it. 12, 12, 7 bits and 1."""
    parts = [jnp.broadcast_to(part, x.shape).astype(jnp.uint32) for part in (x, y, radius, mark)]
    word = parts[0] | (parts[1] << 12) | (parts[2] << 24) | (parts[3] << 31)
    return jnp.where(alive, word, jnp.uint32(NOBODY))


def unpacked(word: Array) -> Aim:
    """The `Aim` in `word`."""

    def part(shift: int, bits: int) -> Array:
        return ((word >> shift) & (2**bits - 1)).astype(jnp.int32).astype(jnp.float32)

    return Aim(part(0, 12), part(12, 12), part(24, 7), (word >> 31) > 0, word != jnp.uint32(NOBODY))


def fetched(index: Array, values: Array, start: Array) -> Array:
    """[I, E]: `values` [J, E] at `index` [I, E] float32; `start` where that is -1. A gather of selects: it vectorizes."""

    def body(j: Array, found: Array) -> Array:
        return jnp.where(index == j.astype(jnp.float32), row(values, j), found)

    return fold(values.shape[0], body, start)
