"""Rollouts: the one loop over time in which policies act in environments."""

from collections.abc import Callable
from typing import Any

import jax
from jaxmarl_envs import TimeStep, VectorEnv, VectorState, pytree_dataclass

Carry = Any
ActInRollout = Callable[[Carry, TimeStep, jax.Array], tuple[jax.Array, Carry, Any]]
"""`(carry, timestep [E, ...], key) -> (action for the environments [E, N, ...], carry, record)`. Consumes the key."""


@pytree_dataclass
class Transitions:
    """T steps of E environments."""

    timestep: TimeStep  # [T, E, ...] before the step; `done` marks the first step of an episode
    record: Any  # [T, E, ...] from the acting function: actions as sampled, log-probabilities, carries
    next_timestep: TimeStep  # [T, E, ...] after the step; `final_obs` and the like are from before any restart


def rollout(
    env: VectorEnv,
    act: ActInRollout,
    state: VectorState,
    carry: Carry,
    key: jax.Array,
    env_params: Any,
    length: int,
) -> tuple[VectorState, Carry, Transitions]:
    """Plays `length` steps of all environments; returns `(state, carry, transitions)`.

    Args:
      env: a batch of environments, or a learned model with the same interface.
      act: the policy, with its parameters.
      state: states of the environments, [E, ...].
      carry: what `act` carries from step to step, such as recurrent state.
      key: consumed.
      env_params: parameters of one environment, shared by the batch: payoffs, or weights of a learned model.
      length: T.
    """

    def step(carried: tuple[VectorState, Carry], key: jax.Array) -> tuple[tuple[VectorState, Carry], Transitions]:
        state, carry = carried
        act_key, step_key = jax.random.split(key)
        action, carry, record = act(carry, state.timestep, act_key)
        new_state = env.step(step_key, state, action, env_params)
        return (new_state, carry), Transitions(state.timestep, record, new_state.timestep)

    (state, carry), transitions = jax.lax.scan(step, (state, carry), jax.random.split(key, length))
    return state, carry, transitions
