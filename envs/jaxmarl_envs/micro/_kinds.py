"""The kinds of units, and their numbers as arrays."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxmarl_envs.core import pytree_dataclass


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of unit. Lengths are in cells, times in game loops (16 per second, 8 per step)."""

    name: str
    letter: str
    """Label in the viewer."""
    race: str
    hp: float
    shield: float = 0.0
    armor: float = 0.0
    is_light: bool = False
    is_armored: bool = False
    is_biological: bool = False
    flies: bool = False
    collides: bool = True
    """Whether it pushes, and is pushed by, other such units, and is stopped by cells that are not walkable."""
    damage: float = 0.0
    """Damage of one hit; 0 for units without a weapon."""
    bonus_light: float = 0.0
    bonus_armored: float = 0.0
    hits: float = 1.0
    """Hits per shot."""
    hits_air: bool = False
    period: float = 1.0
    """Loops between shots."""
    range: float = 0.0
    """Distance between the edges of two units."""
    speed: float = 0.0
    """Cells per second."""
    radius: float = 0.375
    """Radius from the center to the edge, for ranges."""
    body: float = 0.375
    """Radius for pushing."""
    regeneration: float = 0.0
    """Hit points per loop."""
    heals: bool = False
    explodes: bool = False
    is_beam: bool = False
    """Whether its shots hit a line perpendicular to the line of fire."""
    theirs: tuple[tuple[str, float], ...] = ()
    """Numbers that differ for the enemy's side."""


_ZERG = 35 / 2048

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "colossus", "C", "protoss", hp=200, shield=150, armor=1, is_armored=True, collides=False, damage=10,
            bonus_light=5, hits=2, period=24, range=7, speed=2.25, radius=1.0, body=0.75, is_beam=True,
        ),
        Kind(
            "stalker", "S", "protoss", hp=80, shield=80, armor=1, is_armored=True, damage=13, bonus_armored=5,
            hits_air=True, period=29.922, range=6, speed=2.9531, radius=0.625, body=0.625,
        ),
        Kind(
            "zealot", "Z", "protoss", hp=100, shield=50, armor=1, is_light=True, is_biological=True, damage=8, hits=2,
            period=19.199, range=0.1, speed=2.25, radius=0.5, body=0.375,
        ),
        Kind(
            "marauder", "R", "terran", hp=125, armor=1, is_armored=True, is_biological=True, damage=10,
            bonus_armored=10, period=24, range=6, speed=2.25, radius=0.5625, body=0.5625,
        ),
        Kind(
            "marine", "M", "terran", hp=45, is_light=True, is_biological=True, damage=6, hits_air=True, period=13.773,
            range=5, speed=2.25,
        ),
        Kind(
            "medivac", "+", "terran", hp=150, armor=1, is_armored=True, flies=True, collides=False, range=4, speed=2.75,
            radius=0.75, body=0.75, heals=True, theirs=(("speed", 2.5),),
        ),
        Kind(
            "hydralisk", "H", "zerg", hp=80, is_light=True, is_biological=True, damage=12, hits_air=True,
            period=13.199, range=5, speed=2.25, radius=0.625, body=0.625, regeneration=_ZERG, theirs=(("hp", 90),),
        ),
        Kind(
            "baneling", "B", "zerg", hp=30, is_biological=True, damage=20, bonus_light=15, range=0.25, speed=2.5,
            regeneration=_ZERG, explodes=True,
        ),
        Kind(
            "zergling", "G", "zerg", hp=35, is_light=True, is_biological=True, damage=5, period=11.137, range=0.1,
            speed=2.9531, regeneration=_ZERG,
        ),
        Kind(
            "spine crawler", "W", "zerg", hp=300, armor=2, is_armored=True, is_biological=True, damage=25,
            bonus_armored=5, period=29.602, range=7, radius=1.125, body=1.125, regeneration=_ZERG,
        ),
    )
}  # fmt: skip


@pytree_dataclass
class UnitTable:
    """The numbers of K kinds on one side, in the units of `Kind`; booleans are 1 or 0."""

    hp: jax.Array  # [K] float32, as all
    shield: jax.Array
    armor: jax.Array
    is_light: jax.Array
    is_armored: jax.Array
    is_biological: jax.Array
    flies: jax.Array
    collides: jax.Array
    damage: jax.Array
    bonus_light: jax.Array
    bonus_armored: jax.Array
    hits: jax.Array
    hits_air: jax.Array
    period: jax.Array
    range: jax.Array
    speed: jax.Array
    radius: jax.Array
    body: jax.Array
    regeneration: jax.Array


def table_of(names: Sequence[str], *, is_enemy: bool) -> UnitTable:
    """The numbers of the kinds called `names`, as NumPy arrays, so that making an environment starts no device."""
    chosen: list[Any] = [KINDS[name] for name in names]
    if is_enemy:
        chosen = [dataclasses.replace(kind, **dict(kind.theirs)) for kind in chosen]
    columns: dict[str, Any] = {
        field.name: np.array([getattr(kind, field.name) for kind in chosen], np.float32)
        for field in dataclasses.fields(UnitTable)
    }
    return UnitTable(**columns)
