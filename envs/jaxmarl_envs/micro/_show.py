"""Observations, action masks and the global state of a battle, on arrays [.., E]."""

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import EntityBlock
from jaxmarl_envs.micro._maps import SIZE
from jaxmarl_envs.micro._params import CELL, FINE, MicroParams, Units, rounded
from jaxmarl_envs.micro._physics import MAX_ENERGY, is_walkable
from jaxmarl_envs.micro._plan import Plan
from jaxmarl_envs.micro._state import Fight

Array = jax.Array
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""North, south, east, west: actions 2 to 5."""


def entity_blocks(plan: Plan) -> tuple[EntityBlock, ...]:
    """The columns of each unit in an agent's observation: itself, the enemies, then the other allies by number."""
    bits = tuple(f"is {plan.kinds[k]}" for k in range(plan.type_bits))
    ours = ("hp", *(("shield",) if plan.ally_shields else ()), *bits)
    theirs = ("hp", *(("shield",) if plan.enemy_shields else ()), *bits)
    place = ("x", "y") if plan.own_position else ()
    own = ("may move north", "may move south", "may move east", "may move west", *ours, *place)
    enemy, ally = ("attackable", "distance", "dx", "dy", *theirs), ("visible", "distance", "dx", "dy", *ours)
    n, m = plan.n_allies, plan.n_enemies
    blocks = [EntityBlock("self", 0, 1, own), EntityBlock("enemies", len(own), m, enemy)]
    if n > 1:
        blocks.append(EntityBlock("allies", len(own) + m * len(enemy), n - 1, ally))
    return tuple(blocks)


def obs_size(plan: Plan) -> int:
    """Size of an observation."""
    last = entity_blocks(plan)[-1]
    return last.start + last.count * len(last.features)


def state_size(plan: Plan) -> int:
    """Size of the global state."""
    n, m, bits = plan.n_allies, plan.n_enemies, plan.type_bits
    return n * (4 + plan.ally_shields + bits) + m * (3 + plan.enemy_shields + bits) + n * plan.num_actions


def squares(qx: Array, qy: Array, targets: slice, viewers: slice) -> tuple[Array, Array, Array]:
    """[targets, viewers, E] each: dx, dy and their squares' sum."""
    dx, dy = qx[targets, None] - qx[None, viewers], qy[targets, None] - qy[None, viewers]
    return dx, dy, dx * dx + dy * dy


def action_mask(plan: Plan, fight: Fight, params: MicroParams) -> Array:
    """[A, N, E] bool: legal actions of each agent. Dead agents can only do nothing, and only they can."""
    n, m = plan.n_allies, plan.n_enemies
    alive = fight.hp > 0
    ours = alive[:n]
    moves = [ours & _is_free(plan, fight.x[:n] + CELL * dx, fight.y[:n] + CELL * dy, params) for dx, dy in DIRECTIONS]
    qx, qy = rounded(fight.x * (FINE / CELL)), rounded(fight.y * (FINE / CELL))
    reach = rounded(params.shoot_range * FINE)
    near = squares(qx, qy, slice(n, None), slice(0, n))[2] <= (reach * reach)[None]
    may_attack = near & alive[n:, None] & ours[None]
    if plan.healers:
        heals = plan.marked("heals", fight.kinds, fight.hp)[:n]
        near = squares(qx, qy, slice(0, n), slice(0, n))[2] <= (reach * reach)[None]
        is_other = ~jnp.eye(n, dtype=bool)[:, :, None]
        may_heal = near & ours[:, None] & ours[None] & ~heals[:, None] & is_other
        may_heal = jnp.concatenate([may_heal, jnp.zeros((max(m - n, 0), *may_heal.shape[1:]), bool)])[:m]
        may_attack = jnp.where(heals[None], may_heal, may_attack)
    return jnp.concatenate([jnp.stack([~ours, ours, *moves]), may_attack])


def _is_free(plan: Plan, x: Array, y: Array, params: MicroParams) -> Array:
    """[N, E] bool: whether the cell at a position is walkable ground."""
    if not plan.is_box:
        return is_walkable(params.rows, x, y)
    low_x, low_y, high_x, high_y = (rounded(params.box[k : k + 1] * CELL) for k in range(4))
    return (x >= low_x) & (x < high_x) & (y >= low_y) & (y < high_y)


def _share(part: Array, whole: Array) -> Array:
    """[*] fraction of the whole, at most 1. The quotient is written in the form that compilers use, so that all agree."""
    return jnp.minimum(part * (1.0 / jnp.maximum(whole, 1 / 2048)), 1.0)


def _types(plan: Plan, fight: Fight) -> list[Array]:
    """[U, E] float32 for each type bit."""
    return [_is_kind(plan, fight, k).astype(jnp.float32) for k in range(plan.type_bits)]


