"""A substep: players run and push each other, the ball is carried, kicked, won, met, deflected, and goes out.

Arrays are [P, E] or [1, E]; the order of the parts matters and is that of `substep`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.football._kicks import GOAL_X, POST_Y, kick
from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._plan import (
    CONCEDED,
    FREE,
    GOAL,
    LONG,
    LOST,
    OFFSIDE,
    OUT,
    RUNNING,
    SHOT,
    SLIDE,
    STUNNED,
    Plan,
)  # fmt: skip
from jaxmarl_envs.football._state import Game, Wishes, any_of, chosen, length, smallest

LINE_X, LINE_Y = 55.17, 36.17
"""Where the middle of the ball is out: pitch, half the line and the ball's radius."""
BAR_Z = 2.5
RADIUS = 0.11
BOX_X, BOX_Y = 38.6, 20.05
"""The penalty area: |x| beyond, |y| within."""
_GRAVITY, _AIR, _GRASS, _ROLL = 9.81, 0.015, 0.04, 1.6


class Ball(NamedTuple):
    """[1, E] each."""

    x: Array
    y: Array
    z: Array
    vx: Array
    vy: Array
    vz: Array


def substep(plan: Plan, game: Game, wishes: Wishes, luck: Array, p: FootballParams) -> Game:
    """The game `plan.dt` seconds later; unchanged if it is over. `luck`: [4, E] in [0, 1)."""
    before = game
    is_winding = (game.kind >= LONG) & (game.kind <= SHOT)
    is_owner = plan.numbers == game.owner
    game = _pushed(plan, _moved(plan, game, wishes, is_owner, is_winding, p), p)
    ball = _carried(plan, game, is_owner, Ball(*jnp.split(game.ball, 6)))
    game = game.replace(ball=jnp.concatenate(ball))
    start = Ball(*jnp.split(before.ball, 6))

    kicks = is_owner & is_winding & (game.timer == 1)
    is_kicked = any_of(kicks)
    ball, offside, game = _kicked(plan, game, ball, is_owner, is_kicked, wishes, luck, p)
    start = Ball(*(jnp.where(is_kicked, a, b) for a, b in zip(ball, start)))
    game, is_foul = _tackled(plan, game.replace(ball=jnp.concatenate(ball)), is_owner, wishes, luck, p)
    ball = Ball(*jnp.split(game.ball, 6))
    is_free = game.owner < 0
    flown = _flown(plan, ball)
    ball, game, is_met = _met(plan, before, game, ball, flown, is_free, luck, p)
    ball = _carried(plan, game, plan.numbers == game.owner, ball)
    is_owned = game.owner >= 0
    ball, event = _lines(ball, start, is_owned, is_met & ~is_owned)

    game = _clocks(plan, game)
    event = jnp.where(is_foul & (event == RUNNING), OUT, event)
    event = jnp.where(offside & (event == RUNNING), OFFSIDE, event)
    if not plan.plays_on:
        event = jnp.where(game.owner >= plan.n_left, LOST, event)
    counts = counted(game.counts, event == GOAL, event == CONCEDED)
    game = game.replace(ball=jnp.concatenate(ball), over=event.astype(jnp.int32), counts=counts)
    return frozen(before.over != RUNNING, before, game)


def frozen(is_frozen: Array, before: Game, after: Game) -> Game:
    """`before` where `is_frozen` [1, E], `after` elsewhere."""
    changes = {}
    for name in Game.__dataclass_fields__:
        old, new = getattr(before, name), getattr(after, name)
        changes[name] = new if old is new else jnp.where(is_frozen, old, new)
    return Game(**changes)


def counted(
    counts: Array,
    goals: Array | None = None,
    conceded: Array | None = None,
    passes: Array | None = None,
    shots: Array | None = None,
) -> Array:
    """`counts` [4, E] after adding flags [1, E]."""
    zero = jnp.zeros_like(counts[:1])
    added = [zero if flag is None else flag.astype(jnp.int32) for flag in (goals, conceded, passes, shots)]
    return counts + jnp.concatenate(added)


