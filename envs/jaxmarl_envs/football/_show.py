"""Observations, action masks and the global state of a game, on arrays [.., E]."""

import jax.numpy as jnp
from jax import Array

from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._plan import (
    FREE,
    LONG,
    NUM_ACTIONS,
    SHOT,
    SLIDE,
    STUNNED,
    Plan,
)  # fmt: skip
from jaxmarl_envs.football._scenarios import BALL_UNITS
from jaxmarl_envs.football._state import Game

STEP = 0.1
"""Seconds in a step: directions are observed per step."""
SIMPLE_PLAYERS = 11
"""Players of a team in the layout "simple115"."""
_X, _Y = (float(1 / unit) for unit in BALL_UNITS)
FASTER, FASTER_BALL = 50.0, 20.0
"""Factors of the directions of players and ball in the layout "rich"."""


def obs_size(plan: Plan) -> int:
    """Size of an observation."""
    if plan.obs == "simple115":
        return 115
    n, r = plan.n_agents, plan.n_right
    return 4 * n + 4 * r + 6 + (18 + n if plan.obs == "rich" else 0)


def state_size(plan: Plan) -> int:
    """Size of the global state."""
    n, r = plan.n_agents, plan.n_right
    return 4 * n + 4 * r + 6 + (0 if plan.obs == "cds" else 15 * n + 4 + 3)


def legal_actions(plan: Plan, game: Game) -> Array:
    """[19, n, E] bool: the actions that would change something or begin an act; idle always."""
    agents = slice(plan.first_agent, plan.n_left)
    is_free = game.kind[agents] == FREE
    owns = plan.numbers[agents] == game.owner
    none = game.direction == 0
    right_last = game.last >= plan.n_left
    rows = [jnp.ones_like(none), *(game.direction != k for k in range(1, 9))]
    rows += [owns & is_free] * 4
    rows += [~game.sprints, ~none, game.sprints, ~owns & is_free & right_last, ~game.dribbles, game.dribbles]
    return jnp.stack(rows)


def action_mask(plan: Plan, game: Game) -> Array:
    """[19, n, E] bool: the mask that is shown."""
    if plan.mask == "none":
        return jnp.ones((NUM_ACTIONS, *game.direction.shape), bool)
    return legal_actions(plan, game)


def observations(plan: Plan, game: Game, p: FootballParams) -> Array:
    """[D, n, E] float32."""
    return _simple(plan, game) if plan.obs == "simple115" else _relative(plan, game, p)


def _positions(game: Game, of: slice) -> Array:
    """[2, k, E] shown positions."""
    return jnp.stack([game.x[of] * _X, game.y[of] * _Y])


def _velocities(game: Game, of: slice, scale: float) -> Array:
    """[2, k, E] displacements per step in shown units, times `scale`."""
    return jnp.stack([game.vx[of] * (_X * STEP * scale), game.vy[of] * (_Y * STEP * scale)])


def _scales(plan: Plan) -> tuple[float, float]:
    """Factors of the directions of players and of the ball."""
    return (1.0, 1.0) if plan.obs == "cds" else (FASTER, FASTER_BALL)


def _ball(game: Game, scale: float) -> Array:
    """[6, 1, E] x, y, z and direction."""
    ball = game.ball[:, None]
    flat = STEP * scale
    return jnp.concatenate(
        [
            ball[0:1] * _X,
            ball[1:2] * _Y,
            ball[2:3],
            ball[3:4] * (_X * flat),
            ball[4:5] * (_Y * flat),
            ball[5:6] * STEP,
        ]
    )


