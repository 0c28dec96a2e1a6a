"""Observations of jumanji's environments, and how their episodes end."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._from_jumanji import JumanjiReading

Array = jax.Array
DIRTY, CLEAN, WALL = 0, 1, 2  # of Cleaner's grid
ROBOTS = 1  # the channel of RobotWarehouse's grid with the robots' numbers, from 1


def rware(limit: int) -> JumanjiReading:
    """RobotWarehouse: own view and the time; collisions terminate, the time limit does not."""
    return JumanjiReading(limit, observe=_rware_view, is_terminal=_collision)


def lbf(limit: int) -> JumanjiReading:
    """LevelBasedForaging: own view and the time; its discounts are correct."""
    return JumanjiReading(limit, observe=_lbf_view)


def connector(limit: int) -> JumanjiReading:
    """Connector: six planes for each agent (own and others' paths, heads, targets), and the time."""
    return JumanjiReading(limit, observe=_connector_view, global_state=_connector_state)


def cleaner(limit: int) -> JumanjiReading:
    """Cleaner: five planes for each agent (dirty, clean, wall, oneself, others), and the time."""
    return JumanjiReading(limit, observe=_cleaner_view, global_state=_cleaner_state, is_terminal=_cleaned_or_invalid)


def _time(env: Any, observation: Any, rows: int) -> Array:
    """[rows, 1]: the fraction of the time limit that has passed; jumanji gives the count."""
    return jnp.full((rows, 1), observation.step_count.astype(jnp.float32) / env.time_limit)


def _rware_view(env: Any, observation: Any) -> Array:
    """[N, F + 1]: jumanji's view, whose first two numbers, the own cell, are divided by the grid's sizes; the time."""
    view = observation.agents_view.astype(jnp.float32)
    cell = view[:, :2] / jnp.array(env.grid_size, jnp.float32)
    return jnp.concatenate([cell, view[:, 2:], _time(env, observation, len(view))], axis=-1)


def _lbf_view(env: Any, observation: Any) -> Array:
    """[N, 3 * (M + N) + 1]: jumanji's view of food and players (cell and level each), and the time.

    Cells are divided by the grid's size (-1 stays: out of sight), levels by the largest one of a player.
    """
    view = observation.agents_view.astype(jnp.float32)
    things = view.reshape(len(view), -1, 3)
    cell = jnp.where(things[..., :2] < 0, -1.0, things[..., :2] / env.grid_size)
    level = things[..., 2:] / env._generator.max_agent_level
    rows = jnp.concatenate([cell, level], axis=-1).reshape(view.shape)
    return jnp.concatenate([rows, _time(env, observation, len(rows))], axis=-1)


def _collision(env: Any, state: Any, action: Array, following: Any) -> Array:
    """[] bool: two robots are in the same cell, because some robot is not the one that the grid has at its position."""
    x, y = following.agents.position.x, following.agents.position.y
    return (following.grid[ROBOTS, x, y] != env.agent_ids + 1).any()


def _connector_codes(env: Any, grid: Array) -> tuple[Array, Array]:
    """[g * g] int32 each: content of a cell (-1 nothing, 0 path, 1 head, 2 target), and the agent that it belongs to."""
    cells = grid.reshape(-1)
    return jnp.where(cells > 0, (cells - 1) % 3, -1), (cells - 1) // 3


def _connector_view(env: Any, observation: Any) -> Array:
    """[N, 6 * g * g + 1]. Only an agent's own head can be matched with its target."""
    kind, owner = _connector_codes(env, observation.grid)
    agents = jnp.arange(env.num_agents)
    own = owner[None] == agents[:, None]  # [N, g * g]
    planes = kind[None] == jnp.arange(3)[:, None]  # [3, g * g]
    mine, theirs = planes[None] & own[:, None], planes[None] & ~own[:, None]
    view = jnp.concatenate([mine, theirs], axis=1).reshape(env.num_agents, -1).astype(jnp.float32)
    return jnp.concatenate([view, _time(env, observation, env.num_agents)], axis=-1)


def _connector_state(env: Any, observation: Any) -> Array:
    """[4 * g * g + 1]: path, head and target planes, the owner's index scaled to [0, 1], and the time."""
    kind, owner = _connector_codes(env, observation.grid)
    planes = (kind[None] == jnp.arange(3)[:, None]).astype(jnp.float32).reshape(-1)
    owners = jnp.where(kind >= 0, (owner + 1) / env.num_agents, 0.0)
    return jnp.concatenate([planes, owners, _time(env, observation, 1)[0]])


def _cleaner_planes(observation: Any) -> tuple[Array, Array]:
    """[3, R * C] planes of the grid and [N, R * C] positions, float32."""
    grid = observation.grid
    kinds = jnp.array([DIRTY, CLEAN, WALL], grid.dtype)
    planes = (grid.reshape(-1)[None] == kinds[:, None]).astype(jnp.float32)
    cell = observation.agents_locations[:, 0] * grid.shape[1] + observation.agents_locations[:, 1]
    return planes, jax.nn.one_hot(cell, grid.size)


def _cleaner_view(env: Any, observation: Any) -> Array:
    """[N, 5 * R * C + 1]; the plane of the others counts them."""
    planes, positions = _cleaner_planes(observation)
    n = env.num_agents
    grid = jnp.broadcast_to(planes.reshape(1, -1), (n, planes.size))
    others = positions.sum(axis=0) - positions
    return jnp.concatenate([grid, positions, others, _time(env, observation, n)], axis=-1)


def _cleaner_state(env: Any, observation: Any) -> Array:
    """[(3 + N) * R * C + 1]."""
    planes, positions = _cleaner_planes(observation)
    return jnp.concatenate([planes.reshape(-1), positions.reshape(-1), _time(env, observation, 1)[0]])


def _cleaned_or_invalid(env: Any, state: Any, action: Array, following: Any) -> Array:
    """[] bool: everything is clean, or an agent took a forbidden action."""
    invalid = ~jnp.take_along_axis(state.action_mask, action[:, None], axis=1).all()
    return invalid | ~(following.grid == DIRTY).any()