def _moved(plan: Plan, game: Game, wishes: Wishes, is_owner: Array, is_winding: Array, p: FootballParams) -> Game:
    """Players run as they wish, within their inertia."""
    speed = length(game.vx, game.vy)
    wanted = length(wishes.vx, wishes.vy)
    factor = jnp.where(is_owner & (wanted > 6.0), p.ball_sprint, 1.0)
    factor = jnp.where(is_winding, 0.6, factor)
    factor = jnp.where(game.kind == STUNNED, 0.0, factor)
    slides = game.kind == SLIDE
    change_x = jnp.where(slides, 0.97 * game.vx, wishes.vx * factor) - game.vx
    change_y = jnp.where(slides, 0.97 * game.vy, wishes.vy * factor) - game.vy
    limit = jnp.where(is_owner, p.change_ball, p.change) * plan.dt
    scale = jnp.minimum(1.0, limit / length(change_x, change_y))
    vx, vy = game.vx + change_x * scale, game.vy + change_y * scale
    share = jnp.clip((speed - 1.8) / (p.sprint - 1.8), 0.0, 1.0)
    limit = speed + p.accel * (1.0 - share * share) * plan.dt + 0.02
    after = length(vx, vy)
    scale = jnp.minimum(1.0, limit / after)
    vx, vy, after = vx * scale, vy * scale, after * scale
    turns = after > 0.3
    inverse = 1.0 / after
    return game.replace(
        x=game.x + vx * plan.dt,
        y=game.y + vy * plan.dt,
        vx=vx,
        vy=vy,
        hx=jnp.where(turns, vx * inverse, game.hx),
        hy=jnp.where(turns, vy * inverse, game.hy),
    )


def _pushed(plan: Plan, game: Game, p: FootballParams) -> Game:
    """Players that overlap move apart by half the overlap each; all stay within 2 m of the pitch."""
    x, y, numbers = game.x, game.y, plan.numbers
    off_x, off_y = x[:, None] - x[None], y[:, None] - y[None]  # [P, P, E]
    square = off_x * off_x + off_y * off_y
    is_mate = (plan.is_left == plan.is_left[:, 0])[:, :, None]
    limit = jnp.where(is_mate, 2.0 * p.body[None], 2.0 * p.body_foe[None])
    order = (numbers - numbers.T)[:, :, None]
    distance = jnp.sqrt(jnp.maximum(square, 1e-12))
    push = jnp.where((square < limit * limit) & (order != 0), 0.5 * (limit - distance), 0.0)
    is_apart = square > 1e-8
    share = push / distance
    x = x + jnp.where(is_apart, off_x * share, push * jnp.sign(order).astype(jnp.float32)).sum(1)
    y = y + jnp.where(is_apart, off_y * share, 0.0).sum(1)
    return game.replace(x=jnp.clip(x, -57.0, 57.0), y=jnp.clip(y, -38.0, 38.0))


def _carried(plan: Plan, game: Game, is_owner: Array, ball: Ball) -> Ball:
    """The ball at its owner's feet or in his hands, or where it is if nobody owns it."""
    reach = 0.34 + 0.08 * length(game.vx, game.vy)
    touch_x = jnp.where(plan.is_keeper, jnp.clip(game.x, -GOAL_X, GOAL_X), game.x + game.hx * reach)
    touch_y = jnp.where(plan.is_keeper, game.y, game.y + game.hy * reach)
    is_owned = any_of(is_owner)
    place = (touch_x, touch_y, jnp.full_like(game.x, RADIUS), game.vx, game.vy, jnp.zeros_like(game.x))
    return Ball(*(jnp.where(is_owned, chosen(is_owner, own), free) for own, free in zip(place, ball)))


def _kicked(
    plan: Plan,
    game: Game,
    ball: Ball,
    is_owner: Array,
    is_kicked: Array,
    wishes: Wishes,
    luck: Array,
    p: FootballParams,
) -> tuple[Ball, Array, Game]:
    """The ball and the game after a kick, if there is one, and [1, E] bool: whether it is offside."""
    act = chosen(is_owner, game.kind)
    aim_x, aim_y = chosen(is_owner, wishes.aim_x), chosen(is_owner, wishes.aim_y)
    has_aim = (aim_x != 0) | (aim_y != 0)
    aim = jnp.where(has_aim, aim_x, chosen(is_owner, game.hx)), jnp.where(has_aim, aim_y, chosen(is_owner, game.hy))
    made = kick(plan, game, is_owner, act, aim, luck, p)
    ball = ball._replace(
        vx=jnp.where(is_kicked, made.vx, ball.vx),
        vy=jnp.where(is_kicked, made.vy, ball.vy),
        vz=jnp.where(is_kicked, made.vz, ball.vz),
    )
    shoots = is_kicked & (act == SHOT) & (game.owner < plan.n_left)
    game = game.replace(
        last=jnp.where(is_kicked, game.owner, game.last),
        owner=jnp.where(is_kicked, -1, game.owner),
        lock=jnp.where(is_kicked, plan.duration(0.35), game.lock),
        since=jnp.where(is_kicked, 0, game.since),
        counts=counted(game.counts, shots=shoots),
    )
    return ball, is_kicked & made.is_offside, game


