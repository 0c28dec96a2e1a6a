"""Joint actions to search over: sampled ones with duplicates merged, or all of them.

Axes: B searches, K joint actions, N agents, A actions per agent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented

from jaxmarl_suite.search._model import Model, Root

ENUMERATION_LIMIT = 4096
"""Maximum number of joint actions that `enumerate_joint_actions` lists."""
DUPLICATE = -1e30
"""Log prior of a slot whose joint action is already in an earlier slot."""
_LEGAL_FLOOR = 1e-4


@documented
class Candidates(NamedTuple):
    """Joint actions of a node in K slots. A joint action that was sampled repeatedly counts only in its first slot."""

    actions: jax.Array
    """[B, K, N] int32."""
    log_prior: jax.Array
    """[B, K] float32, `DUPLICATE` in slots that repeat an earlier one."""


def is_first(log_prior: jax.Array) -> jax.Array:
    """[...] bool: slots that can be searched."""
    return log_prior > DUPLICATE / 10


def noisy_policy(key: jax.Array, root: Root, noise_share: jax.Array | float, concentration: float) -> jax.Array:
    """[B, N, A] policies at the root: legal actions only, mixed with Dirichlet noise. Consumes the key.

    Args:
      key: random key.
      root: logits and legal actions.
      noise_share: weight of the noise in the mixture; 0 for none.
      concentration: concentration of the symmetric Dirichlet distribution over the legal actions.
    """
    policy = (jax.nn.softmax(root.logits) + _LEGAL_FLOOR) * root.legal.astype(root.logits.dtype)
    policy = policy / policy.sum(-1, keepdims=True)
    if isinstance(noise_share, int | float) and noise_share == 0:
        return policy
    # In log space, since gamma variates of small concentrations are often 0 in float32.
    log_gamma = jax.random.loggamma(key, concentration, root.logits.shape, root.logits.dtype)
    noise = jax.nn.softmax(jnp.where(root.legal, log_gamma, -jnp.inf))
    return (1.0 - noise_share) * policy + noise_share * noise


def sample_candidates(
    key: jax.Array, policy: jax.Array, num_samples: int, temperature: jax.Array | float = 1.0
) -> Candidates:
    """K joint actions, sampled independently for each agent. Consumes the key.

    Agent i's actions are sampled from β_i ∝ p_i^(1/temperature). A joint action a that was sampled `count` times has
    the prior

        count/K · Π_i p_i(a_i) / Π_i β_i(a_i),

    which is an unbiased estimate of Π_i p_i(a_i), and count/K at temperature 1 (Sampled MuZero, Hubert et al. 2021,
    arXiv 2104.06303).

    Args:
      key: random key.
      policy: [B, N, A] probabilities. Actions with probability 0 are never sampled.
      num_samples: K.
      temperature: temperature of the proposal.
    """
    batch, n_agents, _ = policy.shape
    is_plain = isinstance(temperature, int | float) and temperature == 1
    proposal = policy
    if not is_plain:
        proposal = jax.nn.softmax(jnp.log(policy) / temperature)
    # By inversion: one uniform number per action, while Gumbel noise would need A. It is scaled by the rounded sum, so no
    # number lies beyond the last action with positive probability.
    ends = jnp.cumsum(proposal, axis=-1)
    uniform = jax.random.uniform(key, (batch, num_samples, n_agents), policy.dtype) * ends[:, None, :, -1]
    actions = (ends[:, None] <= uniform[..., None]).sum(-1, dtype=jnp.int32)
    count, first = merge_duplicates(actions)
    log_prior = jnp.log(count.astype(policy.dtype) / num_samples)
    if not is_plain:
        log_ratio = jnp.log(policy) - jnp.log(proposal)
        drawn = jnp.take_along_axis(log_ratio[:, None], actions[..., None], axis=-1)[..., 0]
        log_prior = log_prior + drawn.sum(-1)
    return Candidates(actions, jnp.where(first, log_prior, DUPLICATE))


def merge_duplicates(actions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B, K] int32, how often each slot's joint action occurs among the K; [B, K] bool, whether it is the first such
    slot.

    Args:
      actions: [B, K, N] int32.
    """
    equal = (actions[:, :, None] == actions[:, None]).all(-1)  # [B, K, K]
    slots = jnp.arange(actions.shape[1])[None]
    return equal.sum(-1, dtype=jnp.int32), equal.argmax(-1) == slots


def enumerate_joint_actions(model: Model) -> np.ndarray:
    """[A**N, N] int32: all joint actions, with agent 0's action as the most significant digit.

    Raises:
      ValueError: there are more than `ENUMERATION_LIMIT`.
    """
    count = model.num_actions**model.n_agents
    if count > ENUMERATION_LIMIT:
        raise ValueError(
            f"{model.n_agents} agents with {model.num_actions} actions have {count:,} joint actions, and at most "
            f"{ENUMERATION_LIMIT:,} are enumerated; sampled_search draws num_samples of them instead"
        )
    digits = np.unravel_index(np.arange(count), (model.num_actions,) * model.n_agents)
    return np.stack(digits, axis=-1).astype(np.int32)


def joint_logits(logits: jax.Array, joint: np.ndarray) -> jax.Array:
    """[B, K] log-probabilities of joint actions under independent agents.

    Args:
      logits: [B, N, A], logits of each agent.
      joint: [K, N], from `enumerate_joint_actions`.
    """
    log_policy = jax.nn.log_softmax(logits)
    agents = np.arange(joint.shape[1])
    return log_policy[:, agents, joint].sum(-1)
