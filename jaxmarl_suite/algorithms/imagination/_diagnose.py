"""How good the model of a run is: fresh episodes of the task with its policy, beside what the model makes of them.

Axes: M samples, L steps played, H history, T predicted steps, G entries of the state, N agents.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core import ActContext
from jaxmarl_suite.algorithms.imagination._config import ImaginationConfig
from jaxmarl_suite.algorithms.imagination._core import Imagination, ImaginationState, make_imagination
from jaxmarl_suite.worldmodels import action_gains, encode_actions, open_loop

LONGEST = 200
"""Most steps that are played to find places where the model is tested."""
CHANGE = 0.1
"""How far actions are moved to measure their effects, in units of half their range."""


@pytree_dataclass
class ModelQuality:
    """A world model beside its task. Samples whose episodes were too short have weight 0."""

    true: jax.Array  # [M, H + T, G] states of the task
    predicted: jax.Array  # [M, T, G] of the model, from the first H true ones and the true actions
    error: jax.Array  # [M, T, G] absolute differences in standard deviations
    gains: (
        jax.Array
    )  # [N] part of the effect of each agent's action that the model reproduces; [0] for discrete actions
    weight: jax.Array  # [M] float32, 1 or 0


def diagnose(
    config: ImaginationConfig,
    env: Environment,
    state: ImaginationState,
    ctx: ActContext,
    key: jax.Array,
    *,
    samples: int = 20,
    steps: int = 15,
) -> ModelQuality:
    """Tests the model of a learner's state: DIMA's protocol of open loops, and the effects of single actions.

    Args:
      config: of the run.
      env: the task.
      state: of the learner.
      ctx: of the run's policy.
      key: consumed.
      samples: M, each from another episode.
      steps: T.

    Raises:
      ValueError: sizes below 1, or episodes too short for H + T steps.
    """
    if min(samples, steps) < 1:
        raise ValueError(f"samples and steps must be at least 1, got {samples} and {steps}")
    needed, limit = config.history + steps, env.spec.episode_limit
    if limit is not None and needed - 1 > limit:
        raise ValueError(
            f"{steps} steps after a history of {config.history} do not fit into episodes of {env.spec.id!r}, which have "
            f"at most {limit} steps; accepted: up to {limit - config.history + 1}"
        )
    learner = make_imagination(config, env)
    play_key, place_key, loop_key, gain_key = jax.random.split(key, 4)
    played = _play(learner, state, ctx, play_key, samples, max(min(limit or LONGEST, LONGEST), needed - 1))
    first, weight = _places(place_key, played, needed - 1)

    def cut(x: jax.Array, length: int, offset: int = 0) -> jax.Array:
        """[M, length, ...] from [L, M, ...], from the sampled places on."""
        one = jax.vmap(lambda x, first: jax.lax.dynamic_slice_in_dim(x, first + offset, length), (1, 0))
        return one(x, first)

    before, after, actions, inner = played[:4]
    true = jnp.concatenate([cut(before, needed - 1), cut(after, 1, needed - 2)], axis=1)
    encoded = encode_actions(env.spec, cut(actions, needed - 1))
    params, history = state.world.params, config.history
    drift = open_loop(learner.model, params, loop_key, true, encoded)
    gains = jnp.zeros((0,), jnp.float32)
    if not env.spec.is_discrete:
        now = jax.tree.map(lambda x: cut(x, 1, history - 1)[:, 0], inner)
        gains = _gains(learner, params, ctx, gain_key, now, true, encoded, cut(actions, 1, history - 1)[:, 0])
    return ModelQuality(true, drift.predicted, drift.error, gains, weight)


def _play(
    learner: Imagination, state: ImaginationState, ctx: ActContext, key: jax.Array, number: int, length: int
) -> Any:
    """`(states before, states after, actions, inner states, done)`, [L, M, ...] each, with sampled actions."""
    games, policy = VectorEnv(learner.env.env, number), learner.ppo.policy
    reset_key, key = jax.random.split(key)

    def step(carry: tuple[VectorState, Any], key: jax.Array) -> Any:
        state_now, memory = carry
        act_key, step_key = jax.random.split(key)
        action, memory, _ = learner.ppo.act(state.learners.actor.params, memory, state_now.timestep, act_key)
        following = games.step(step_key, state_now, action, ctx.env_params)
        after = following.timestep
        return (following, memory), (state_now.timestep.state, after.final_state, action, state_now.inner, after.done)

    start = (games.reset(reset_key, ctx.env_params), policy.initial_carry(number))
    return jax.lax.scan(step, start, jax.random.split(key, length))[1]


def _places(key: jax.Array, played: Any, length: int) -> tuple[jax.Array, jax.Array]:
    """`(first [M], weight [M])`: a random place in each environment from which `length` steps are of one episode."""
    done = played[-1]  # [L, M]; the last of the steps may end the episode
    ends = jnp.cumsum(done.astype(jnp.int32), axis=0) - done.astype(jnp.int32)  # before each step
    number = done.shape[0] - length + 1
    is_whole = ends[:number] == ends[length - 1 :][:number]
    score = jnp.where(is_whole, jax.random.uniform(key, is_whole.shape, jnp.float32), -1.0)
    return jnp.argmax(score, axis=0).astype(jnp.int32), is_whole.any(axis=0).astype(jnp.float32)


def _gains(
    learner: Imagination,
    params: Any,
    ctx: ActContext,
    key: jax.Array,
    inner: Any,
    true: jax.Array,
    encoded: jax.Array,
    action: jax.Array,
) -> jax.Array:
    env, history = learner.env.env, learner.config.history
    low, high = env.spec.action_bounds
    half = (high - low) / 2 if math.isfinite(high - low) else 1.0
    action = jnp.clip(action, low + CHANGE * half, high - CHANGE * half)
    step_key, gain_key = jax.random.split(key)
    keys = jax.random.split(step_key, action.shape[0])

    def simulate(action: jax.Array) -> jax.Array:
        return jax.vmap(env.step, (0, 0, 0, None))(keys, inner, action, ctx.env_params)[1].final_state

    return action_gains(
        learner.model,
        params,
        gain_key,
        states=true[:, :history],
        past=encoded[:, : history - 1],
        action=action,
        simulate=simulate,
        change=CHANGE * half,
    )
