"""One substep of a battle, on arrays [units, E].

All operations are exact or single roundings: compilers may fuse products and sums, which must not change a bit.
Positions, squares and damage are integers on a grid that float32 represents exactly. Inexact results (a root, a
quotient, one product) are rounded to a grid before anything is added to them. Nothing is divided by a constant or a
broadcast value: compilers would multiply by the reciprocal, so the rules do that too.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._batch_last import apart, fold, row
from jaxmarl_envs.micro._enemy import targets_of_enemies, targets_of_healers, wanted
from jaxmarl_envs.micro._params import CELL, FINE, POINT, MicroParams, Pairs, Units, on_grid, rounded
from jaxmarl_envs.micro._plan import Plan
from jaxmarl_envs.micro._state import NOBODY, Aim, Chance, Fight, Orders, fetched, packed, unpacked

Array = jax.Array
# 1/64 cell: beams along and across the line of fire, explosions.
_ALONG, _ACROSS, _BLAST = round(0.15 * FINE), round(1.4 * FINE), round(2.2 * FINE)
# Per loop: hit points healed, energy used and regained; energy needed to start healing.
_MEND, _MEND_COST, _ENERGY_GROWTH, _MEND_START = 9 / 16, 3 / 16, 9 / 256, 5.0
MAX_ENERGY, START_ENERGY = 200.0, 50.0


def substep(
    plan: Plan, fight: Fight, orders: Orders, chance: Chance, units: Units, pairs: Pairs, params: MicroParams
) -> Fight:
    """The battle `plan.dt` loops later."""
    n, dt = plan.n_allies, plan.dt
    alive = fight.hp > 0
    q = rounded(fight.x * (FINE / CELL)), rounded(fight.y * (FINE / CELL))
    target = apart(params.sight, partial(targets_of_enemies, plan), fight, alive, units, pairs, params)
    heal = None
    if plan.healers:
        heal = jnp.concatenate([orders.heal, targets_of_healers(plan, fight, alive, units)])

    # Targets of all units.
    marks = (units.is_melee[:n], q[0][:n]), (units.flies[n:], q[0][n:])
    mark = jnp.concatenate([jnp.broadcast_to(flag, like.shape) for flag, like in marks])
    words = packed(*q, units.radius, mark, alive)
    found = jnp.full(q[0].shape, NOBODY, jnp.uint32)
    ours, theirs = fetched(orders.attack, words[n:], found[:n]), fetched(target, words[:n], found[n:])
    if heal is not None:
        ours, theirs = fetched(heal[:n], words[:n], ours), fetched(heal[n:], words[n:], theirs)
    aim = unpacked(jnp.concatenate([ours, theirs]))
    step = wanted(plan, fight, alive, q, aim, orders, units, params)

    # Moving: walk, push, stay on the ground.
    x, y = fight.x + step.x, fight.y + step.y
    push_x, push_y = pushes(x, y, alive, units)
    x, y = on_ground(plan, fight, x + push_x, y + push_y, units, params)

    # Shots.
    cool = fight.cool - dt
    is_ready = step.can_fire & (cool <= 0)
    allowed = jnp.broadcast_to(params.fire > 0, is_ready[n:].shape)
    fires = jnp.concatenate([is_ready[:n], is_ready[n:] & allowed])
    cool = jnp.where(fires, cool + units.period + chance.noise, jnp.maximum(cool, 0.0))
    target = jnp.where(step.is_seen, target, -1.0)
    aimed = jnp.concatenate([orders.attack, target])
    hits = fires & chance.hits
    damage = _damage(plan, fight, alive, q, aim, aimed, hits, units, pairs)

    # Effects of the shots.
    to_shield = jnp.minimum(damage, fight.shield)
    hp, shield = fight.hp - (damage - to_shield), fight.shield - to_shield
    is_bomb = plan.marked("explodes", fight.kinds, hp)
    hp = jnp.where(fires & is_bomb, 0.0, hp)
    lives = alive & (hp > 0)
    delay, alarm = on_grid(params.shield_delay, POINT), on_grid(params.alarm, POINT)
    quiet = jnp.where(damage > 0, 0.0, jnp.minimum(fight.quiet + dt, jnp.maximum(delay, alarm)))
    grown = jnp.where(quiet >= delay, on_grid(params.shield_growth, POINT) * dt, 0.0)
    shield = jnp.minimum(shield + grown, units.max_shield)
    energy, mends = fight.energy, fight.mends
    hp = hp + units.healing
    if heal is not None:
        healing, energy, mends = _mending(plan, fight, lives, heal, step.in_reach, units)
        hp = hp + healing
    hp = jnp.minimum(hp, units.max_hp)
    fuse = fight.fuse
    if plan.bombs:
        fuse = (is_bomb & alive & ~lives & ~fires).astype(jnp.float32)
    return Fight(
        x=jnp.where(alive, x, fight.x),
        y=jnp.where(alive, y, fight.y),
        hp=jnp.where(lives, hp, 0.0),
        shield=jnp.where(lives, shield, 0.0),
        cool=jnp.where(alive, cool, fight.cool),
        quiet=jnp.where(alive, quiet, fight.quiet),
        target=target,
        energy=energy,
        mends=mends,
        fuse=fuse,
        kinds=fight.kinds,
    )


def pushes(x: Array, y: Array, alive: Array, units: Units) -> tuple[Array, Array]:
    """[U, E] each: how much overlapping units push each other, in 1/4096 cell, at most a body's radius.

    The push of j on i is (sum of bodies squared - distance squared) along the line between them: no root, no quotient,
    and sums of integers. Units that do not push are placed far away from all others.
    """
    count = x.shape[0]
    far = 8192.0 + 512.0 * jnp.arange(count, dtype=jnp.float32)[:, None]
    pushes_ = alive & units.collides
    qx = jnp.where(pushes_, rounded(x * (FINE / CELL)), far)
    qy = jnp.where(pushes_, rounded(y * (FINE / CELL)), far)

    def body(j: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        dx, dy = qx - row(qx, j), qy - row(qy, j)
        reach = units.body + row(units.body, j)
        overlap = jnp.maximum(reach * reach - (dx * dx + dy * dy), 0.0)
        return sums[0] + overlap * dx, sums[1] + overlap * dy

    zero = jnp.zeros_like(x)
    sum_x, sum_y = fold(count, body, (zero, zero))
    most = units.body * (CELL / FINE)
    return tuple(jnp.clip(rounded(units.push * total), -most, most) for total in (sum_x, sum_y))  # type: ignore[return-value]


def on_ground(plan: Plan, fight: Fight, x: Array, y: Array, units: Units, params: MicroParams) -> tuple[Array, Array]:
    """Final positions of units that want to move to `x`, `y`: inside the box and on walkable cells.

    A unit that runs into another cell keeps one coordinate: x is moved first, then y.
    """
    low_x, low_y, high_x, high_y = (rounded(params.box[k : k + 1] * CELL) for k in range(4))
    x = jnp.clip(x, low_x + 1, high_x - 1)  # the same on both sides, so that mirrored battles stay mirrored
    y = jnp.clip(y, low_y + 1, high_y - 1)
    if plan.is_box:
        return x, y
    walks = units.collides
    x = jnp.where(walks & ~is_walkable(params.rows, x, fight.y), fight.x, x)
    y = jnp.where(walks & ~is_walkable(params.rows, x, y), fight.y, y)
    return x, y


def is_walkable(rows: Array, x: Array, y: Array) -> Array:
    """[., E] bool: whether positions in 1/4096 cell are on walkable cells. `rows`: [32, 1 or E] uint32."""
    column, line = jnp.floor(x * (1 / CELL)), jnp.floor(y * (1 / CELL))
    bits = jnp.zeros(x.shape, jnp.uint32)
    for k in range(rows.shape[0]):  # a chain of selects: on CPU a gather reads its elements one by one
        bits = jnp.where(line == k, rows[k : k + 1], bits)
    inside = (column >= 0) & (column < rows.shape[0])
    shift = jnp.clip(column, 0, 31).astype(jnp.uint32)
    return inside & (((bits >> shift) & 1) > 0)


def _damage(
    plan: Plan,
    fight: Fight,
    alive: Array,
    q: tuple[Array, Array],
    aim: Aim,
    aimed: Array,
    hits: Array,
    units: Units,
    pairs: Pairs,
) -> Array:
    """[U, E] damage of this substep."""
    n = plan.n_allies
    ours, theirs = slice(0, n), slice(n, None)
    shots = jnp.where(hits, aimed, -1.0)
    has_shield = fight.shield > 0
    to_allies = _shots(shots[theirs], has_shield[ours], pairs.enemy_raw, pairs.enemy_net)
    to_enemies = _shots(shots[ours], has_shield[theirs], pairs.ally_raw, pairs.ally_net)
    if plan.beams or plan.bombs:
        to_allies += _splash(plan, True, fight, alive, q, aim, aimed, hits, units, pairs)
        to_enemies += _splash(plan, False, fight, alive, q, aim, aimed, hits, units, pairs)
    return jnp.concatenate([to_allies, to_enemies])


def _shots(shots: Array, has_shield: Array, raw: Array, net: Array) -> Array:
    """[targets, E] damage of the shots [shooters, E] at their targets."""
    index = jnp.arange(has_shield.shape[0], dtype=jnp.float32)[:, None]

    def body(i: Array, total: Array) -> Array:
        one_raw, one_net = (jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in (raw, net))
        return total + jnp.where(index == row(shots, i), jnp.where(has_shield, one_raw, one_net), 0.0)

    return fold(shots.shape[0], body, jnp.zeros(has_shield.shape, jnp.float32))


def _splash(
    plan: Plan,
    by_enemies: bool,
    fight: Fight,
    alive: Array,
    q: tuple[Array, Array],
    aim: Aim,
    aimed: Array,
    hits: Array,
    units: Units,
    pairs: Pairs,
) -> Array:
    """[targets, E] damage of one side's beams and explosions to units other than their targets; none to flying units."""
    n = plan.n_allies
    beams, bombs = ([u for u in places if (u >= n) == by_enemies] for places in (plan.beams, plan.bombs))
    raw, net = (pairs.enemy_raw, pairs.enemy_net) if by_enemies else (pairs.ally_raw, pairs.ally_net)
    targets, first = (slice(0, n), n) if by_enemies else (slice(n, None), 0)
    tx, ty, radius, has_shield = q[0][targets], q[1][targets], units.radius[targets], fight.shield[targets] > 0
    can_be_hit = alive[targets] & ~units.flies[targets]
    index = jnp.arange(tx.shape[0], dtype=jnp.float32)[:, None]
    is_beam, is_bomb = (plan.marked(flag, fight.kinds, hits) for flag in ("is_beam", "explodes"))
    total = jnp.zeros_like(tx)
    for u in beams:
        one = slice(u, u + 1)
        gx, gy = aim.x[one] - q[0][one], aim.y[one] - q[1][one]
        rx, ry = tx - aim.x[one], ty - aim.y[one]
        length = jnp.sqrt(gx * gx + gy * gy)
        is_along = jnp.abs(rx * gx + ry * gy) <= length * (radius + _ALONG)
        is_across = jnp.abs(rx * gy - ry * gx) <= length * (radius + _ACROSS)
        is_hit = hits[one] & is_beam[one] & is_along & is_across & (index != aimed[one]) & can_be_hit
        total += jnp.where(is_hit, jnp.where(has_shield, raw[:, u - first], net[:, u - first]), 0.0)
    for u in bombs:
        one = slice(u, u + 1)
        dx, dy, reach = tx - q[0][one], ty - q[1][one], radius + _BLAST
        bursts = is_bomb[one] & (hits[one] | (fight.fuse[one] > 0))
        is_hit = bursts & (dx * dx + dy * dy <= reach * reach) & can_be_hit & ~(hits[one] & (index == aimed[one]))
        total += jnp.where(is_hit, jnp.where(has_shield, raw[:, u - first], net[:, u - first]), 0.0)
    return total


