"""Sums and means over entries with weights, some of which are 0."""

import jax
import jax.numpy as jnp


def weighted(values: jax.Array, weight: jax.Array) -> jax.Array:
    """[...] `values * weight`, but exactly 0 where the weight is 0: a plain product would turn infinity into NaN.

    Args:
      values: [...] float32.
      weight: [...] float32 of the same shape, at least 0.

    Raises:
      ValueError: unequal shapes.
    """
    if values.shape != weight.shape:
        raise ValueError(f"values and weights need equal shapes, got {values.shape} and {weight.shape}")
    return jnp.where(weight > 0, values * weight, 0.0)


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """[] mean of `weighted`, 0 if all weights are 0. Arguments and errors as for `weighted`."""
    return jnp.sum(weighted(values, weight)) / jnp.maximum(jnp.sum(weight), 1.0)
