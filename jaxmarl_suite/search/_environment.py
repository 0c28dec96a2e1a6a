"""Environments of the suite as perfect models: the search simulates the task itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import Environment, TimeStep, documented

from jaxmarl_suite.search._checks import check_count, check_number
from jaxmarl_suite.search._model import Model, Prediction, Root, check_discrete

Evaluator = Callable[[Any, jax.Array, Any, TimeStep], tuple[jax.Array, jax.Array]]
"""`(params, key, state, timestep) -> (logits [N, A], value [])` for one instance: a policy and a state value. Consumes
the key. The model masks illegal actions."""


@documented
class WorldParams(NamedTuple):
    """Parameters of an `environment_model`."""

    env: Any
    """Parameters of the environment: its `default_params`, or others."""
    evaluator: Any = ()
    """Parameters of the evaluator, e.g. of a network."""


@documented
class World(NamedTuple):
    """Inputs and embeddings of an `environment_model`: the states of B episodes."""

    state: Any
    """Leaves [B, ...], states of the environment."""
    timestep: TimeStep
    """Leaves [B, ...], current timesteps."""


class _Visited(NamedTuple):
    """A state in a search."""

    state: Any
    is_over: jax.Array  # [B] bool


def environment_model(env: Environment, evaluator: Evaluator | None = None, discount: jax.Array | float = 1.0) -> Model:
    """The environment as a model: the result of a joint action is that of the environment's `step`.

    Rewards are means over agents. After an episode's end, by termination or truncation, rewards are zero. Joint
    actions that the mask forbids are not searched. The search sees the whole state, including what agents do not
    observe and random keys in the state that determine later randomness. If outcomes are random in the key passed to
    `step`, a child of the tree represents one sample.

    Args:
      env: a task with discrete actions.
      evaluator: policies and values at the leaves; uniform policies and zeros by default.
      discount: γ of one step. May be traced.

    Returns:
      A model whose `params` are `WorldParams`, and whose `inputs` are a `World`.

    Raises:
      ValueError: continuous actions, or a discount outside [0, 1].
    """
    spec = env.spec
    check_discrete(spec)
    check_number("discount", discount, "lie between 0 and 1", lambda x: 0 <= x <= 1)
    evaluate = evaluator or uniform_evaluator

    def assess(params: WorldParams, key: jax.Array, state: Any, timestep: TimeStep) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, timestep.reward.shape[0])
        logits, value = jax.vmap(evaluate, in_axes=(None, 0, 0, 0))(params.evaluator, keys, state, timestep)
        return jnp.where(timestep.action_mask, logits, jnp.finfo(logits.dtype).min), value

    def root(params: WorldParams, key: jax.Array, inputs: World) -> Root:
        logits, value = assess(params, key, inputs.state, inputs.timestep)
        return Root(logits, value, _Visited(inputs.state, inputs.timestep.done), inputs.timestep.action_mask)

    def recurrent(
        params: WorldParams, key: jax.Array, actions: jax.Array, embedding: _Visited
    ) -> tuple[Prediction, _Visited]:
        step_key, assess_key = jax.random.split(key)
        keys = jax.random.split(step_key, actions.shape[0])
        step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
        state, timestep = step(keys, embedding.state, actions, params.env)
        was_over, is_over = embedding.is_over, embedding.is_over | timestep.done
        logits, value = assess(params, assess_key, state, timestep)
        prediction = Prediction(
            reward=jnp.where(was_over, 0.0, timestep.reward.mean(-1)),
            discount=jnp.where(is_over, 0.0, discount),
            logits=logits,
            value=jnp.where(is_over, 0.0, value),
        )
        return prediction, _Visited(state, is_over)

    return Model(spec.n_agents, spec.num_actions, root, recurrent)


def uniform_evaluator(params: Any, key: jax.Array, state: Any, timestep: TimeStep) -> tuple[jax.Array, jax.Array]:
    """Uniform policies and a value of 0: the search is guided only by rewards."""
    return jnp.zeros(timestep.action_mask.shape, jnp.float32), jnp.zeros((), jnp.float32)


def rollout_evaluator(env: Environment, num_steps: int, discount: float = 1.0) -> Evaluator:
    """Uniform policies, and as value the return of one episode of uniformly random legal actions from the state.

    The evaluator's parameters are the environment's: `WorldParams(env.default_params, env.default_params)`.

    Args:
      env: the task.
      num_steps: number of steps after which a rollout is cut, if it has not ended.
      discount: γ of one step.

    Raises:
      ValueError: continuous actions, or numbers out of range.
    """
    check_discrete(env.spec)
    check_count("num_steps", num_steps)
    check_number("discount", discount, "lie between 0 and 1", lambda x: 0 <= x <= 1)

    def evaluate(params: Any, key: jax.Array, state: Any, timestep: TimeStep) -> tuple[jax.Array, jax.Array]:
        def step(carry: tuple[Any, ...], key: jax.Array) -> tuple[tuple[Any, ...], None]:
            state, mask, weight, total = carry
            action_key, step_key = jax.random.split(key)
            action = jax.random.categorical(action_key, jnp.where(mask, 0.0, -jnp.inf)).astype(jnp.int32)
            state, timestep = env.step(step_key, state, action, params)
            total = total + jnp.where(weight > 0, weight * timestep.reward.mean(), 0.0)
            weight = jnp.where(timestep.done, 0.0, weight * discount)
            return (state, timestep.action_mask, weight, total), None

        zero = jnp.zeros((), jnp.float32)
        start = (state, timestep.action_mask, zero + 1.0, zero)
        (_, _, _, total), _ = jax.lax.scan(step, start, jax.random.split(key, num_steps))
        return jnp.zeros(timestep.action_mask.shape, jnp.float32), total

    return evaluate
