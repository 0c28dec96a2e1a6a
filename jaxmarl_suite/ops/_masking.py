"""Sums in which some entries do not count."""

import jax
import jax.numpy as jnp


def weighted(values: jax.Array, weight: jax.Array) -> jax.Array:
    """[...] `values * weight`, and 0 where the weight is 0, whatever stands there: a bare product makes NaN of infinity.

    Args:
      values: [...] float32.
      weight: [...] float32 of the same shape, at least 0.

    Raises:
      ValueError: for unequal shapes.
    """
    if values.shape != weight.shape:
        raise ValueError(f"values and weights need equal shapes, got {values.shape} and {weight.shape}")
    return jnp.where(weight > 0, values * weight, 0.0)


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """[] the mean of `weighted`, 0 where nothing counts. Arguments and errors as there."""
    return jnp.sum(weighted(values, weight)) / jnp.maximum(jnp.sum(weight), 1.0)
