"""What every search returns, and acting on it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import pytree_dataclass


@pytree_dataclass
class SearchResult:
    """The children of the roots of B searches. Slots without a child (`is_child`) have zeros but for `actions`."""

    actions: jax.Array  # [B, K, N] int32, joint actions
    is_child: jax.Array  # [B, K] bool: no repetition of an earlier slot, and legal
    visits: jax.Array  # [B, K] int32, simulations that went there; they sum to their number
    weights: jax.Array  # [B, K] float32, sum to 1: visits as shares, or the policy that the search makes of them
    q: jax.Array  # [B, K] float32, reward and discounted value of what follows; 0 without a visit
    value: jax.Array  # [B] float32, of the root after the search
    raw_value: jax.Array  # [B] float32, of the root as the model had it
    best: jax.Array  # [B] int32, the slot that the search would play
    prior: jax.Array  # [B, K] float32, what the search started from


Search = Callable[[Any, jax.Array, Any], SearchResult]
"""`(params, key, inputs) -> SearchResult`; `params` and `inputs` are those of the model. Consumes the key."""


def best_action(result: SearchResult) -> jax.Array:
    """[B, N] int32: what the search would play."""
    return _at(result.actions, result.best)


def sample_action(key: jax.Array, result: SearchResult, temperature: jax.Array | float = 1.0) -> jax.Array:
    """[B, N] int32, drawn in proportion to `weights ** (1 / temperature)`. Consumes the key.

    Args:
      key: random key.
      result: of a search.
      temperature: above 0; smaller ones are closer to the largest weight.
    """
    logits = jnp.where(result.weights > 0, jnp.log(result.weights) / temperature, -jnp.inf)
    return _at(result.actions, jax.random.categorical(key, logits))


def uniform_action(key: jax.Array, result: SearchResult) -> jax.Array:
    """[B, N] int32, each child equally likely: for experience before anything is learned. Consumes the key."""
    return _at(result.actions, jax.random.categorical(key, jnp.where(result.is_child, 0.0, -jnp.inf)))


def _at(actions: jax.Array, slot: jax.Array) -> jax.Array:
    return jnp.take_along_axis(actions, slot[:, None, None], axis=1)[:, 0]
