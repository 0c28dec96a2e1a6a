"""Starts of episodes: fixed, moved randomly, or with random teams; on arrays [.., E]."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.micro._kinds import KINDS
from jaxmarl_envs.micro._maps import SIZE, hexagon, spacing_of
from jaxmarl_envs.micro._params import CELL, POINT, MicroParams, Units, on_grid, rounded
from jaxmarl_envs.micro._physics import START_ENERGY, on_ground, pushes
from jaxmarl_envs.micro._plan import Plan
from jaxmarl_envs.micro._state import Fight

Array = jax.Array
_PASSES = 8
_SHARES = (0.45, 0.9)
"""Of the first kind, and of the first two, in drawn teams; the third kind is the rest."""
_MIDDLE = SIZE / 2
_NEAREST, _FURTHEST = 0.4, 0.9
"""How far from the middle towards the corners groups of enemies start that surround the allies."""


def words_of_reset(plan: Plan) -> int:
    """32-bit random words that a start needs."""
    units = plan.n_allies + plan.n_enemies
    return 2 + 2 * units if plan.draws_teams else units if plan.jitters else 0


def drawn_kinds(plan: Plan, words: Array) -> Array:
    """[U, E] float32 kinds of drawn teams: enemies are our team and further draws. `words`: [U, E] uint32.

    A team is never all of the third kind, which cannot fight alone: its first unit is then of the first.
    """
    n = plan.n_allies
    shares = _unit(words[: n + plan.n_enemies])
    drawn = (shares >= _SHARES[0]).astype(jnp.float32) + (shares >= _SHARES[1]).astype(jnp.float32)
    ours = drawn[:n]
    helpless = (ours == 2).all(0, keepdims=True)
    ours = jnp.concatenate([jnp.where(helpless, 0.0, ours[:1]), ours[1:]])
    return jnp.concatenate([ours, ours, drawn[2 * n :]])[: n + plan.n_enemies]


def _unit(words: Array) -> Array:
    """Uniform in [0, 1): 24 bits of each word."""
    return (words >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def drawn_places(plan: Plan, words: Array) -> tuple[Array, Array]:
    """[U, E] cells each: mirrored sides, or allies in the middle with enemies on the diagonals. `words`: [2 + U, E]."""
    n, m = plan.n_allies, plan.n_enemies
    surrounded = (words[0:1] & 1) > 0
    spots = words[2:]
    share_x = (spots >> 16).astype(jnp.float32) * jnp.float32(2**-16)
    share_y = (spots & 0xFFFF).astype(jnp.float32) * jnp.float32(2**-16)
    x, y = share_x * (_MIDDLE - 1), share_y * SIZE
    twin = np.arange(m)
    twin = np.where(twin < n, twin, twin + n)  # extra enemies are drawn in their half
    mirrored_x = jnp.concatenate([x[:n], SIZE - x[twin]])
    mirrored_y = jnp.concatenate([y[:n], y[twin]])
    # 1 to 4 groups, each on its diagonal, at a place of its own.
    groups = 1 + ((words[0:1] >> 1) & 3)
    number = (jnp.arange(m, dtype=jnp.uint32)[:, None] % groups + (words[0:1] >> 3)) % 4
    sign_x = jnp.where(number % 2 == 0, 1.0, -1.0)
    sign_y = jnp.where(number < 2, 1.0, -1.0)
    byte = ((words[1:2] >> (number * 8)) & 255).astype(jnp.float32) * jnp.float32(1 / 256)
    along = _MIDDLE * (_NEAREST + (_FURTHEST - _NEAREST) * byte)
    names = [name for name in plan.kinds if KINDS[name].collides]
    offsets = jnp.asarray(hexagon(max(n, m), spacing_of(names)), jnp.float32)
    near_x, near_y = offsets[:, :1], offsets[:, 1:]
    around_x = jnp.concatenate(
        [jnp.broadcast_to(_MIDDLE + near_x[:n], x[:n].shape), _MIDDLE + sign_x * along + near_x[:m]]
    )
    around_y = jnp.concatenate(
        [jnp.broadcast_to(_MIDDLE + near_y[:n], y[:n].shape), _MIDDLE + sign_y * along + near_y[:m]]
    )
    return jnp.where(surrounded, around_x, mirrored_x), jnp.where(surrounded, around_y, mirrored_y)


def begin(plan: Plan, x: Array, y: Array, kinds: Array, units: Units, params: MicroParams) -> Fight:
    """The fight before its first step, everybody at `x`, `y` [U, E] in cells."""
    shape = x.shape
    full = {name: jnp.broadcast_to(getattr(units, name), shape) for name in ("max_hp", "max_shield")}
    rest = jnp.maximum(on_grid(params.shield_delay, POINT), on_grid(params.alarm, POINT))
    energy = jnp.where(plan.marked("heals", kinds, x), jnp.float32(START_ENERGY), 0.0) if plan.healers else x[:0]
    return Fight(
        x=rounded(x * CELL),
        y=rounded(y * CELL),
        hp=full["max_hp"],
        shield=full["max_shield"],
        cool=jnp.zeros(shape, jnp.float32),
        quiet=jnp.broadcast_to(rest, shape),
        target=jnp.full((plan.n_enemies, shape[1]), -1.0, jnp.float32),
        energy=energy,
        mends=jnp.zeros(shape if plan.healers else (0, shape[1]), jnp.float32),
        fuse=jnp.zeros(shape if plan.bombs else (0, shape[1]), jnp.float32),
        kinds=kinds,
    )


def settled(plan: Plan, fight: Fight, units: Units, params: MicroParams) -> Fight:
    """`fight` after units that overlap have pushed each other apart, everybody on the ground."""

    def body(_: Array, fight: Fight) -> Fight:
        push_x, push_y = pushes(fight.x, fight.y, fight.hp > 0, units)
        x, y = on_ground(plan, fight, fight.x + push_x, fight.y + push_y, units, params)
        return fight.replace(x=x, y=y)

    return jax.lax.fori_loop(0, _PASSES, body, fight)


def jittered(plan: Plan, fight: Fight, words: Array, units: Units, params: MicroParams) -> Fight:
    """`fight` with everybody moved by up to `spread` cells along each axis. `words`: [U, E]."""
    shares = [(part & 0xFFFF).astype(jnp.float32) * jnp.float32(2**-15) - 1.0 for part in (words >> 16, words)]
    dx, dy = (rounded((share * params.spread) * CELL) for share in shares)
    x, y = on_ground(plan, fight, fight.x + dx, fight.y + dy, units, params)
    return settled(plan, fight.replace(x=x, y=y), units, params)
