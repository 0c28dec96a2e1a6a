"""The scripted players: keepers, the right team, and left outfield players who are not agents. Arrays are [P, E].

They decide once per step: where to run, and whether the owner, if it is one of them, passes or shoots.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.football._kicks import GOAL_X
from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._physics import BOX_X, BOX_Y
from jaxmarl_envs.football._plan import FREE, HIGH, SHORT, SHOT, Plan
from jaxmarl_envs.football._state import Game, any_of, chosen, length, smallest

TIMES = (0.1, 0.2, 0.35, 0.5, 0.7, 0.95, 1.3, 2.0)
"""Seconds ahead at which players expect the free ball."""
_DRAG = 0.055
_FAR = 1e6


class Decisions(NamedTuple):
    """What scripted players do; the rows of agents mean nothing."""

    vx: Array  # [P, E] velocity, m/s
    vy: Array
    aim_x: Array  # [P, E] unit vector: where a kick is aimed
    aim_y: Array
    act: Array  # [1, E] int32: the kick that the owner begins; 0: none


class Meeting(NamedTuple):
    """Where each player meets the free ball, [P, E]."""

    x: Array
    y: Array
    time: Array  # seconds; plus a little for the distance


def decisions(plan: Plan, game: Game, p: FootballParams) -> Decisions:
    """What all scripted players decide."""
    is_owner = plan.numbers == game.owner
    meeting = _meetings(plan, game, p)
    near_foe, mark_x, mark_y = _pairs(plan, game, is_owner)
    x, y, speed = _outfield(plan, game, meeting, is_owner, mark_x, mark_y, p)
    keeper_x, keeper_y, keeper_speed = _keepers(plan, game, meeting, p)
    x = jnp.where(plan.is_keeper, keeper_x, x)
    y = jnp.where(plan.is_keeper, keeper_y, y)
    speed = jnp.where(plan.is_keeper, keeper_speed, speed)
    act, aim_x, aim_y, stands = _owner(plan, game, is_owner, near_foe)

    x = jnp.where(is_owner, jnp.where(stands, game.x, GOAL_X * plan.attack), x)
    y = jnp.where(is_owner, jnp.where(stands, game.y, 0.0), y)
    to_x, to_y = x - game.x, y - game.y
    distance = length(to_x, to_y)
    share = jnp.minimum(2.6 * distance, speed) / distance
    return Decisions(
        to_x * share,
        to_y * share,
        jnp.where(is_owner, aim_x, 0.0),
        jnp.where(is_owner, aim_y, 0.0),
        act,
    )


def _meetings(plan: Plan, game: Game, p: FootballParams) -> Meeting:
    """The first of `TIMES` at which each player can be where the ball will then be."""
    ball_x, ball_y, vx, vy = game.ball[0:1], game.ball[1:2], game.ball[3:4], game.ball[4:5]
    speed = length(vx, vy)
    way_x, way_y = vx / speed, vy / speed
    fast = _top_speed(p)
    x, y = game.x + 0.1 * game.vx, game.y + 0.1 * game.vy
    found: list[Array] = []
    for time in reversed(TIMES):
        path = jnp.log(1.0 + (_DRAG * time) * speed) * (1 / _DRAG)
        at_x, at_y = ball_x + way_x * path, ball_y + way_y * path
        distance = length(at_x - x, at_y - y)
        new = [jnp.broadcast_to(at_x, x.shape), jnp.broadcast_to(at_y, x.shape), time + 0.001 * distance]
        if found:
            is_there = distance <= fast * time + 0.5
            found = [jnp.where(is_there, value, old) for value, old in zip(new, found)]
        else:  # the last point is where they run if they can reach none
            late = jnp.where(distance <= fast * time + 0.5, 0.0, 1.0)
            found = [new[0], new[1], new[2] + late]
    return Meeting(*found)


def _top_speed(p: FootballParams) -> Array:
    return p.sprint * (0.8 + 0.2 * p.difficulty)


def _pairs(plan: Plan, game: Game, is_owner: Array) -> tuple[Array, Array, Array]:
    """[P, E] distance to the nearest opponent; [R, E] twice: whom each right player marks, x and y (1e6 if nobody)."""
    left, right = slice(None, plan.n_left), slice(plan.n_left, None)
    off_x = game.x[left, None] - game.x[None, right]  # [L, R, E]
    off_y = game.y[left, None] - game.y[None, right]
    square = off_x * off_x + off_y * off_y
    near = jnp.sqrt(jnp.concatenate([square.min(1), square.min(0)]))
    can = ~is_owner[left] & ~plan.is_keeper[left]
    value = jnp.where(can[:, None], square, _FAR)
    least = value.min(0, keepdims=True)
    number = jnp.where(value == least, plan.numbers[left, :, None], plan.n_left).min(
        0
    )  # [R, E] the first of the nearest
    is_marked = plan.numbers[left, :, None] == number[None]
    mark_x = jnp.where(is_marked, game.x[left, None], 0.0).sum(0)
    mark_y = jnp.where(is_marked, game.y[left, None], 0.0).sum(0)
    is_any = least[0] < _FAR
    return near, jnp.where(is_any, mark_x, _FAR), jnp.where(is_any, mark_y, _FAR)


def _outfield(
    plan: Plan, game: Game, meeting: Meeting, is_owner: Array, mark_x: Array, mark_y: Array, p: FootballParams
) -> tuple[Array, Array, Array]:
    """[P, E] each: where outfield players without the ball run, and how fast at most."""
    attack = jnp.broadcast_to(plan.attack, game.x.shape)
    support_x, support_y = game.ball[0:1] + 2.0 * attack, game.y
    if plan.is_lazy:
        none = jnp.zeros_like(game.x)
        return jnp.where(plan.is_left, support_x, game.x), support_y, none + _top_speed(p)
    right = ~plan.is_left
    can = right & ~plan.is_keeper
    is_free, is_ours = game.owner < 0, game.owner >= plan.n_left
    first, _ = smallest(jnp.where(can, meeting.time, _FAR), plan.numbers)

    carrier_x, carrier_y, run_x, run_y = (chosen(is_owner, v) for v in (game.x, game.y, game.vx, game.vy))
    late = 0.1 * (1.5 - p.difficulty)
    seen_x, seen_y = carrier_x - late * run_x, carrier_y - late * run_y
    distance = length(game.x - seen_x, game.y - seen_y)
    hunter, _ = smallest(jnp.where(can, distance, _FAR), plan.numbers)
    second, least = smallest(jnp.where(can & ~hunter, distance, _FAR), plan.numbers)
    hunts = hunter | (second & (least < 20.0 * (0.3 + 0.7 * p.difficulty)))
    press_x, press_y = _press(game, (seen_x, seen_y), (run_x, run_y), distance, p)

    pad = ((plan.n_left, 0), (0, 0))
    mark_x, mark_y = jnp.pad(mark_x, pad), jnp.pad(mark_y, pad)
    has_mark = mark_x < 0.5 * _FAR
    mark_x, mark_y = mark_x + 0.25 * (-GOAL_X - mark_x), 0.75 * mark_y
    mark_x = jnp.where(plan.is_left, 0.0, mark_x)
    hunts = hunts | ~has_mark
    x = jnp.where(is_free, jnp.where(first, meeting.x, mark_x), jnp.where(hunts, press_x, mark_x))
    y = jnp.where(is_free, jnp.where(first, meeting.y, mark_y), jnp.where(hunts, press_y, mark_y))
    stays = is_free & ~first & ~has_mark
    x, y = jnp.where(stays, game.x, x), jnp.where(stays, game.y, y)
    supports = plan.is_left | is_ours
    x, y = jnp.where(supports, support_x, x), jnp.where(supports, support_y, y)
    return x, y, jnp.broadcast_to(_top_speed(p), x.shape)


def _press(
    game: Game, seen: tuple[Array, Array], run: tuple[Array, Array], distance: Array, p: FootballParams
) -> tuple[Array, Array]:
    """[P, E] each: where hunters of the owner run: into his way to the left goal, or in front of him if near."""
    goal_x, goal_y = -GOAL_X - seen[0], -seen[1]
    far = length(goal_x, goal_y)
    goal_x, goal_y = goal_x / far, goal_y / far
    to_x, to_y = game.x - seen[0], game.y - seen[1]
    along = goal_x * to_x + goal_y * to_y
    equal = (to_x * to_x + to_y * to_y) / jnp.maximum(2.0 * along, 1e-3)
    equal = jnp.where(along > 0, equal, far)
    way = jnp.minimum(equal + 0.8, far)
    x, y = seen[0] + goal_x * way + 0.14 * run[0], seen[1] + goal_y * way + 0.14 * run[1]
    ball_x, ball_y = game.ball[0:1], game.ball[1:2]
    to_x, to_y = -GOAL_X - ball_x, -ball_y
    far = length(to_x, to_y)
    is_near = distance < 2.0
    return (
        jnp.where(is_near, ball_x + p.contain * to_x / far, x),
        jnp.where(is_near, ball_y + p.contain * to_y / far, y),
    )


def _keepers(plan: Plan, game: Game, meeting: Meeting, p: FootballParams) -> tuple[Array, Array, Array]:
    """[P, E] each: where keepers run, and how fast at most."""
    own = jnp.broadcast_to(-GOAL_X * plan.attack, game.x.shape)
    ball_x, ball_y, vx, vy = game.ball[0:1], game.ball[1:2], game.ball[3:4], game.ball[4:5]
    to_x, to_y = ball_x - own, jnp.broadcast_to(ball_y, own.shape)
    distance = length(to_x, to_y)
    out = 0.7 + jnp.clip((18.0 - distance) * 0.1, 0.0, 1.0) * jnp.clip(0.5 * distance - 0.7, 0.0, 6.0)
    x, y = own + to_x / distance * out, to_y / distance * out
    speed = jnp.broadcast_to(p.sprint, x.shape)

    is_free = game.owner < 0
    is_foes = ~is_free & (plan.is_left != (game.owner < plan.n_left))
    rushes = is_foes & (distance < p.keeper_close)
    x, y = jnp.where(rushes, ball_x, x), jnp.where(rushes, ball_y, y)

    comes = vx * own > 0
    line_y = ball_y + vy * (own - ball_x) / jnp.where(comes, vx, 1.0)
    is_shot = is_free & comes & (jnp.abs(line_y) < 4.5)
    flat = length(vx, vy)
    along = ((game.x - ball_x) * vx + (game.y - ball_y) * vy) / (flat * flat)
    dives = is_shot & (game.since.astype(jnp.float32) * plan.dt > p.keeper_react + 1e-4)
    x, y = jnp.where(dives, ball_x + along * vx, x), jnp.where(dives, ball_y + along * vy, y)
    speed = jnp.where(dives, p.keeper_run, speed)

    is_first = meeting.time <= meeting.time.min(0, keepdims=True)
    in_box = (meeting.x * plan.attack < -BOX_X) & (jnp.abs(meeting.x) < GOAL_X) & (jnp.abs(meeting.y) < BOX_Y)
    fetches = is_free & ~is_shot & is_first & in_box
    return jnp.where(fetches, meeting.x, x), jnp.where(fetches, meeting.y, y), speed


def _owner(plan: Plan, game: Game, is_owner: Array, near_foe: Array) -> tuple[Array, Array, Array, Array]:
    """What a scripted owner does, [1, E] each: the kick it begins, its aim (x, y), and whether it stands still."""
    attack = chosen(is_owner, jnp.broadcast_to(plan.attack, game.x.shape))
    x, y = chosen(is_owner, game.x), chosen(is_owner, game.y)
    is_keeper = any_of(is_owner & plan.is_keeper)
    is_mate = (plan.attack == attack) & ~is_owner & ~plan.is_keeper
    is_ahead = is_mate & ((game.x - x) * attack > 0)
    freest, most = smallest(jnp.where(is_mate & (is_ahead | is_keeper), -near_foe, _FAR), plan.numbers)
    has_mate = most < 1.0
    to_x, to_y = chosen(freest, game.x) - x, chosen(freest, game.y) - y
    far = length(to_x, to_y)
    shoots = ~is_keeper & (length(GOAL_X * attack - x, y) < 14.0)
    passes = has_mate & (is_keeper | (chosen(is_owner, near_foe) < 3.0))
    act = jnp.where(shoots, SHOT, jnp.where(passes, jnp.where(is_keeper, HIGH, SHORT), 0))
    foe_keeper_y = chosen(plan.is_keeper & (plan.attack != attack), game.y)
    corner = jnp.where(foe_keeper_y > 0, -1.0, 1.0)
    is_shot = chosen(is_owner, game.kind) == SHOT
    is_shot = is_shot | (shoots & (chosen(is_owner, game.kind) == FREE))
    aim_x = jnp.where(is_shot, 0.0, jnp.where(has_mate, to_x / far, attack))
    aim_y = jnp.where(is_shot, corner, jnp.where(has_mate, to_y / far, 0.0))
    is_scripted = any_of(is_owner & ~plan.is_agent)
    begins = is_scripted & any_of(is_owner & (game.kind == FREE))
    return jnp.where(begins, act, 0).astype(jnp.int32), aim_x, aim_y, is_keeper
