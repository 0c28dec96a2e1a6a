"""Decisions in a substep: the enemy's choice of targets, and the movement of all units."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._batch_last import fold, plane, row
from jaxmarl_envs.micro._params import CELL, COARSE, FINE, NEVER, MicroParams, Pairs, Units, rounded
from jaxmarl_envs.micro._plan import Plan
from jaxmarl_envs.micro._state import Aim, Fight, Orders

Array = jax.Array
MOST_ALLIES = 32
"""The key of a target is 32 times its rank value plus its number."""
_FARTHEST = 2.0**19 - 1
"""Targets with this value or more are ignored: keys stay below 2**24, where float32 is exact."""
_UNARMED = 2.0**17
_PORTAL_SIDE = 0.5
"""Distance in cells behind a portal of the point that units walk to, so that they get to the other side."""


class Wanted(NamedTuple):
    """The intended actions of all units in a substep: [U, E], `is_seen` [M, E]."""

    x: Array  # walk, 1/4096 cell
    y: Array
    in_reach: Array  # bool: the target can be shot or healed after the walk
    can_fire: Array  # bool
    is_seen: Array  # bool: the enemy knows where its target is


def targets_of_enemies(
    plan: Plan, fight: Fight, alive: Array, units: Units, pairs: Pairs, params: MicroParams
) -> Array:
    """[M, E] the ally that each enemy would attack, seen or not; -1 for none.

    The minimum of: squared distance beyond the preferred reach (in 1/16 cell), plus the ally's remaining health if
    weak ones are preferred; armed before unarmed; `stick` in favor of the current target; then the lower number.
    """
    n = plan.n_allies
    hx, hy = rounded(fight.x * (COARSE / CELL)), rounded(fight.y * (COARSE / CELL))
    share = (fight.hp[:n] + fight.shield[:n]) * (1.0 / (units.max_hp[:n] + units.max_shield[:n]))
    weak = jnp.minimum(rounded(share * (params.focus * 64.0)), _UNARMED)
    weak += jnp.where(units.is_armed[:n], 0.0, _UNARMED)
    weak = jnp.where(alive[:n], weak, NEVER)
    stick = rounded(params.stick)
    ex, ey = hx[n:], hy[n:]

    def body(j: Array, best: Array) -> Array:
        number = j.astype(jnp.float32)
        dx, dy = row(hx, j) - ex, row(hy, j) - ey
        worth = jnp.maximum(dx * dx + dy * dy - plane(pairs.prefer, j), 0.0) + row(weak, j)
        worth = jnp.where(fight.target == number, jnp.maximum(worth - stick, 0.0), worth)
        return jnp.minimum(best, jnp.minimum(worth, _FARTHEST) * MOST_ALLIES + number)

    none = _FARTHEST * MOST_ALLIES
    key = fold(n, body, jnp.full(ex.shape, none, jnp.float32))
    target = key - MOST_ALLIES * jnp.floor(key * (1 / MOST_ALLIES))
    return jnp.where(key < none, target, -1.0)


def targets_of_healers(plan: Plan, fight: Fight, alive: Array, units: Units) -> Array:
    """[M, E] the nearest injured comrade that each enemy medivac could heal, seen or not; -1 for none."""
    n = plan.n_allies
    hx, hy = rounded(fight.x[n:] * (COARSE / CELL)), rounded(fight.y[n:] * (COARSE / CELL))
    is_healer = plan.marked("heals", fight.kinds, fight.hp)[n:]
    is_patient = alive[n:] & (fight.hp[n:] < units.max_hp[n:]) & units.is_biological[n:] & ~is_healer
    extra = jnp.where(is_patient, 0.0, NEVER)

    def body(j: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        least, found = best
        dx, dy = row(hx, j) - hx, row(hy, j) - hy
        worth = dx * dx + dy * dy + row(extra, j)
        return jnp.minimum(least, worth), jnp.where(worth < least, j.astype(jnp.float32), found)

    start = jnp.full_like(hx, NEVER), jnp.full_like(hx, -1.0)
    _, found = fold(hx.shape[0], body, start)
    return jnp.where(is_healer, found, -1.0)


def wanted(
    plan: Plan,
    fight: Fight,
    alive: Array,
    q: tuple[Array, Array],
    aim: Aim,
    orders: Orders,
    units: Units,
    params: MicroParams,
) -> Wanted:
    """The intended walk of all units, and which of them can shoot or heal."""
    n, dt = plan.n_allies, plan.dt
    qx, qy = q
    own_x, own_y = aim.x - qx, aim.y - qy
    distance = jnp.sqrt(own_x * own_x + own_y * own_y)
    hittable = ~(aim.mark[:n] & units.is_armed[:n]) | units.hits_air[:n]
    hunts = jnp.broadcast_to(params.hunt > 0, fight.target.shape)
    is_seen = (distance[n:] <= units.scan[n:] + aim.radius[n:]) | (fight.quiet[n:] < params.alarm) | hunts
    has_target = jnp.concatenate([aim.is_there[:n] & hittable, aim.is_there[n:] & is_seen])
    # Destination: the target, or for allies the order, for enemies the goal.
    goal_x, goal_y = rounded(params.goal_x * FINE), rounded(params.goal_y * FINE)
    gx = jnp.where(has_target, own_x, jnp.concatenate([orders.move_x, goal_x - qx[n:]]))
    gy = jnp.where(has_target, own_y, jnp.concatenate([orders.move_y, goal_y - qy[n:]]))
    is_direct = has_target
    if plan.has_portals:
        gx, gy, is_around = _around(gx, gy, q, aim, has_target & units.collides, params)
        is_direct &= ~is_around
    far = jnp.sqrt(gx * gx + gy * gy)
    reach = jnp.where(is_direct, units.reach + aim.radius, 0.0)
    gap = (far - reach) * (CELL / FINE)
    stride = jnp.broadcast_to(units.stride, qx.shape)
    idle = rounded(units.stride[n:] * params.advance)
    pace = jnp.concatenate([stride[:n], jnp.where(has_target[n:], stride[n:], idle)])
    walk = jnp.clip(gap, 0.0, pace)
    steps_back = is_direct[n:] & aim.mark[n:] & units.is_armed[n:] & ~units.is_melee[n:] & (fight.cool[n:] > dt)
    steps_back &= (params.kite > 0) & (far[n:] <= rounded(params.kite * FINE))
    walk = jnp.concatenate([walk[:n], jnp.where(steps_back, -stride[n:], walk[n:])])
    pace_each = walk / jnp.maximum(far, 1.0)
    in_reach = alive & is_direct & (gap <= stride)
    return Wanted(rounded(gx * pace_each), rounded(gy * pace_each), in_reach, in_reach & units.is_armed, has_target[n:])


def _around(
    gx: Array, gy: Array, q: tuple[Array, Array], aim: Aim, walks: Array, params: MicroParams
) -> tuple[Array, Array, Array]:
    """`gx`, `gy` towards a portal for walking units whose target is on the other side of the cliff; and which units
    these are.

    It is the portal with the shortest path through it; the destination is a point half a cell behind it.
    """
    px, py = rounded(params.portals[:, :1] * FINE), rounded(params.portals[:, 1:] * FINE)  # [P, 1, 1 or E]
    is_above, target_above = q[1] >= py[0], aim.y >= py[0]
    is_around = walks & (is_above != target_above)
    behind = jnp.where(is_above, -_PORTAL_SIDE * FINE, _PORTAL_SIDE * FINE)
    shortest, to_x, to_y = jnp.full_like(gx, NEVER), gx, gy
    for k in range(params.portals.shape[0]):
        dx, dy = px[k] - q[0], py[k] - q[1]
        tx, ty = px[k] - aim.x, py[k] - aim.y
        way = jnp.sqrt(dx * dx + dy * dy) + jnp.sqrt(tx * tx + ty * ty)
        is_shorter = way < shortest
        shortest = jnp.minimum(way, shortest)
        to_x, to_y = jnp.where(is_shorter, dx, to_x), jnp.where(is_shorter, dy + behind, to_y)
    return jnp.where(is_around, to_x, gx), jnp.where(is_around, to_y, gy), is_around
