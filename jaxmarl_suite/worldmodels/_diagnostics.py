"""How good a world model is: drift over steps without correction, and the effects of single agents' actions.

Axes: M samples, T steps, H history, G entries of the state, N agents, X entries of an encoded action.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.worldmodels._model import WorldModel, WorldParams, encode_actions

MOVES = 1e-3
"""Entries of the state whose standard deviation is smaller have no part in errors."""


@documented
class Drift(NamedTuple):
    """Predictions without correction from the first H true states on, with the true actions."""

    predicted: jax.Array
    """[M, T, G] in the task's units."""
    error: jax.Array
    """[M, T, G] absolute difference from the true states, in standard deviations; 0 for entries that never vary."""


def open_loop(model: WorldModel, params: WorldParams, key: jax.Array, states: jax.Array, actions: jax.Array) -> Drift:
    """DIMA's protocol: true actions, and predictions fed back for T steps.

    Args:
      model: of the task.
      params: of the model.
      key: consumed.
      states: [M, H + T, G] true states of one episode each, in the task's units.
      actions: [M, H + T - 1, N, X] encoded joint actions between them.

    Raises:
      ValueError: fewer states than the model's history and one more.
    """
    history = model.states.history
    steps = states.shape[1] - history
    if steps < 1:
        raise ValueError(
            f"an open loop needs more than the {history} states of the model's history, got {states.shape[1]}"
        )
    true = params.normalizer.normalize(states)

    def one(key: jax.Array, first: jax.Array, actions: jax.Array) -> jax.Array:
        def step(known: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            t, key = inputs
            shown = jax.lax.dynamic_slice_in_dim(actions, t, history, axis=0)
            following = model.states.predict(params.states, key, known, shown)
            return jnp.concatenate([known[1:], following[None]]), following

        inputs = (jnp.arange(steps, dtype=jnp.int32), jax.random.split(key, steps))
        return jax.lax.scan(step, first, inputs)[1]

    found = jax.vmap(one)(jax.random.split(key, states.shape[0]), true[:, :history], actions)
    moves = jnp.broadcast_to(params.normalizer.std > MOVES, found.shape)
    error = jnp.where(moves, jnp.abs(found - true[:, history:]), 0.0)
    return Drift(params.normalizer.denormalize(found), error)


def action_gains(
    model: WorldModel,
    params: WorldParams,
    key: jax.Array,
    *,
    states: jax.Array,
    past: jax.Array,
    action: jax.Array,
    simulate: Callable[[jax.Array], jax.Array],
    change: float = 0.1,
) -> jax.Array:
    """[N] the part of the effect of each agent's action that the model reproduces: 1 is all of it, 0 none.

    Central differences along one random direction per sample, with the same noise on both sides, projected on the same
    differences of the task.

    Args:
      model: of a task with continuous actions.
      params: of the model.
      key: consumed.
      states: [M, H, G] states in the task's units; the last is the current one.
      past: [M, H - 1, N, X] encoded joint actions in between.
      action: [M, N, D] current joint actions, as the task takes them, away from their bounds.
      simulate: `actions [M, N, D] -> next states [M, G]` of the task, with the same randomness in every call.
      change: how far an action is moved to either side, in units of the action.

    Raises:
      ValueError: discrete actions.
    """
    if model.spec.is_discrete:
        raise ValueError(f"gains are measured along continuous actions, but those of {model.spec.id!r} are discrete")
    direction_key, noise_key = jax.random.split(key)
    known = params.normalizer.normalize(states)
    keys = jax.random.split(noise_key, states.shape[0])
    direction = jnp.sign(jax.random.normal(direction_key, action.shape, jnp.float32))
    scale = jnp.where(params.normalizer.std > MOVES, 1.0 / params.normalizer.std, 0.0)

    def predicted(action: jax.Array) -> jax.Array:
        encoded = jnp.concatenate([past, encode_actions(model.spec, action)[:, None]], axis=1)
        found = jax.vmap(model.states.predict, (None, 0, 0, 0))(params.states, keys, known, encoded)
        return params.normalizer.denormalize(found)

    def gain(agent: jax.Array) -> jax.Array:
        is_own = jnp.arange(action.shape[1], dtype=jnp.int32) == agent
        moved = jnp.where(is_own[None, :, None], change * direction, 0.0)
        in_model, in_task = ((f(action + moved) - f(action - moved)) * scale[None] for f in (predicted, simulate))
        return jnp.sum(in_model * in_task) / jnp.maximum(jnp.sum(jnp.square(in_task)), 1e-12)

    return jax.lax.map(gain, jnp.arange(action.shape[1], dtype=jnp.int32))