def in_own_box(plan: Plan, x: Array, y: Array) -> Array:
    """[P, E] bool: keepers in their penalty area."""
    return (x * plan.attack < -BOX_X) & (jnp.abs(y) < BOX_Y) & plan.is_keeper


def _tackled(
    plan: Plan, game: Game, is_owner: Array, wishes: Wishes, luck: Array, p: FootballParams
) -> tuple[Game, Array]:
    """The game after the nearest opponent has tried to win the ball, and [1, E] bool: a foul."""
    may = (game.owner >= 0) & (game.lock <= 0)
    is_foe = plan.is_left != (game.owner < plan.n_left)
    to_x, to_y = game.x - game.ball[0:1], game.y - game.ball[1:2]
    square = to_x * to_x + to_y * to_y
    is_near = is_foe & (game.kind == FREE) & (square < 1.0)
    foe, least = smallest(jnp.where(is_near, square, 1e6), plan.numbers)
    from_x, from_y = (chosen(foe, value) - chosen(is_owner, value) for value in (game.x, game.y))
    distance = length(from_x, from_y)
    hx, hy = chosen(is_owner, game.hx), chosen(is_owner, game.hy)
    front = (hx * from_x + hy * from_y) / distance
    is_smothered = any_of(foe & in_own_box(plan, game.x, game.y))
    rate = jnp.where(is_smothered, p.keeper_smother, p.tackle_rate * p.difficulty) * (0.65 + 0.35 * front)
    wanted = chosen(is_owner, length(wishes.vx, wishes.vy))
    rate = rate * jnp.where(any_of(is_owner & wishes.is_careful), 0.5, 1.0) * jnp.where(wanted > 6.0, 1.3, 1.0)
    is_won = may & (least < 1e5) & (luck[3:4] < plan.dt * rate)
    winner = jnp.where(foe, plan.numbers, 0).sum(0, keepdims=True, dtype=jnp.int32)
    owner = jnp.where(is_won, winner, game.owner)
    last = jnp.where(is_won, winner, game.last)
    lock = jnp.where(is_won, plan.duration(0.5), game.lock)
    kind, timer = game.kind, game.timer
    is_foul = jnp.zeros_like(is_won)
    game = game.replace(owner=owner, last=last, lock=lock)
    if plan.plays_on:  # only then can the right team have the ball, which agents slide for
        game, is_foul = _slid(plan, game, is_owner, may & ~is_won, is_foe, square, luck)
        kind, timer = game.kind, game.timer
    cancels = (kind >= LONG) & (kind <= SHOT) & (plan.numbers != game.owner)
    cancels = cancels & ~(is_owner & (timer == 1) & (game.owner < 0))  # the one who has just kicked
    return game.replace(kind=jnp.where(cancels, FREE, kind), timer=jnp.where(cancels, 0, timer)), is_foul


def _slid(
    plan: Plan, game: Game, is_owner: Array, may: Array, is_foe: Array, square: Array, luck: Array
) -> tuple[Game, Array]:
    """The game after a slide for the ball, and [1, E] bool: a foul."""
    is_near = is_foe & (game.kind == SLIDE) & (square < 1.6 * 1.6)
    slider, least = smallest(jnp.where(is_near, square, 1e6), plan.numbers)
    slides = may & (least < 1e5)
    takes = slides & (luck[3:4] < 0.6)
    misses = slides & ~takes
    from_x, from_y = (chosen(slider, value) - chosen(is_owner, value) for value in (game.x, game.y))
    front = (chosen(is_owner, game.hx) * from_x + chosen(is_owner, game.hy) * from_y) / length(from_x, from_y)
    number = jnp.where(slider, plan.numbers, 0).sum(0, keepdims=True, dtype=jnp.int32)
    push = jnp.concatenate([3.0 * chosen(slider, game.hx), 3.0 * chosen(slider, game.hy), jnp.zeros_like(front)])
    ball = jnp.concatenate([game.ball[:3], jnp.where(takes, push, game.ball[3:])])
    ends, falls = slider & slides, is_owner & misses
    game = game.replace(
        ball=ball,
        owner=jnp.where(takes, -1, game.owner),
        last=jnp.where(takes, number, game.last),
        lock=jnp.where(takes, plan.duration(0.15), game.lock),
        kind=jnp.where(ends | falls, STUNNED, game.kind),
        timer=jnp.where(ends, plan.duration(0.3) + 1, jnp.where(falls, plan.duration(0.4) + 1, game.timer)),
    )
    return game, misses & (front < -0.5)


