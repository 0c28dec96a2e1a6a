"""Value normalization and value losses."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import pytree_dataclass


@pytree_dataclass
class ValueNorm:
    """Debiased running mean and variance of value targets (MAPPO, Yu et al. 2022: value normalization)."""

    mean: jax.Array  # [] float32, biased towards 0
    mean_square: jax.Array  # [] float32, biased towards 0
    weight: jax.Array  # [] float32 in [0, 1], the bias of both

    @classmethod
    def create(cls) -> "ValueNorm":
        """Empty statistics: normalizing is the identity."""
        nothing = jnp.zeros((), jnp.float32)
        return cls(nothing, nothing, nothing)

    def update(self, targets: jax.Array, decay: jax.Array | float) -> "ValueNorm":
        """The statistics after one more batch of targets, of any shape."""
        return ValueNorm(
            mean=decay * self.mean + (1 - decay) * targets.mean(),
            mean_square=decay * self.mean_square + (1 - decay) * jnp.square(targets).mean(),
            weight=decay * self.weight + (1 - decay),
        )

    def _moments(self) -> tuple[jax.Array, jax.Array]:
        weight = jnp.maximum(self.weight, 1e-6)
        mean = self.mean / weight
        # The lower bound keeps nearly constant targets (a solved matrix game) from being scaled up.
        variance = jnp.maximum(self.mean_square / weight - jnp.square(mean), 1e-2)
        seen = self.weight > 0
        return jnp.where(seen, mean, 0.0), jnp.where(seen, jnp.sqrt(variance), 1.0)

    def normalize(self, value: jax.Array) -> jax.Array:
        """Converts environment units to network units."""
        mean, std = self._moments()
        return (value - mean) / std

    def denormalize(self, value: jax.Array) -> jax.Array:
        """Converts network units to environment units."""
        mean, std = self._moments()
        return value * std + mean


def value_loss(
    prediction: jax.Array,
    target: jax.Array,
    old_prediction: jax.Array,
    *,
    kind: Literal["mse", "huber"],
    huber_delta: jax.Array | float,
    clip: jax.Array | float | None,
) -> jax.Array:
    """Elementwise value loss; with `clip`, the larger of the plain loss and that of the clipped prediction.

    Args:
      prediction: [...] float32.
      target: [...] float32.
      old_prediction: [...] float32, the prediction at the time of the rollout.
      kind: "mse" (½ error²) or "huber".
      huber_delta: error at which the Huber loss becomes linear.
      clip: how far a prediction may move from the old one before its gradient vanishes; None for no clipping.
    """
    if not prediction.shape == target.shape == old_prediction.shape:
        raise ValueError(
            f"value loss needs equal shapes, got {prediction.shape}, {target.shape}, {old_prediction.shape}"
        )

    def elementwise(p: jax.Array) -> jax.Array:
        return optax.squared_error(p, target) / 2 if kind == "mse" else optax.huber_loss(p, target, delta=huber_delta)

    loss = elementwise(prediction)
    if clip is None:
        return loss
    clipped = old_prediction + jnp.clip(prediction - old_prediction, -clip, clip)
    return jnp.maximum(loss, elementwise(clipped))
