"""Running mean and variance of states."""

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

EPSILON = 1e-8
"""Added to variances."""


@pytree_dataclass
class Normalizer:
    """Mean and variance of all states so far. Entries that never varied become exactly zero."""

    count: jax.Array  # [] float32
    mean: jax.Array  # [G] float32
    squares: jax.Array  # [G] float32, sum of squared differences from the mean

    @classmethod
    def create(cls, size: int) -> "Normalizer":
        """No states yet: normalizing is the identity."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((size,), jnp.float32), jnp.zeros((size,), jnp.float32))

    def update(self, states: jax.Array) -> "Normalizer":
        """The statistics after more states [*, G] (Chan et al. 1979). Differences from one state are summed, so that entries
        that never vary keep a variance of exactly zero.
        """
        flat = states.reshape(-1, states.shape[-1])
        number = jnp.float32(flat.shape[0])
        away = flat - flat[:1]
        center = away.mean(0)
        mean, squares = flat[0] + center, jnp.sum(jnp.square(away - center[None]), axis=0)
        count = self.count + number
        difference = jnp.where(self.count > 0, mean - self.mean, 0.0)
        return Normalizer(
            count=count,
            mean=jnp.where(self.count > 0, self.mean + difference * (number / count), mean),
            squares=self.squares + squares + jnp.square(difference) * (self.count * number / count),
        )

    @property
    def std(self) -> jax.Array:
        """[G] standard deviation; 1 before the first state."""
        variance = self.squares / jnp.maximum(self.count, 1.0)
        return jnp.where(self.count > 0, jnp.sqrt(variance + EPSILON), 1.0)

    def normalize(self, states: jax.Array) -> jax.Array:
        """[*, G] in units of the standard deviation."""
        return (states - jnp.broadcast_to(self.mean, states.shape)) / jnp.broadcast_to(self.std, states.shape)

    def denormalize(self, states: jax.Array) -> jax.Array:
        """[*, G] in units of the task."""
        return states * jnp.broadcast_to(self.std, states.shape) + jnp.broadcast_to(self.mean, states.shape)
