"""The traced numbers of a battle, and derived numbers for each unit and pair."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import pytree_dataclass
from jaxmarl_envs.micro._kinds import UnitTable

Array = jax.Array
Scalar = Any
"""A float or [] float32; [1, 1 or E] within the rules."""

CELL = 4096.0
"""Positions are integers in units of 1/4096 cell."""
FINE = 64.0
"""Distances are computed from positions rounded to 1/64 cell, so that their squares are integers below 2**24."""
COARSE = 16.0
"""Enemies compare distances on a grid of 1/16 cell."""
POINT = 2048.0
"""Hit points, shields, energy and times are multiples of 1/2048."""
NEVER = 2.0**24


@pytree_dataclass
class MicroParams:
    """All numbers, traced: a grid over any scalar, as `env.NAME`, is one compiled program.

    Lengths are in cells, times in game loops (8 per step). If the multipliers are 1, the numbers are those of the
    tables.
    """

    allies: UnitTable  # [K] each: the kinds of this map
    enemies: UnitTable
    start: Array  # [U, 2] cells; [0, 2] where starts are drawn
    box: Array  # [4] cells: the smallest x and y and the largest x and y of the ground
    rows: Array  # [32] uint32, bit x of row y: a cell that can be walked on; [0] where the ground is a box
    portals: Array  # [P, 2] cells
    goal_x: Scalar = 0.0
    """Where enemies without a target walk."""
    goal_y: Scalar = 0.0
    ally_health: Scalar = 1.0
    """Multiplies hit points and shields."""
    ally_damage: Scalar = 1.0
    ally_speed: Scalar = 1.0
    ally_range: Scalar = 1.0
    ally_period: Scalar = 1.0
    """Multiplies the time between shots."""
    enemy_health: Scalar = 1.0
    enemy_damage: Scalar = 1.0
    enemy_speed: Scalar = 1.0
    enemy_range: Scalar = 1.0
    enemy_period: Scalar = 1.0
    sight: Scalar = 9.0
    """Units closer than this are seen."""
    shoot_range: Scalar = 6.0
    """Units within this range may be attacked, whatever the weapon's range: the attacker approaches first."""
    noise: Scalar = 1.0
    """Multiplies the random part of the time between shots, U(-1, 2) loops."""
    scan: Scalar = 0.5
    """Enemies see this much farther than they shoot."""
    stick: Scalar = 64.0
    """How much closer, in squares of 1/16 cell, another target must be for an enemy to switch."""
    focus: Scalar = 0.0
    """Enemies prefer: 0 the nearest, 1 the weakest in range."""
    accuracy: Scalar = 1.0
    """Fraction of the enemies' shots that hit."""
    advance: Scalar = 1.0
    """Multiplies the speed at which enemies without a target walk to the goal."""
    fire: Scalar = 1.0
    """Whether enemies shoot: above 0."""
    hunt: Scalar = 0.0
    """Whether enemies know where all allies are: above 0."""
    kite: Scalar = 0.0
    """Ranged enemies step back while they reload if their target is a melee unit within this distance."""
    alarm: Scalar = 32.0
    """How long after damage an enemy knows its target without seeing it."""
    shield_delay: Scalar = 160.0
    """Time without damage after which shields recharge."""
    shield_growth: Scalar = 0.125
    """Per loop."""
    spread: Scalar = 0.5
    """Maximum offset of random starts along each axis, with `start="jitter"`."""
    reward_damage: Scalar = 1.0
    reward_kill: Scalar = 10.0
    reward_win: Scalar = 200.0
    reward_scale: Scalar = 20.0
    """Return of a flawless win."""
    ally_loss: Scalar = 0.0
    """Cost of a lost hit point or ally, relative to the reward for an enemy's."""


class Units(NamedTuple):
    """Derived numbers of each unit: [U, 1], or [U, E] if instances differ."""

    max_hp: Array
    max_shield: Array
    period: Array
    radius: Array  # 1/64 cell, as reach and body
    reach: Array  # range + radius
    body: Array  # 0 for units that do not push
    push: Array  # factor of the push in 1/4096 cell
    stride: Array  # maximum walk in a substep, 1/4096 cell
    scan: Array  # how far an enemy sees, from its edge: 1/64 cell
    healing: Array  # hit points regenerated in a substep
    flies: Array  # bool, as all below
    collides: Array
    is_melee: Array
    is_armed: Array
    is_biological: Array
    hits_air: Array


class Pairs(NamedTuple):
    """Derived numbers of each pair, [target, shooter, 1 or E]."""

    ally_raw: Array  # [M, N, .] damage of an ally's shot to shields
    ally_net: Array  # to hit points
    enemy_raw: Array  # [N, M, .]
    enemy_net: Array
    prefer: Array  # [N, M, .] preference of an enemy for this ally, squares of 1/16 cell


def rounded(x: Array) -> Array:
    """The nearest integer, ties to even."""
    return jax.lax.round(x, jax.lax.RoundingMethod.TO_NEAREST_EVEN)


def on_grid(x: Array, steps: float) -> Array:
    """`x` rounded to a multiple of 1 / `steps`, a power of two."""
    return rounded(x * steps) * (1 / steps)