def _flown(plan: Plan, ball: Ball) -> Ball:
    """The free ball after flying or rolling on: along the ground at its mean speed, in height at its last."""
    dt = plan.dt
    speed = jnp.sqrt(ball.vx * ball.vx + ball.vy * ball.vy + ball.vz * ball.vz)
    air = jnp.maximum(1.0 - _AIR * speed * dt, 0.0)
    vx, vy, vz = ball.vx * air, ball.vy * air, ball.vz * air - _GRAVITY * dt
    rolls = (ball.z < 0.135) & (ball.vz < 1.0)
    flat = length(vx, vy)
    grass = jnp.where(rolls, jnp.maximum(1.0 - (_GRASS * flat * flat + _ROLL) * dt / flat, 0.0), 1.0)
    vx, vy = vx * grass, vy * grass
    z = ball.z + vz * dt
    bounces = z < RADIUS
    up = -0.62 * vz - 0.06
    vz = jnp.where(bounces, jnp.where(up < 0.4, 0.0, up), vz)
    x, y = ball.x + (0.5 * dt) * (ball.vx + vx), ball.y + (0.5 * dt) * (ball.vy + vy)
    return Ball(x, y, jnp.where(bounces, RADIUS, z), vx, vy, vz)


def _met(
    plan: Plan,
    before: Game,
    game: Game,
    ball: Ball,
    flown: Ball,
    is_free: Array,
    luck: Array,
    p: FootballParams,
) -> tuple[Ball, Game, Array]:
    """The ball and the game after the first player in the way of the free ball; [1, E] bool: whether it was met."""
    x0, y0 = ball.x - before.x, ball.y - before.y
    path_x, path_y = flown.x - game.x - x0, flown.y - game.y - y0
    path = path_x * path_x + path_y * path_y
    time = -(x0 * path_x + y0 * path_y) / jnp.maximum(path, 1e-12)
    crosses = jnp.abs(flown.x) > LINE_X
    line = jnp.abs(flown.x) - jnp.abs(ball.x)
    crossing = jnp.where(crosses, jnp.clip((LINE_X - jnp.abs(ball.x)) / jnp.maximum(line, 1e-6), 0.0, 1.0), 1.0)
    at = jnp.clip(time, 0.0, crossing)
    off_x, off_y = x0 + at * path_x, y0 + at * path_y
    square = off_x * off_x + off_y * off_y
    height = ball.z + at * (flown.z - ball.z)

    is_own = (plan.is_left == (game.last < plan.n_left)) | (game.last < 0)
    hands = in_own_box(plan, game.x, game.y) & ~is_own
    dive = jnp.clip((game.since.astype(jnp.float32) * plan.dt - p.keeper_react) * p.keeper_dive, 0.0, p.keeper_stretch)
    reach = jnp.where(hands, p.keeper_reach + dive, jnp.where(is_own, p.reach_own, p.reach_foe))
    is_timely = ((time > 0) & (time <= 1)) | (path < 0.15 * 0.15) | (crosses & (time > 0))
    can = is_timely & (square < reach * reach) & (height < jnp.where(hands, p.hands, p.head))
    can = can & ~((plan.numbers == game.last) & (game.lock > 0)) & (game.kind != STUNNED)
    can = can & ~(plan.is_keeper & (game.beaten > 0)) & is_free
    meets, least = smallest(jnp.where(can, at + 0.001 * square, 1e6), plan.numbers)
    is_met = least < 1e5

    speed_x, speed_y, speed_z = flown.vx - chosen(meets, game.vx), flown.vy - chosen(meets, game.vy), flown.vz
    q = jnp.sqrt(speed_x * speed_x + speed_y * speed_y + speed_z * speed_z) / p.trap_speed
    q = jnp.minimum(q, 1.5)
    far, square = chosen(meets, reach), chosen(meets, square)
    save = p.keeper_hold * (1.0 - p.keeper_slip * square / jnp.maximum(far * far, 1e-6))
    by_hand = any_of(meets & hands)
    control = jnp.where(any_of(meets & is_own), 1.0 - 0.15 * q * q, 0.8 - 0.6 * q)
    control = jnp.where(by_hand, save * (1.0 - 0.5 * q), control)
    is_won = is_met & (luck[3:4] < control)
    is_beaten = is_met & by_hand & (luck[3:4] >= save)
    is_deflected = is_met & ~is_won & ~is_beaten

    at, off_x, off_y = chosen(meets, at), chosen(meets, off_x), chosen(meets, off_y)
    flat = length(flown.vx, flown.vy)
    far = length(off_x, off_y)
    is_close = far < 0.05
    normal_x = jnp.where(is_close, -flown.vx / flat, off_x / far)
    normal_y = jnp.where(is_close, -flown.vy / flat, off_y / far)
    back = -(0.1 + 0.3 * luck[1:2])
    stopped = Ball(
        ball.x + at * (flown.x - ball.x),
        ball.y + at * (flown.y - ball.y),
        ball.z + at * (flown.z - ball.z),
        back * flown.vx + 0.35 * flat * normal_x,
        back * flown.vy + 0.35 * flat * normal_y,
        jnp.full_like(flat, 1.2),
    )
    ball = Ball(
        *(jnp.where(is_free, jnp.where(is_deflected, new, now), old) for new, now, old in zip(stopped, flown, ball))
    )
    number = jnp.where(meets, plan.numbers, 0).sum(0, keepdims=True, dtype=jnp.int32)
    passed = is_won & any_of(meets & plan.is_agent & (plan.numbers != game.last))
    passed = passed & (game.last >= plan.first_agent) & (game.last < plan.n_left)
    is_touched = is_won | is_deflected
    game = game.replace(
        owner=jnp.where(is_won, number, game.owner),
        last=jnp.where(is_touched, number, game.last),
        lock=jnp.where(is_won, plan.duration(0.5), jnp.where(is_deflected, plan.duration(0.15), game.lock)),
        beaten=jnp.where(is_beaten, plan.duration(0.6), game.beaten),
        counts=counted(game.counts, passes=passed),
    )
    return ball, game, is_touched


