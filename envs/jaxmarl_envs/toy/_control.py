"""Functions shared by the toy tasks."""

import jax
import jax.numpy as jnp


def bounded(action: jax.Array) -> jax.Array:
    """`action` within [-1, 1]: infinities become the bounds and NaN becomes 0, so that no action can corrupt a state."""
    return jnp.where(jnp.isnan(action), 0.0, jnp.clip(action, -1.0, 1.0))


def distance(offset: jax.Array) -> jax.Array:
    """[*] Euclidean length of `offset` [*, 2], with a finite gradient at 0 (and 1e-6 there)."""
    return jnp.sqrt(jnp.sum(offset**2, axis=-1) + 1e-12)


def inside_walls(position: jax.Array, velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Position and velocity, [*, 2] each, kept in the square [-1, 1]²: a wall cancels the velocity towards it."""
    kept = jnp.clip(position, -1.0, 1.0)
    return kept, jnp.where(kept == position, velocity, 0.0)
