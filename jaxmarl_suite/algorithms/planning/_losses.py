"""The losses of a model that is unrolled along a stretch of experience. Axes as in `_parts`; H entries of a state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.algorithms.planning._parts import Batch
from jaxmarl_suite.networks import TeamModel
from jaxmarl_suite.ops import ScalarBins, weighted

_LEAST_PRIORITY = 1e-6
_LEAST_SQUARE = 1e-12
GRADIENT_SHARE = 0.5
"""Of the gradient that passes through each unrolled state."""


@pytree_dataclass
class Losses:
    """Of each stretch, summed over its steps; not weighted."""

    reward: jax.Array  # [B]
    value: jax.Array  # [B]
    policy: jax.Array  # [B]
    consistency: jax.Array  # [B]
    priority: jax.Array  # [B] |V(s_t) - z_t|, by which stretches are drawn again
    predicted_value: jax.Array  # [B] V(s_t)


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """[...] -Σ target log softmax(logits), over the last axis."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def policy_loss(logits: jax.Array, joint: jax.Array, weight: jax.Array) -> jax.Array:
    """[...] -Σ_c weight_c Σ_i log π_i(a_c,i): joint actions become likelier under policies that are independent.

    Args:
      logits: [..., N, A], not masked.
      joint: [..., K, N] int32.
      weight: [..., K]; joint actions of weight 0 may be anything.
    """
    log_policy = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_policy[..., None, :, :], joint[..., None], axis=-1)[..., 0]  # [..., K, N]
    return -jnp.sum(weighted(chosen.sum(-1), weight), axis=-1)


def similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """[...] cosine of the angle between vectors [..., H]; 0 with a vector of zeros, where gradients are finite, too."""

    def inverse_norm(x: jax.Array) -> jax.Array:
        return jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1), _LEAST_SQUARE))

    return jnp.sum(a * b, axis=-1) * inverse_norm(a) * inverse_norm(b)


def unroll(
    networks: TeamModel, params: Any, state: jax.Array, action: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`(states [U + 1, B, N, H], reward logits [U, B, R])` along actions. Consumes the key, for dropout.

    Args:
      networks: the model's.
      params: theirs.
      state: [B, N, H], where it starts.
      action: [B, U, N] int32.
      key: random key.
    """

    def step(state: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        action, key = inputs
        state, reward = networks.advance(params, state, action, key, GRADIENT_SHARE)
        return state, (state, reward)

    actions = jnp.moveaxis(action, 1, 0)
    _, (states, rewards) = jax.lax.scan(step, state, (actions, jax.random.split(key, actions.shape[0])))
    return jnp.concatenate([state[None], states]), rewards


def unroll_losses(networks: TeamModel, bins: ScalarBins, params: Any, batch: Batch, key: jax.Array) -> Losses:
    """What the model says along the stretches against their targets. Consumes the key, for dropout.

    Rewards and values are cross-entropies, also past the end of an episode, where targets are 0: the end is learned as an
    absorbing state. Policies and consistency (the negative cosine, SimSiam) only count where something was seen.
    """
    observed = networks.represent(params, batch.obs)  # [B, U + 1, N, H]
    states, reward_logits = unroll(networks, params, observed[:, 0], batch.action, key)
    policy_logits, value_logits = networks.assess(params, states)
    policy_logits, value_logits = jnp.moveaxis(policy_logits, 0, 1), jnp.moveaxis(value_logits, 0, 1)
    of_reward = cross_entropy(jnp.moveaxis(reward_logits, 0, 1), bins.encode(batch.reward))  # [B, U]
    of_value = cross_entropy(value_logits, bins.encode(batch.value))  # [B, U + 1]
    predicted = jnp.moveaxis(networks.predict_projection(params, states[1:]), 0, 1)
    wanted = jax.lax.stop_gradient(networks.project(params, observed[:, 1:]))
    is_alike = similarity(predicted, wanted)  # [B, U]
    value = jax.lax.stop_gradient(bins.decode(value_logits[:, 0]))
    return Losses(
        reward=weighted(of_reward, batch.counts[:, :-1]).sum(-1),
        value=weighted(of_value, batch.counts).sum(-1),
        policy=policy_loss(policy_logits, batch.joint, batch.joint_weight).sum(-1),
        consistency=-weighted(is_alike, batch.is_seen[:, 1:].astype(jnp.float32)).sum(-1),
        priority=jnp.abs(value - batch.value[:, 0]) + _LEAST_PRIORITY,
        predicted_value=value,
    )


def total_loss(losses: Losses, importance: jax.Array, unroll_steps: int, hp: Any) -> jax.Array:
    """[] mean_b importance_b (l_r + c_v l_v + c_p l_p + c_c l_c) / U.

    Args:
      losses: of B stretches.
      importance: [B].
      unroll_steps: U.
      hp: with `value_weight`, `policy_weight` and `consistency_weight`.
    """
    of_policy, of_consistency = hp.policy_weight * losses.policy, hp.consistency_weight * losses.consistency
    loss = losses.reward + hp.value_weight * losses.value + of_policy + of_consistency
    return jnp.mean(weighted(loss, importance)) / unroll_steps