def _lines(ball: Ball, start: Ball, is_owned: Array, is_inside: Array) -> tuple[Ball, Array]:
    """The ball after woodwork, which owners avoid, and [1, E] int32: what happened at a line.

    `is_inside`: the ball was stopped before.
    """
    far = jnp.abs(ball.x) - jnp.abs(start.x)
    at = jnp.clip((LINE_X - jnp.abs(start.x)) / jnp.maximum(far, 1e-6), 0.0, 1.0)
    y, z = jnp.abs(start.y + at * (ball.y - start.y)), start.z + at * (ball.z - start.z)
    crosses = (jnp.abs(ball.x) > LINE_X) & ~is_inside
    scores = crosses & (y < POST_Y) & (z < BAR_Z)
    at_post = (jnp.abs(y - POST_Y) < 0.18) & (z < BAR_Z + 0.18)
    at_bar = (jnp.abs(z - BAR_Z) < 0.18) & (y < POST_Y + 0.18)
    returns = crosses & ~scores & (at_post | at_bar) & ~is_owned
    is_out = (crosses & ~scores & ~returns) | ((jnp.abs(ball.y) > LINE_Y) & ~scores & ~is_inside)
    side = jnp.sign(ball.x)
    event = jnp.where(scores, jnp.where(side > 0, GOAL, CONCEDED), jnp.where(is_out, OUT, RUNNING))
    ball = ball._replace(
        x=jnp.where(returns, side * LINE_X, ball.x),
        y=jnp.where(returns, start.y + at * (ball.y - start.y), ball.y),
        z=jnp.where(returns, z, ball.z),
        vx=jnp.where(returns, -0.8 * ball.vx, ball.vx),
    )
    return ball, event.astype(jnp.int32)


def _clocks(plan: Plan, game: Game) -> Game:
    """All timers after the substep; acts end in a pause, pauses end."""
    timer = jnp.maximum(game.timer - 1, 0)
    ends = (game.timer > 0) & (timer == 0)
    pauses = ends & (game.kind != STUNNED)
    pause = jnp.where(game.kind == SLIDE, plan.duration(0.3), plan.duration(0.15))
    return game.replace(
        kind=jnp.where(ends, jnp.where(pauses, STUNNED, FREE), game.kind),
        timer=jnp.where(pauses, pause, timer),
        lock=jnp.maximum(game.lock - 1, 0),
        since=jnp.minimum(game.since + 1, 1000),
        beaten=jnp.maximum(game.beaten - 1, 0),
    )
