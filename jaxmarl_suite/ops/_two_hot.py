"""Scalars as categorical distributions: compressed, and spread over the two nearest bins."""

import dataclasses
import math

import jax
import jax.numpy as jnp

_SLOPE = 0.001


def compress_scalar(x: jax.Array) -> jax.Array:
    """[...] h(x) = sign(x) (√(|x| + 1) - 1) + 0.001 x, as in MuZero (Schrittwieser et al. 2020, appendix F)."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + _SLOPE * x


def expand_scalar(y: jax.Array) -> jax.Array:
    """[...] the inverse of `compress_scalar`."""
    z = jnp.abs(y) + 1.0 + _SLOPE
    root = 2.0 * z / (jnp.sqrt(1.0 + 4.0 * _SLOPE * z) + 1.0)  # (√(1 + 4 s z) - 1) / 2 s without cancellation
    return jnp.sign(y) * (root - 1.0) * (root + 1.0)


@dataclasses.dataclass(frozen=True)
class ScalarBins:
    """`num` equally spaced bins from `low` to `high` on the compressed scale.

    A network outputs logits of the bins. Its loss is the cross-entropy with `encode`, and its prediction is `decode`.
    """

    low: float = -5.0
    high: float = 5.0
    num: int = 11

    def __post_init__(self) -> None:
        """Rejects invalid bins."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"bins need low < high, both finite, got {self.low} and {self.high}")
        if isinstance(self.num, bool) or not isinstance(self.num, int) or self.num < 2:
            raise ValueError(f"bins must be 2 or more, got {self.num!r}")

    @property
    def width(self) -> float:
        """Distance between bins on the compressed scale."""
        return (self.high - self.low) / (self.num - 1)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and largest scalar that the bins can represent; values beyond are clipped."""
        return _expand_float(self.low), _expand_float(self.high)

    def num_for(self, low: float, high: float) -> int:
        """Number of bins of this width that represent scalars from `low` to `high`."""
        lowest, highest = (_compress_float(x) for x in (low, high))
        return math.ceil(max(0.0, highest) / self.width - 1e-9) + math.ceil(max(0.0, -lowest) / self.width - 1e-9) + 1

    def encode(self, x: jax.Array) -> jax.Array:
        """[..., num] probabilities whose mean is h(x), on the two nearest bins; on one where h(x) is a bin.

        Args:
          x: [...] float32.
        """
        place = (jnp.clip(compress_scalar(x), self.low, self.high) - self.low) / self.width
        bins = jnp.arange(self.num, dtype=x.dtype).reshape((1,) * x.ndim + (-1,))
        return jnp.maximum(0.0, 1.0 - jnp.abs(place[..., None] - bins))

    def decode(self, logits: jax.Array) -> jax.Array:
        """[...] the inverse of h at the bins' mean.

        Args:
          logits: [..., num] float32.
        """
        bins = jnp.linspace(self.low, self.high, self.num, dtype=logits.dtype)
        return expand_scalar(jax.nn.softmax(logits) @ bins)


def _compress_float(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + _SLOPE * x


def _expand_float(y: float) -> float:
    root = (math.sqrt(1 + 4 * _SLOPE * (abs(y) + 1 + _SLOPE)) - 1) / (2 * _SLOPE)
    return math.copysign(root**2 - 1, y)
