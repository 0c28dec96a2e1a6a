"""Restarts in matches: in place where the ball went out, at the middle after goals; no set pieces."""

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._plan import CONCEDED, FREE, GOAL, RUNNING, Plan
from jaxmarl_envs.football._state import Game, length, smallest

_AWAY = 5.0
"""Meters that others keep from the ball."""


def restarted(plan: Plan, game: Game, p: FootballParams) -> Game:
    """The game with the ball in play again, if it was not; `over` is reset."""
    is_goal = (game.over == GOAL) | (game.over == CONCEDED)
    by_left = jnp.where(is_goal, game.over == CONCEDED, game.last >= plan.n_left)
    at_x = jnp.where(is_goal, 0.0, jnp.clip(game.ball[0:1], -54.5, 54.5))
    at_y = jnp.where(is_goal, 0.0, jnp.clip(game.ball[1:2], -35.5, 35.5))
    lined_up = game.replace(x=jnp.where(is_goal, p.start[:, 0], game.x), y=jnp.where(is_goal, p.start[:, 1], game.y))
    after = kicked_off(plan, lined_up, at_x, at_y, by_left)
    is_running = game.over == RUNNING
    changes = {
        name: jnp.where(is_running, getattr(game, name), getattr(after, name))
        for name in ("x", "y", "vx", "vy", "hx", "ball", "hy", "owner", "last", "lock", "kind", "timer", "over")
    }
    return game.replace(**changes)


def kicked_off(plan: Plan, game: Game, at_x: Array, at_y: Array, by_left: Array) -> Game:
    """The game with the ball at a point [1, E], owned by the nearest player of a team, and all others away from it."""
    off_x, off_y = game.x - at_x, game.y - at_y
    distance = length(off_x, off_y)
    taker, _ = smallest(jnp.where(plan.is_left == by_left, distance, 1e6), plan.numbers)
    is_apart = distance > 1e-3
    way_x = jnp.where(is_apart, off_x / distance, -plan.attack)
    way_y = jnp.where(is_apart, off_y / distance, 0.0)
    far = jnp.maximum(distance, _AWAY)
    x = jnp.where(taker, at_x - 0.34 * plan.attack, jnp.clip(at_x + way_x * far, -57.0, 57.0))
    y = jnp.where(taker, at_y, jnp.clip(at_y + way_y * far, -38.0, 38.0))
    zero = jnp.zeros_like(x)
    number = jnp.where(taker, plan.numbers, 0).sum(0, keepdims=True, dtype=jnp.int32)
    none = jnp.zeros_like(at_x)
    return game.replace(
        x=x,
        y=y,
        vx=zero,
        vy=zero,
        hx=jnp.broadcast_to(plan.attack, x.shape),
        hy=zero,
        ball=jnp.concatenate([at_x, at_y, none + 0.11, none, none, none]),
        owner=number,
        last=number,
        lock=jnp.full_like(game.lock, plan.duration(0.5)),
        kind=jnp.full_like(game.kind, FREE),
        timer=jnp.zeros_like(game.timer),
        over=jnp.zeros_like(game.over),
    )
