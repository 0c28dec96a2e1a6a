"""Policies for comparison, as functions of the global state: `rule(timestep) -> action [N] int32` of one instance."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.core import TimeStep
from jaxmarl_envs.football._kicks import GOAL_X, shot_target
from jaxmarl_envs.football._plan import DIRECTIONS, HIGH, RELEASE_DIRECTION, SHORT, SHOT, SPRINT, Plan
from jaxmarl_envs.football._scenarios import BALL_UNITS
from jaxmarl_envs.football._script import TIMES
from jaxmarl_envs.football._show import FASTER, FASTER_BALL, STEP

Rule = Callable[[TimeStep], Array]
_TOP_SPEED = 7.0
_LANE = 9.0
_SHOT_RANGE, _PRESSED, _CLEAR = 11.0, 7.0, 1.6


class Seen(NamedTuple):
    """The global state in meters and m/s."""

    place: Array  # [N, 2]
    velocity: Array  # [N, 2]
    foes: Array  # [R, 2] keeper first
    ball: Array  # [2]
    flight: Array  # [2] velocity
    held: Array  # [N, 8]
    sprints: Array  # [N]
    shoots: Array  # [N] bool
    passes: Array  # [N] bool
    is_busy: Array  # [N] bool: in an act
    owns: Array  # [N] bool
    is_free: Array  # [] bool: nobody owns the ball


def read(plan: Plan, state: Array) -> Seen:
    """What a global state of the layout "rich" says."""
    n, r = plan.n_agents, plan.n_right
    sizes = (2 * n, 2 * n, 2 * r, 2 * r, 6, 10 * n, 4 * n, 3, n)
    parts, first = [], 0
    for size in sizes:
        parts.append(state[first : first + size])
        first += size
    place, velocity, foes, _, ball, held, acts, possession, owns = parts
    units = jnp.asarray(BALL_UNITS, jnp.float32)[None]
    held, acts = held.reshape(n, 10), acts.reshape(n, 4)
    return Seen(
        place.reshape(n, 2) * units,
        velocity.reshape(n, 2) * units / (STEP * FASTER),
        foes.reshape(r, 2) * units,
        ball[:2] * units[0],
        ball[3:5] * units[0] / (STEP * FASTER_BALL),
        held[:, :8],
        held[:, 8] > 0,
        acts[:, 1] > 0,
        acts[:, 2] > 0,
        acts[:, 0] > 0,
        owns > 0,
        possession[0] > 0,
    )


def rules_of(plan: Plan) -> Mapping[str, Rule]:
    """The rules by name; none with the observation "cds", whose state does not show enough."""
    if plan.obs == "cds":
        return {}
    return {"attack": functools.partial(_attack, plan), "solo": functools.partial(_solo, plan)}


def _attack(plan: Plan, timestep: TimeStep) -> Array:
    """[N] int32: run at the goal, pass before an opponent, shoot from near; without the ball, wait in front of the goal.

    The owner sprints to the goal. With an opponent close ahead it passes to the teammate that is farthest from all
    opponents, in high passes if an opponent stands in the way. Near the goal it shoots to the side where the keeper is
    not. The others wait in three lanes; whoever is nearest meets a free ball.
    """
    seen = read(plan, timestep.state)
    n = plan.n_agents
    goal = jnp.array([GOAL_X, 0.0], jnp.float32)
    to_goal = _distance(seen.place - goal[None])
    target = jnp.stack([jnp.full(n, 52.0, jnp.float32), 0.15 * seen.place[:, 1]], 1)
    heading = _unit(target - seen.place)
    off = seen.foes[None] - seen.place[:, None]  # [N, R, 2]
    is_ahead = (off * heading[:, None]).sum(-1) > 0
    is_pressed = (is_ahead & (_distance(off) < _PRESSED)).any(1)
    mate, is_clear, has_mate = _mates(seen)

    near = to_goal < _SHOT_RANGE
    passes = is_pressed & has_mate & ~near
    kick = jnp.where(near, SHOT, jnp.where(passes, jnp.where(is_clear, SHORT, HIGH), 0))
    to_mate = _unit(seen.place[mate] - seen.place)
    aimed = jnp.where(seen.passes[:, None], to_mate, heading)
    of_owner = jnp.where(seen.shoots, _corner(seen), _nearest_direction(aimed))

    waits = _run_to(seen, _posts(seen))
    catcher, point = _meeting(seen)
    fetches = seen.is_free & (jnp.arange(n) == catcher)
    of_others = jnp.where(fetches, _run_to(seen, jnp.broadcast_to(point[None], (n, 2))), waits)

    direction = jnp.where(seen.owns, of_owner, of_others)
    starts = seen.owns & ~seen.is_busy & (kick > 0)
    return jnp.where(starts, kick, _held(seen, direction)).astype(jnp.int32)


def _solo(plan: Plan, timestep: TimeStep) -> Array:
    """[N] int32: the owner sprints straight ahead and shoots from near; nobody passes, the others wait."""
    seen = read(plan, timestep.state)
    near = _distance(seen.place - jnp.array([[GOAL_X, 0.0]], jnp.float32)) < _SHOT_RANGE
    starts = seen.owns & ~seen.is_busy & near
    catcher, point = _meeting(seen)
    fetches = seen.is_free & (jnp.arange(plan.n_agents) == catcher)
    met = _run_to(seen, jnp.broadcast_to(point[None], seen.place.shape))
    direction = jnp.where(seen.owns, 5, jnp.where(fetches, met, 0))
    return jnp.where(starts, SHOT, _held(seen, direction)).astype(jnp.int32)


def _distance(offset: Array) -> Array:
    """[*] of [*, 2]."""
    return jnp.sqrt((offset * offset).sum(-1) + 1e-9)


def _unit(offset: Array) -> Array:
    return offset / _distance(offset)[..., None]


def _nearest_direction(way: Array) -> Array:
    """[N] int32: the action 1 to 8 nearest to the vectors `way` [N, 2]."""
    return 1 + (way @ DIRECTIONS.T).argmax(-1).astype(jnp.int32)


def _held(seen: Seen, direction: Array) -> Array:
    """[N] int32: the action that makes an agent hold `direction` (0: none), then sprint; idle if it does both."""
    held = jnp.where(seen.held.any(-1), 1 + seen.held.argmax(-1).astype(jnp.int32), 0)
    turn = jnp.where(direction == 0, RELEASE_DIRECTION, direction)
    return jnp.where(held != direction, turn, jnp.where(seen.sprints, 0, SPRINT))


def _run_to(seen: Seen, point: Array) -> Array:
    """[N] int32: the direction to hold, 0 within a meter of where the agent will be."""
    offset = point - (seen.place + 0.15 * seen.velocity)
    return jnp.where(_distance(offset) < 1.0, 0, _nearest_direction(offset))


def _posts(seen: Seen) -> Array:
    """[N, 2]: where agents wait for a pass: a little ahead of the ball, in the nearest of three lanes."""
    y = seen.place[:, 1]
    lane = jnp.where(jnp.abs(y) < _LANE / 2, 0.0, jnp.sign(y) * _LANE)
    x = jnp.clip(seen.ball[0] + 3.0, 44.0, 47.5)
    return jnp.stack([jnp.broadcast_to(x, lane.shape), lane], 1)


def _mates(seen: Seen) -> tuple[Array, Array, Array]:
    """[N] each: the teammate farthest from all opponents among those with a clear lane (otherwise among all), whether
    its lane is clear, and whether there is one.
    """
    n = seen.place.shape[0]
    way = seen.place[None] - seen.place[:, None]  # [from, to, 2]
    square = (way * way).sum(-1)
    off = seen.foes[None] - seen.place[:, None]  # [from, R, 2]
    share = (off[:, None] * way[:, :, None]).sum(-1) / jnp.maximum(square, 1e-6)[:, :, None]
    nearest = off[:, None] - jnp.clip(share, 0.0, 1.0)[..., None] * way[:, :, None]
    is_clear = (_distance(nearest) > _CLEAR).all(-1)  # [from, to]
    freedom = _distance(seen.place[:, None] - seen.foes[None]).min(1)
    is_other = ~jnp.eye(n, dtype=bool)
    value = jnp.where(is_other, freedom[None] + jnp.where(is_clear, 100.0, 0.0), -1.0)
    mate = value.argmax(1)
    return mate, jnp.take_along_axis(is_clear, mate[:, None], 1)[:, 0], is_other.any(1)


def _corner(seen: Seen) -> Array:
    """[N] int32: the direction whose shot goes nearest to 2.5 m from the middle, on the side where the keeper is not."""
    x, y = seen.place[:, 0:1], seen.place[:, 1:2]
    ways = jnp.asarray(DIRECTIONS)
    aims = shot_target(x, y, jnp.ones_like(x), (ways[None, :, 0], ways[None, :, 1]))  # [N, 8]
    wish = jnp.where(seen.foes[0, 1] > 0, -2.5, 2.5)
    return 1 + jnp.abs(aims - wish).argmin(-1).astype(jnp.int32)


def _meeting(seen: Seen) -> tuple[Array, Array]:
    """The agent that meets the free ball first, and where, [2]."""
    speed = _distance(seen.flight)
    times = jnp.array(TIMES, jnp.float32)
    path = jnp.log(1.0 + 0.055 * speed * times) / 0.055
    points = seen.ball[None] + (seen.flight / speed)[None] * path[:, None]  # [8, 2]
    distance = _distance(points[None] - (seen.place + 0.1 * seen.velocity)[:, None])  # [N, 8]
    is_there = distance <= _TOP_SPEED * times[None] + 0.5
    first = jnp.where(is_there.any(1), is_there.argmax(1), len(TIMES) - 1)
    reached = jnp.take_along_axis(distance, first[:, None], 1)[:, 0]
    cost = times[first] + 0.01 * reached + jnp.where(is_there.any(1), 0.0, 10.0)
    agent = cost.argmin()
    return agent, points[first[agent]]