def side_columns(params: MicroParams, is_enemy: bool) -> dict[str, Array]:
    """{name: [K, 1 or E]} for one side: the table with its multipliers, on the grids."""
    t = params.enemies if is_enemy else params.allies
    p = params
    if is_enemy:
        health, damage, speed = p.enemy_health, p.enemy_damage, p.enemy_speed
        reach, period = p.enemy_range, p.enemy_period
    else:
        health, damage, speed, reach, period = p.ally_health, p.ally_damage, p.ally_speed, p.ally_range, p.ally_period
    return {
        "max_hp": on_grid(t.hp * health, POINT),
        "max_shield": on_grid(t.shield * health, POINT),
        "armor": on_grid(t.armor, POINT),
        "damage": on_grid(t.damage * damage, POINT),
        "bonus_light": on_grid(t.bonus_light * damage, POINT),
        "bonus_armored": on_grid(t.bonus_armored * damage, POINT),
        "hits": rounded(t.hits),
        "period": on_grid(t.period * period, POINT),
        "range": rounded(t.range * reach * FINE),
        "radius": rounded(t.radius * FINE),
        "body": rounded(t.body * FINE),
        "speed": rounded(t.speed * speed * (CELL / 16)),  # 1/4096 cell a loop
        "regeneration": on_grid(t.regeneration, POINT),
        "is_light": t.is_light,
        "is_armored": t.is_armored,
        "is_biological": t.is_biological,
        "flies": t.flies,
        "collides": t.collides,
        "hits_air": t.hits_air,
    }


def unit_columns(params: MicroParams, kinds: np.ndarray | Array, n_allies: int) -> dict[str, Array]:
    """{name: [U, 1 or E]}: the columns of each unit's kind.

    Args:
      params: with a trailing axis of 1 or E on every leaf.
      kinds: [U] NumPy integers where they are fixed, [U, E] float32 where they are drawn.
      n_allies: N.
    """
    ours, theirs = side_columns(params, False), side_columns(params, True)
    if isinstance(kinds, np.ndarray):
        a, e = kinds[:n_allies], kinds[n_allies:]
        both = {name: _equally_wide(ours[name][a], theirs[name][e]) for name in ours}
        return {name: jnp.concatenate(sides) for name, sides in both.items()}
    columns = {}
    for name in ours:
        rows = []
        for table, part in ((ours[name], kinds[:n_allies]), (theirs[name], kinds[n_allies:])):
            value = table[:1]
            for k in range(1, table.shape[0]):
                value = jnp.where(part == k, table[k : k + 1], value)
            rows.append(jnp.broadcast_to(value, part.shape))
        columns[name] = jnp.concatenate(rows)
    return columns


def _equally_wide(a: Array, b: Array) -> list[Array]:
    """Broadcasts the last axis of both to the larger size: 1, or E if instances differ in either."""
    width = max(a.shape[-1], b.shape[-1])
    return [jnp.broadcast_to(x, (*x.shape[:-1], width)) for x in (a, b)]


def units_of(columns: dict[str, Array], params: MicroParams, dt: float) -> Units:
    """The numbers of units for a substep of `dt` loops, from `columns`."""
    c = columns
    collides = (c["collides"] > 0) & (c["flies"] == 0)
    body = jnp.where(collides, c["body"], 0.0)
    diameter = 2 * jnp.maximum(body, 1.0)
    moves = c["speed"] > 0
    scan = jnp.maximum(c["range"], 5 * FINE) + rounded(params.scan * FINE)
    return Units(
        max_hp=c["max_hp"],
        max_shield=c["max_shield"],
        period=c["period"],
        radius=c["radius"],
        reach=c["range"] + c["radius"],
        body=body,
        push=jnp.where(moves & collides, jnp.float32(0.5 * CELL / FINE) / (diameter * diameter), 0.0),
        stride=c["speed"] * dt,
        scan=scan + c["radius"],
        healing=c["regeneration"] * dt,
        flies=c["flies"] > 0,
        collides=collides,
        is_melee=c["range"] <= FINE,
        is_armed=c["damage"] > 0,
        is_biological=c["is_biological"] > 0,
        hits_air=c["hits_air"] > 0,
    )


def pairs_of(columns: dict[str, Array], units: Units, params: MicroParams, n_allies: int) -> Pairs:
    """The numbers of each pair of ally and enemy, from `columns`."""
    n = n_allies

    def shot(shooters: slice, targets: slice) -> tuple[Array, Array]:
        """[target, shooter, .] raw and net damage."""
        s = {name: value[None, shooters] for name, value in columns.items()}
        t = {name: value[targets, None] for name, value in columns.items()}
        hit = s["damage"] + s["bonus_light"] * t["is_light"] + s["bonus_armored"] * t["is_armored"]
        has_weapon = jnp.broadcast_to(s["damage"] > 0, hit.shape)
        net = jnp.where(has_weapon, jnp.maximum(hit - t["armor"], 0.5), 0.0)
        return s["hits"] * hit, s["hits"] * net

    reach = (units.reach[None, n:] + units.radius[:n, None]) * (COARSE / FINE)  # [N, M, .] 1/16 cell
    cannot = ~units.is_armed[None, n:] | (units.flies[:n, None] & ~units.hits_air[None, n:])
    prefer = jnp.where(cannot, -NEVER, rounded((reach * reach) * params.focus[None]))
    return Pairs(*shot(slice(0, n), slice(n, None)), *shot(slice(n, None), slice(0, n)), prefer)