def _flat(x: Array) -> Array:
    """[2 k, n or 1, E] of [2, k, n or 1, E]: x and y of the first player, then of the second, ..."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _others(x: Array, n: int) -> Array:
    """[F, n - 1, n, E]: rows of the other agents for each agent, of `x` [F, n, 1, E]."""
    is_before = (jnp.arange(n - 1, dtype=jnp.int32)[:, None] < jnp.arange(n, dtype=jnp.int32)[None])[None, :, :, None]
    return jnp.where(is_before, x[:, : n - 1], x[:, 1:])


def _relative(plan: Plan, game: Game, p: FootballParams) -> Array:
    """The layouts "cds" and "rich"."""
    n, agents, right = plan.n_agents, slice(plan.first_agent, plan.n_left), slice(plan.n_left, None)
    scale, ball_scale = _scales(plan)
    own, foes = _positions(game, agents), _positions(game, right)
    runs, foe_runs = _velocities(game, agents, scale), _velocities(game, right, scale)
    ball = _ball(game, ball_scale)
    shape = (n, own.shape[-1])

    def each(x: Array) -> Array:
        """[F, n, E] of what all agents see alike, [F, 1, E]."""
        return jnp.broadcast_to(x, (x.shape[0], *shape))

    parts = [own]
    if n > 1:
        parts.append(_flat(_others(own[:, :, None], n) - own[:, None]))
    parts.append(runs)
    if n > 1:
        parts.append(_flat(_others(runs[:, :, None], n)))
    parts += [_flat(foes[:, :, None] - own[:, None]), each(_flat(foe_runs[:, :, None]))]
    parts += [ball[:2] - own, each(ball[2:])]
    if plan.obs == "rich":
        parts += [_held(game), _acts(plan, game), each(_possession(plan, game)), _owners(plan, game)]
        if n > 1:
            parts.append(_others(_owners(plan, game)[:, :, None], n)[0])
        parts.append(each(_time(game, p)))
    return jnp.concatenate(parts)


def _held(game: Game) -> Array:
    """[10, n, E]: held direction one-hot, sprint, dribble."""
    rows = [game.direction == k for k in range(1, 9)]
    return jnp.stack([*rows, game.sprints, game.dribbles]).astype(jnp.float32)


def _acts(plan: Plan, game: Game) -> Array:
    """[4, n, E]: time left in seconds, shot, pass, slide or pause."""
    agents = slice(plan.first_agent, plan.n_left)
    kind, timer = game.kind[agents], game.timer[agents]
    flags = [kind == SHOT, (kind >= LONG) & (kind < SHOT), (kind == SLIDE) | (kind == STUNNED)]
    return jnp.stack([timer.astype(jnp.float32) * plan.dt, *(flag.astype(jnp.float32) for flag in flags)])


def _possession(plan: Plan, game: Game) -> Array:
    """[3, 1, E]: nobody, left, right."""
    nobody, right = game.owner < 0, game.owner >= plan.n_left
    return jnp.stack([nobody, ~nobody & ~right, right]).astype(jnp.float32)


def _owners(plan: Plan, game: Game) -> Array:
    """[1, n, E]: whether each agent owns the ball."""
    return (plan.numbers[plan.first_agent : plan.n_left] == game.owner).astype(jnp.float32)[None]


def _time(game: Game, p: FootballParams) -> Array:
    """[1, 1, E]: share of the time limit."""
    return (game.t.astype(jnp.float32) / p.limit)[None]


def _simple(plan: Plan, game: Game) -> Array:
    """The layout "simple115" of Google Research Football, version 2."""
    left, right = slice(None, plan.n_left), slice(plan.n_left, None)
    missing = -1.0

    def filled(x: Array) -> Array:
        """[22, 1, E] of [2, k, E]."""
        rows = _flat(x[:, :, None])
        return jnp.pad(rows, ((0, 2 * SIMPLE_PLAYERS - rows.shape[0]), (0, 0), (0, 0)), constant_values=missing)

    parts = [filled(part) for side in (left, right) for part in (_positions(game, side), _velocities(game, side, 1.0))]
    parts += [_ball(game, 1.0), _possession(plan, game)]
    n, size = game.direction.shape
    shared = jnp.broadcast_to(jnp.concatenate(parts), (97, n, size))
    number = jnp.arange(SIMPLE_PLAYERS, dtype=jnp.int32)[:, None, None]
    active = number == plan.numbers[plan.first_agent : plan.n_left][None]
    mode = jnp.arange(7, dtype=jnp.int32)[:, None, None] == 0
    whole = [jnp.broadcast_to(part, (len(part), n, size)).astype(jnp.float32) for part in (active, mode)]
    return jnp.concatenate([shared, *whole])


def global_state(plan: Plan, game: Game, p: FootballParams) -> Array:
    """[G, E] float32: agents' positions and directions, then the right team's, then the ball; more for "rich"."""
    agents, right = slice(plan.first_agent, plan.n_left), slice(plan.n_left, None)
    scale, ball_scale = _scales(plan)
    parts = [
        _flat(part[:, :, None])
        for side in (agents, right)
        for part in (_positions(game, side), _velocities(game, side, scale))
    ]
    parts.append(_ball(game, ball_scale))
    if plan.obs != "cds":
        by_agent = [jnp.swapaxes(x, 0, 1).reshape(-1, 1, x.shape[-1]) for x in (_held(game), _acts(plan, game))]
        parts += [*by_agent, _possession(plan, game), jnp.swapaxes(_owners(plan, game), 0, 1), _time(game, p)]
        clocks = [game.lock, jnp.minimum(game.since, plan.duration(2.0)), game.beaten]
        parts.append(jnp.stack(clocks).astype(jnp.float32) * plan.dt)
    return jnp.concatenate(parts)[:, 0]


def is_legal(plan: Plan, game: Game, action: Array) -> Array:
    """[n, E] bool: whether an action changes something; others count as idle."""
    legal = legal_actions(plan, game)
    number = jnp.arange(NUM_ACTIONS, dtype=jnp.int32)[:, None, None]
    return (legal & (number == action[None])).any(0)
