"""Losses of PPO: advantages, the clipped surrogate, value regression."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import TimeStep

from jaxmarl_suite.algorithms.core._schedules import annealed
from jaxmarl_suite.algorithms.core._types import Context
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.networks import Network
from jaxmarl_suite.ops import (
    ActionHead,
    generalized_advantage,
    sequential_advantage,
    value_loss,
    weighted_mean,
)


def estimate_advantages(
    value: jax.Array, next_value: jax.Array, next_timestep: TimeStep, ctx: Context, *, sequential: bool
) -> jax.Array:
    """[T, E, V] advantages in the units of rewards.

    Args:
      value: [T, E, V] of the observations; V = 1 is a value of the team.
      next_value: [T, E, V] of the next observations, before any restart.
      next_timestep: [T, E, ...] rewards and ends.
      ctx: discount and trace decay.
      sequential: values are those of the micro-steps of Γ(M), not of agents or the team.
    """
    reward = next_timestep.reward
    if sequential:
        reward, next_value = reward.mean(-1), next_value[..., 0]
    elif value.shape[-1] == 1:
        reward = reward.mean(-1, keepdims=True)
    terminated, truncated = next_timestep.terminated, next_timestep.truncated
    if reward.ndim == 3:
        terminated, truncated = terminated[..., None], truncated[..., None]
    estimate = sequential_advantage if sequential else generalized_advantage
    return estimate(reward, value, next_value, terminated, truncated, gamma=ctx.hp.gamma, lambda_=ctx.hp.gae_lambda)


def normalized(advantage: jax.Array, weight: jax.Array) -> jax.Array:
    """[...] advantages with mean 0 and standard deviation 1 over the entries with positive weight."""
    mean = weighted_mean(advantage, weight)
    std = jnp.sqrt(weighted_mean(jnp.square(advantage - mean), weight))
    return (advantage - mean) / (std + 1e-8)


def actor_loss(
    network: Network, head: ActionHead, ctx: Context, params: Any, batch: dict
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`(loss [], metrics)`: the clipped surrogate (Schulman et al. 2017, eq. 7) per agent, minus the entropy bonus.

    L = -mean[min(ρ A, clip(ρ, 1 - ε, 1 + ε) A)] - β mean[H(π)],    ρ = π(a|o) / π_old(a|o)
    """
    output, _ = network.unroll(params, first(batch["carry"]), batch["x"], batch["extra"], batch["start"])
    mask, weight = batch["mask"], batch["weight"]
    log_ratio = head.log_prob(output, mask, batch["action"]) - batch["log_prob"]
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - ctx.hp.clip, 1 + ctx.hp.clip)
    # Each agent's own ratio is clipped, never the product over agents.
    surrogate = jnp.minimum(ratio * batch["advantage"], clipped * batch["advantage"])
    entropy = weighted_mean(head.entropy(output, mask), weight)
    bonus = annealed(ctx.hp.entropy, ctx.hp.entropy_end, ctx)
    policy_loss = -weighted_mean(surrogate, weight)
    return policy_loss - bonus * entropy, {
        "policy_loss": policy_loss,
        "entropy": entropy,
        "approx_kl": weighted_mean(ratio - 1 - log_ratio, weight),
        "clip_fraction": weighted_mean((jnp.abs(ratio - 1) > ctx.hp.clip).astype(jnp.float32), weight),
    }


def critic_loss(
    critic: Network, config: PPOConfig, ctx: Context, params: Any, batch: dict
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`(loss [], metrics)` of values against their targets, both in normalized units."""
    value, _ = critic.unroll(params, first(batch["carry"]), batch["x"], batch["extra"], batch["start"])
    loss = value_loss(
        value[..., 0],
        batch["target"],
        batch["value"],
        kind=config.value_loss,
        huber_delta=ctx.hp.huber_delta,
        clip=ctx.hp.clip if config.clip_value else None,
    ).mean()
    return loss, {"value_loss": loss}


def first(carries: Any) -> Any:
    """The carries [M, ...] before the first step, from [L, M, ...]."""
    return jax.tree.map(lambda x: x[0], carries)