def _is_kind(plan: Plan, fight: Fight, k: int) -> Array:
    if plan.draws_teams:
        return fight.kinds == k
    places = jnp.array(plan.allies + plan.enemies)[:, None] == k
    return jnp.broadcast_to(places, fight.hp.shape)


def observations(plan: Plan, fight: Fight, mask: Array, units: Units, params: MicroParams) -> list[Array]:
    """Parts of [D, N, E] float32: observations, zeros for dead agents. `entity_blocks` describes the columns.

    Nearly everything is one formula, (feature of the entity - feature of the viewer) * scale: a single loop without
    branches.
    """
    n = plan.n_allies
    alive = fight.hp > 0
    ours = alive[:n]
    qx, qy = rounded(fight.x * (FINE / CELL)), rounded(fight.y * (FINE / CELL))
    sight = rounded(params.sight * FINE)
    near = jnp.broadcast_to(1.0 / sight, (1, sight.shape[1]))
    one = jnp.ones_like(near)
    health, shield = _share(fight.hp, units.max_hp), _share(fight.shield, units.max_shield)

    def planes(shows_shield: bool) -> tuple[Array, Array]:
        """[F, U, E] features of all units, and their scale [F, 1, 1 or E]."""
        features = [qx, qy, health, *([shield] if shows_shield else []), *_types(plan, fight)]
        return jnp.stack(features), jnp.stack([near, near, *[one] * (len(features) - 2)])

    def about(targets: Array, alive: Array, scale: Array, flag: Array | None) -> list[Array]:
        """Blocks [targets, N, E] of the flag, the distance and each of the features [F, targets, N or 1, E]."""
        offset = targets[:2] - jnp.stack([qx, qy])[:, None, :n]
        square = offset[0] * offset[0] + offset[1] * offset[1]
        is_seen = (square < (sight * sight)[None]) & alive & ours[None]
        flag = is_seen if flag is None else is_seen & flag
        zero = jnp.zeros((targets.shape[0] - 2, *qx[:n].shape), jnp.float32)
        viewer = jnp.concatenate([jnp.stack([qx[:n], qy[:n]]), zero])
        shown = jnp.where(is_seen[None], (targets - viewer[:, None]) * scale[:, :, None], 0.0)
        distance = jnp.where(is_seen, jnp.sqrt(square) * near[None], 0.0)
        return [flag.astype(jnp.float32), distance, shown.reshape(-1, *shown.shape[2:])]

    attackable = mask[6:]
    if plan.healers:
        attackable = attackable & ~plan.marked("heals", fight.kinds, fight.hp)[None, :n]
    features, scale = planes(plan.enemy_shields)
    own_features, own_scale = planes(plan.ally_shields)
    own = [*mask[2:6].astype(jnp.float32), *jnp.where(ours, own_features[2:, :n], 0.0)]
    if plan.own_position:
        own += [jnp.where(ours, place[:n] * (1 / (SIZE * CELL)), 0.0) for place in (fight.x, fight.y)]
    parts = [jnp.stack(own), *about(features[:, n:, None], alive[n:, None], scale, attackable)]
    if n > 1:
        is_before = (jnp.arange(n - 1)[:, None] < jnp.arange(n)[None])[:, :, None]  # [other, viewer, 1]
        others = jnp.where(is_before[None], own_features[:, : n - 1, None], own_features[:, 1:n, None])
        is_alive = jnp.where(is_before, alive[: n - 1, None], alive[1:n, None])
        parts += about(others, is_alive, own_scale, None)
    return parts


def global_state(plan: Plan, fight: Fight, action: Array, units: Units) -> Array:
    """[G, E] float32: allies, enemies, then the last actions one-hot. Zeros for dead units, and for actions of -1."""
    n = plan.n_allies
    alive = fight.hp > 0
    reload = _share(fight.cool, units.period)
    if plan.healers:
        heals = plan.marked("heals", fight.kinds, fight.hp)
        reload = jnp.where(heals, fight.energy * (1 / MAX_ENERGY), reload)
    place = [(value - SIZE * CELL / 2) * (1 / (SIZE * CELL)) for value in (fight.x, fight.y)]
    health, shield, types = (
        _share(fight.hp, units.max_hp),
        _share(fight.shield, units.max_shield),
        _types(plan, fight),
    )
    rows = []
    for side, extra, shows_shield in (
        (slice(0, n), [reload], plan.ally_shields),
        (slice(n, None), [], plan.enemy_shields),
    ):
        columns = [health, *extra, *place, *([shield] if shows_shield else []), *types]
        stacked = jnp.stack([jnp.where(alive, value, 0.0)[side] for value in columns], axis=1)
        rows.append(stacked.reshape(-1, stacked.shape[-1]))
    chosen = action[:, None] == jnp.arange(plan.num_actions, dtype=action.dtype)[None, :, None]
    rows.append(chosen.astype(jnp.float32).reshape(-1, action.shape[-1]))
    return jnp.concatenate(rows)
