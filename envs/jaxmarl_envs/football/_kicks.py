"""Passes and shots: where the ball goes when it is kicked. Arrays are [P, E] or [1, E].

The formulas of passes are those of Google Research Football (`AIfunctions.cpp`, `humanoid.cpp`), as is the choice of a
shot's corner; the spread of shots is our own.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._plan import HIGH, LONG, SHOT, Plan
from jaxmarl_envs.football._state import Game, chosen, length, smallest

GOAL_X = 55.0
POST_Y = 3.7
_ATAN = (
    -0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393, -0.07528964, 0.0429096138, -0.0161657367, 0.0028662257,
)  # fmt: skip
"""Abramowitz and Stegun 4.4.49: atan(x) / x in powers of x², error below 2e-8."""


class Kick(NamedTuple):
    """A kick, [1, E] each."""

    vx: Array  # m/s
    vy: Array
    vz: Array
    is_offside: Array  # bool: a pass to a player beyond the second-last opponent


def angle_between(x: Array, y: Array, to_x: Array, to_y: Array) -> Array:
    """[*] radians, 0 to pi, between two vectors. A polynomial, which vectorizes."""
    dot, cross = x * to_x + y * to_y, jnp.abs(x * to_y - y * to_x)
    flat = jnp.abs(dot)
    t = jnp.minimum(flat, cross) / jnp.maximum(jnp.maximum(flat, cross), 1e-12)
    square = t * t
    series = jnp.zeros_like(t)
    for factor in reversed(_ATAN):
        series = (series + factor) * square
    angle = t + t * series
    angle = jnp.where(cross > flat, math.pi / 2 - angle, angle)
    return jnp.where(dot < 0, math.pi - angle, angle)


def power(x: Array, exponent: float) -> Array:
    """[*] `x` to a power; `x` is not negative."""
    return jnp.exp(exponent * jnp.log(jnp.maximum(x, 1e-12)))


def kick(
    plan: Plan, game: Game, is_owner: Array, act: Array, aim: tuple[Array, Array], luck: Array, p: FootballParams
) -> Kick:
    """What the owner's kick would be.

    Args:
      plan: the static description.
      game: after moving, with the ball at the owner's feet.
      is_owner: [P, E] bool.
      act: [1, E] the kind of kick, 9 to 12.
      aim: [1, E] each: the held direction, or where the owner faces.
      luck: [4, E].
      p: parameters.
    """
    attack = chosen(is_owner, jnp.broadcast_to(plan.attack, game.x.shape))
    shot_x, shot_y, shot_z = _shot(plan, game, is_owner, attack, aim, luck, p)
    pass_x, pass_y, pass_z, is_offside = _pass(plan, game, is_owner, act, attack, aim, luck, p)
    shoots = act == SHOT
    return Kick(
        jnp.where(shoots, shot_x, pass_x),
        jnp.where(shoots, shot_y, pass_y),
        jnp.where(shoots, shot_z, pass_z),
        ~shoots & is_offside,
    )


def _turned(x: Array, y: Array, lateral: Array) -> tuple[Array, Array]:
    """[1, E] each: a unit vector, turned by an angle with the tangent `lateral`."""
    scale = 1.0 / jnp.sqrt(1.0 + lateral * lateral)
    return (x - y * lateral) * scale, (y + x * lateral) * scale


def shot_target(x: Array, y: Array, attack: Array, aim: tuple[Array, Array]) -> Array:
    """[*] y at the goal line that a shot from (x, y) aims at: the held direction `aim` chooses the corner."""
    goal_x, goal_y = GOAL_X * attack - x, -y
    cross = goal_x * aim[1] - goal_y * aim[0]
    share = jnp.minimum(angle_between(goal_x, goal_y, *aim) * (2 / math.pi), 1.0)
    return jnp.sign(cross) * attack * (0.9 * POST_Y) * power(share, 0.7)


def _shot(
    plan: Plan, game: Game, is_owner: Array, attack: Array, aim: tuple[Array, Array], luck: Array, p: FootballParams
) -> tuple[Array, Array, Array]:
    x, y = game.ball[0:1], game.ball[1:2]
    to_x, to_y = GOAL_X * attack - x, shot_target(x, y, attack, aim) - y
    distance = length(to_x, to_y)
    to_x, to_y = to_x / distance, to_y / distance
    owner_x, owner_y, hx, hy, vx, vy = (
        chosen(is_owner, value) for value in (game.x, game.y, game.hx, game.hy, game.vx, game.vy)
    )
    run = length(vx, vy)
    is_foe = plan.attack != attack
    near = jnp.where(is_foe, length(game.x - owner_x, game.y - owner_y), 100.0).min(0, keepdims=True)
    pressure = jnp.clip(1.5 - 0.5 * near, 0.0, 1.0)
    sigma = p.shot_sigma * (1.0 - 0.5 * (hx * to_x + hy * to_y) + pressure + 0.1 * jnp.maximum(run - 5.0, 0.0))
    speed = p.shot_speed * (0.85 + 0.03 * jnp.minimum(run, 5.0))
    to_x, to_y = _turned(to_x, to_y, 2.45 * sigma * (luck[0:1] + luck[1:2] - 1.0))
    rise = 0.05 + 2.0 * sigma * (luck[2:3] - 0.25)
    return speed * to_x, speed * to_y, speed * rise


def _pass(
    plan: Plan,
    game: Game,
    is_owner: Array,
    act: Array,
    attack: Array,
    aim: tuple[Array, Array],
    luck: Array,
    p: FootballParams,
) -> tuple[Array, Array, Array, Array]:
    is_mate = (plan.attack == attack) & ~is_owner
    owner_x, owner_y = chosen(is_owner, game.x), chosen(is_owner, game.y)
    to_x, to_y = game.x - owner_x, game.y - owner_y
    ahead = jnp.where(act == HIGH, 10.6, jnp.where(act == LONG, 7.7, 6.6))
    miss = length(to_x - ahead * aim[0], to_y - ahead * aim[1])
    cost = 0.8 * power(miss * (1 / 70), 0.8) + angle_between(to_x, to_y, *aim) * (1 / math.pi)
    is_target, _ = smallest(jnp.where(is_mate, cost, 1e6), plan.numbers)
    mate_x, mate_y, mate_vx, mate_vy = (chosen(is_target, value) for value in (game.x, game.y, game.vx, game.vy))
    x, y = game.ball[0:1], game.ball[1:2]
    distance = length(mate_x - x, mate_y - y)
    lead = 0.7 * power(jnp.clip(0.3 + 0.05 * distance, 0.0, 1.0), 0.7)
    further = jnp.where(act == LONG, 0.2 * distance, 0.0) * attack
    to_x, to_y = mate_x + lead * mate_vx + further - x, mate_y + lead * mate_vy - y
    distance = length(to_x, to_y)
    to_x, to_y = _turned(to_x / distance, to_y / distance, math.sqrt(12) * p.pass_sigma * (luck[0:1] - 0.5))
    bend = power(distance * (1 / 60), 1.4)
    speed = jnp.where(
        act == HIGH,
        jnp.minimum(36.0 * (1.15 * bend + 0.3), 42.0),
        jnp.minimum(36.0 * (1.8 * bend + 0.3), 30.0),
    )
    rise = jnp.where(act == HIGH, 0.45 - 0.15 * distance * (1 / 60), 0.11)
    return speed * to_x, speed * to_y, speed * rise, _is_offside(plan, game, attack, mate_x, p)


def _is_offside(plan: Plan, game: Game, attack: Array, mate_x: Array, p: FootballParams) -> Array:
    """[1, E] bool: the pass goes to a player who is nearer to the goal line than the ball and all but one opponent."""
    depth = jnp.where(plan.attack == attack, -1e6, game.x * attack)
    is_last, _ = smallest(-depth, plan.numbers)
    second = jnp.where(is_last, -1e6, depth).max(0, keepdims=True)
    depth = mate_x * attack
    return (p.offside > 0) & (depth > second) & (depth > game.ball[0:1] * attack) & (depth > 0)
