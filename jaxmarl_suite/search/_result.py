"""The result of every search, and ways to choose an action from it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import pytree_dataclass


@pytree_dataclass
class SearchResult:
    """The children of the roots of B searches. Slots without a child (`is_child`) have zeros, except for `actions`."""

    actions: jax.Array  # [B, K, N] int32, joint actions
    is_child: jax.Array  # [B, K] bool: legal, and not a duplicate of an earlier slot
    visits: jax.Array  # [B, K] int32, simulations that visited it; they sum to the number of simulations
    weights: jax.Array  # [B, K] float32, sum to 1: fractions of visits, or the search's improved policy
    q: jax.Array  # [B, K] float32, reward plus discounted value; 0 without a visit
    value: jax.Array  # [B] float32, of the root after the search
    raw_value: jax.Array  # [B] float32, the model's value of the root
    best: jax.Array  # [B] int32, the slot that the search selects
    prior: jax.Array  # [B, K] float32, the prior of the search


Search = Callable[[Any, jax.Array, Any], SearchResult]
"""`(params, key, inputs) -> SearchResult`; `params` and `inputs` are those of the model. Consumes the key."""


def best_action(result: SearchResult) -> jax.Array:
    """[B, N] int32: the action that the search selects."""
    return _at(result.actions, result.best)


def sample_action(key: jax.Array, result: SearchResult, temperature: jax.Array | float = 1.0) -> jax.Array:
    """[B, N] int32, sampled in proportion to `weights ** (1 / temperature)`. Consumes the key.

    Args:
      key: random key.
      result: result of a search.
      temperature: positive; smaller values favor the largest weight.
    """
    logits = jnp.where(result.weights > 0, jnp.log(result.weights) / temperature, -jnp.inf)
    return _at(result.actions, jax.random.categorical(key, logits))


def uniform_action(key: jax.Array, result: SearchResult) -> jax.Array:
    """[B, N] int32, uniform over the children: for experience before anything is learned. Consumes the key."""
    return _at(result.actions, jax.random.categorical(key, jnp.where(result.is_child, 0.0, -jnp.inf)))


def _at(actions: jax.Array, slot: jax.Array) -> jax.Array:
    return jnp.take_along_axis(actions, slot[:, None, None], axis=1)[:, 0]