def _mending(
    plan: Plan, fight: Fight, lives: Array, heal: Array, in_reach: Array, units: Units
) -> tuple[Array, Array, Array]:
    """[U, E] hit points healed, the medivacs' energy, and whether they heal. Only one medivac per patient counts."""
    n, dt = plan.n_allies, plan.dt
    is_hurt = (lives & (fight.hp < units.max_hp) & units.is_biological).astype(jnp.float32)
    nothing = jnp.zeros_like(heal)
    hurt = jnp.concatenate(
        [fetched(heal[side], is_hurt[side], nothing[side]) for side in (slice(0, n), slice(n, None))]
    )
    enough = jnp.where(fight.mends > 0, _MEND_COST * dt, _MEND_START)
    mends = lives & in_reach & (heal >= 0) & (hurt > 0) & (fight.energy >= enough)
    patients = jnp.where(mends, heal, -1.0)
    healed = jnp.concatenate([_any_at(patients[side]) for side in (slice(0, n), slice(n, None))])
    energy = jnp.minimum(fight.energy - jnp.where(mends, _MEND_COST * dt, 0.0) + _ENERGY_GROWTH * dt, MAX_ENERGY)
    energy = jnp.where(plan.marked("heals", fight.kinds, heal) & lives, energy, 0.0)
    return jnp.where(healed, jnp.float32(_MEND * dt), 0.0), energy, mends.astype(jnp.float32)


def _any_at(index: Array) -> Array:
    """[I, E] bool: whether any of `index` [I, E] is this row's number."""
    own = jnp.arange(index.shape[0], dtype=jnp.float32)[:, None]

    def body(i: Array, found: Array) -> Array:
        return found | (own == row(index, i))

    return fold(index.shape[0], body, jnp.zeros(index.shape, bool))
