"""Returns and advantage estimators. All work on [T, ...] with time first; trailing axes are batch axes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented


@documented
class NStepReturn(NamedTuple):
    """The sum of rewards along up to n steps, and the discount of the value estimate after them."""

    rewards: jax.Array  # [...] discounted sum
    discount: jax.Array  # [...] of the value of the observation after step `last`; 0 after termination
    last: jax.Array  # [...] int32 in 0..n-1, the step at which the sum stops


def n_step_return(
    reward: jax.Array, terminated: jax.Array, is_last: jax.Array, *, gamma: jax.Array | float
) -> NStepReturn:
    """Rewards of the first n steps of a sequence, stopping early at the end of an episode (Sutton 1988; Watkins 1989).

        h = the first step with is_last, n - 1 if there is none
        R = Σ_{i ≤ h} γ^i r_i,    discount = γ^{h+1} (1 - terminated_h),    target = R + discount · V(observation after
        step h)

    Args:
      reward: [n, ...] float32.
      terminated: [n, ...] bool: nothing follows.
      is_last: [n, ...] bool: the next stored step does not follow this one (a time limit, the end of the stored data).
        Terminated steps are always last.
      gamma: discount of one step.
    """
    n = reward.shape[0]
    over = (terminated | is_last).astype(jnp.int32)
    counts = jnp.cumsum(over, axis=0) - over == 0  # no end before this step
    powers = jnp.power(jnp.asarray(gamma, reward.dtype), jnp.arange(n + 1, dtype=reward.dtype))
    by_time = (n,) + (1,) * (reward.ndim - 1)
    last = jnp.sum(counts, axis=0, dtype=jnp.int32) - 1
    ended = jnp.any(terminated & counts, axis=0)
    return NStepReturn(
        rewards=jnp.sum(powers[:n].reshape(by_time) * jnp.where(counts, reward, 0.0), axis=0),
        discount=jnp.where(ended, 0.0, powers[last + 1]),
        last=last,
    )


def generalized_advantage(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """Generalized advantages, with bootstrapping at time limits (Schulman et al. 2016, eq. 16).

        δ_t = r_t + γ (1 - terminated_t) v'_t - v_t A_t = δ_t + γ λ (1 - terminated_t) (1 - truncated_t) A_{t+1}

    Args:
      reward: [T, ...] float32.
      value: [T, ...] v_t, the value of the observation before step t.
      next_value: [T, ...] v'_t, the value of the observation after step t, before any reset.
      terminated: [T, ...] bool: nothing follows.
      truncated: [T, ...] bool: cut by a time limit; v'_t still counts, A_{t+1} belongs to another episode.
      gamma: discount of one environment step.
      lambda_: trace decay of one environment step.

    Returns:
      [T, ...] advantages; `advantage + value` are the value targets.
    """
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value

    def backward(advantage: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, is_last_t = inputs
        advantage = delta_t + gamma * lambda_ * jnp.where(is_last_t, 0.0, advantage)
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, terminated | truncated), reverse=True)
    return advantages


def sequential_advantage(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """Generalized advantages on the sequential transformation Γ(M) of a multi-agent MDP.

    Micro-step (t, k) is agent k's choice in environment step t, with discount and trace decay 1 for k < N and γ, λ for
    k = N, so that neither the horizon nor the effective λ depends on N:

        δ_{t,k} = v_{t,k+1} - v_{t,k}  (k < N),   δ_{t,N} = r_t + γ (1 - terminated_t) v'_t - v_{t,N}
        A_{t,k} = δ_{t,k} + A_{t,k+1}  (k < N),   A_{t,N} = δ_{t,N} + γ λ (1 - done_t) A_{t+1,1}

    Inside one environment step the sum telescopes to A_{t,k} = A_{t,1} + v_{t,1} - v_{t,k}, where A_{t,1} is the
    ordinary estimator over environment steps. This form is used for the computation.

    Args:
      reward: [T, ...] float32, team reward.
      value: [T, ..., N] v_{t,k}, the value of (s_t, a_1..a_{k-1}).
      next_value: [T, ...] v'_t, the value of (s_{t+1}, no action yet), before any reset.
      terminated: [T, ...] bool.
      truncated: [T, ...] bool.
      gamma: discount of one environment step.
      lambda_: trace decay of one environment step.

    Returns:
      [T, ..., N] advantages; `advantage + value` are the value targets, equal for all k.
    """
    first = generalized_advantage(
        reward, value[..., 0], next_value, terminated, truncated, gamma=gamma, lambda_=lambda_
    )
    return (first + value[..., 0])[..., None] - value
