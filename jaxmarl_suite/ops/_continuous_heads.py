"""Action heads for continuous actions: a diagonal Gaussian, and one squashed into the bounds by tanh.

An output is [*B, 2 D]: D entries for the mean, in units of half the range of the bounds and 0 in their middle, then D
for the standard deviation, 0 where it starts. So a network with outputs near zero is a good start. To make the
deviation a separate parameter instead of a function of the observation, `networks.append_parameters` adds it to the
outputs of a network for the means.

If agents have different numbers of entries (`padded`), a mask [*B, D] marks the real ones: sums are over these, and
the others are set to the middle of the bounds. Otherwise masks are ignored.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.ops._heads import ActionHead

Bound = float | Sequence[float] | np.ndarray

_QUADRATURE = 32
"""Number of points of the Gauss-Hermite rule for the entropy of a squashed Gaussian."""
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def diagonal_gaussian(
    dim: int,
    low: Bound = -1.0,
    high: Bound = 1.0,
    *,
    initial_std: float = 1.0,
    std_range: tuple[float, float] = (1e-3, 10.0),
    padded: bool = False,
) -> ActionHead:
    """Independent normal distributions, one per entry; actions in the units of the environment.

    A normal distribution is unbounded, so the environment receives the action clipped to the bounds (`to_env`), while
    `log_prob` is that of the action before clipping, which makes the policy gradient unbiased, as in MAPPO's and
    HAPPO's published code. `mode` is the mean. `imitation_loss` is the squared distance of the mean from the clipped
    action, in units of half the range, summed over entries: up to a factor the KL divergence of two Gaussians of one
    fixed deviation. The likelihood of a single point would be maximized by a deviation of zero.

    Args:
      dim: D, entries of an action.
      low: lower bound of every entry, or D of them; -inf for none.
      high: upper bound of every entry, or D of them; inf wherever `low` is -inf: mean and deviation are in the
        environment's own units there.
      initial_std: standard deviation where its output is 0, in units of half the range.
      std_range: range of the standard deviation, in the same unit. It approaches both ends smoothly, so that gradients
        can always move it back.
      padded: whether masks are used; entries where they are false do not count.

    Raises:
      ValueError: invalid sizes, bounds or deviations.
    """
    scale = _Scale.between("diagonal_gaussian", dim, low, high)
    log_std_of = _bounded_log_std("diagonal_gaussian", initial_std, std_range)
    total = _total_of_real if padded else _total_of_all

    def parameters(output: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation, [*B, D] each, in the units of the environment."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return scale.up(mean), log_std_of(raw) + scale.log_half(raw)

    def log_prob(output: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        return total(_log_density(action, *parameters(output)), mask)

    def entropy(output: jax.Array, mask: jax.Array) -> jax.Array:
        return total(parameters(output)[1] + _HALF_LOG_TAU + 0.5, mask)

    def imitation_loss(output: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        mean, _ = jnp.split(output, 2, axis=-1)
        # The mean is not clipped, as it would have no gradient beyond the bounds.
        return total(jnp.square(mean - scale.down(scale.clip(action))), mask)

    return _gaussian_head(
        dim,
        parameters,
        padding=scale.middle if padded else None,
        log_prob=log_prob,
        entropy=entropy,
        imitation_loss=imitation_loss,
        embed=lambda action: jnp.clip(scale.down(action), -1.0, 1.0),
        to_env=scale.clip,
        from_env=lambda action: action,
    )


def tanh_normal(
    dim: int,
    low: Bound = -1.0,
    high: Bound = 1.0,
    *,
    initial_std: float = 1.0,
    std_range: tuple[float, float] = (1e-3, 10.0),
    padded: bool = False,
) -> ActionHead:
    """Independent normal distributions squashed into the bounds by tanh (Haarnoja et al. 2018, appendix C).

    An action of this head is u, the sample before squashing; the environment receives `to_env(u)` = c + h tanh(u),
    where c is the middle of the bounds and h half their distance. Storing u instead of the squashed action keeps
    `log_prob` exact even far in the tails: tanh(u) is 1 in float32 from u = 9 on, and u cannot be recovered from it
    (`from_env` gives the largest u that float32 can tell from infinity). `log_prob` is nevertheless the log-density of
    the environment's action,

        log π(c + h tanh u) = log N(u; μ, σ²) - log(1 - tanh²u) - log h,    log(1 - tanh²u) = 2 (log 2 - u -
        softplus(-2u)),

    summed over entries, so that the density integrates to 1 over the bounds. `mode` is u = μ, the median of every
    entry; a wide distribution is densest near the bounds instead. The entropy has no closed form: it is that of the
    Gaussian plus E[log(1 - tanh²u)] + log h, the expectation by a Gauss-Hermite rule (32 points; off by less than 0.001
    up to σ = 2, by less than 0.2 up to 10), a deterministic number with a gradient where a sample would add noise.
    `imitation_loss` is the squared distance of tanh(μ) from tanh(u), summed over entries.

    Args and errors as for `diagonal_gaussian`, but bounds must be finite, and deviations are those of u, before
    squashing.
    """
    scale = _Scale.between("tanh_normal", dim, low, high)
    if not np.isfinite(scale.low).all():
        raise ValueError(f"tanh_normal squashes into bounds, which must be finite, got low={low}, high={high}")
    log_std_of = _bounded_log_std("tanh_normal", initial_std, std_range)
    total = _total_of_real if padded else _total_of_all
    points, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
    points, weights = points.astype(np.float32), (weights / weights.sum()).astype(np.float32)

    def parameters(output: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log standard deviation of u, [*B, D] each."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return mean, log_std_of(raw)

    def log_prob(output: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        return total(_log_density(action, *parameters(output)) - _log_slope(action) - scale.log_half(action), mask)

    def entropy(output: jax.Array, mask: jax.Array) -> jax.Array:
        mean, log_std = parameters(output)
        spread = jnp.exp(log_std)[..., None]
        at = mean[..., None] + spread * jnp.broadcast_to(points, (*spread.shape[:-1], _QUADRATURE))
        squashing = (_log_slope(at) * jnp.broadcast_to(weights, at.shape)).sum(-1)
        return total(log_std + _HALF_LOG_TAU + 0.5 + squashing + scale.log_half(mean), mask)

    def imitation_loss(output: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        return total(jnp.square(jnp.tanh(parameters(output)[0]) - jnp.tanh(action)), mask)

    def from_env(action: jax.Array) -> jax.Array:
        largest = 1.0 - float(jnp.finfo(action.dtype).epsneg)  # the largest float below 1
        return jnp.arctanh(jnp.clip(scale.down(action), -largest, largest))

    return _gaussian_head(
        dim,
        parameters,
        padding=np.zeros(dim, np.float32) if padded else None,
        log_prob=log_prob,
        entropy=entropy,
        imitation_loss=imitation_loss,
        embed=jnp.tanh,
        # Rounding may exceed a bound by one unit in the last place.
        to_env=lambda action: scale.clip(scale.up(jnp.tanh(action))),
        from_env=from_env,
    )


def _gaussian_head(
    dim: int,
    parameters: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    *,
    padding: np.ndarray | None,
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    **others: Callable[..., jax.Array],
) -> ActionHead:
    """A head whose actions are sampled from a diagonal Gaussian.

    Args:
      dim: D.
      parameters: `output -> (mean, log standard deviation)`, [*B, D] each.
      padding: [D] values of padded entries of an action; None if there is no padding.
      log_prob: see `ActionHead`.
      **others: the other functions of the head.
    """

    def pad(action: jax.Array, mask: jax.Array) -> jax.Array:
        return action if padding is None else jnp.where(mask, action, jnp.broadcast_to(padding, action.shape))

    def mode(output: jax.Array, mask: jax.Array) -> jax.Array:
        return pad(parameters(output)[0], mask)

    def sample(key: jax.Array, output: jax.Array, mask: jax.Array) -> jax.Array:
        mean, log_std = parameters(output)
        return pad(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype), mask)

    def sample_and_log_prob(key: jax.Array, output: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        action = sample(key, output, mask)
        return action, log_prob(output, mask, action)

    return ActionHead(
        num_outputs=2 * dim,
        embed_size=dim,
        action_shape=(dim,),
        dtype=jnp.float32,
        sample=sample,
        sample_and_log_prob=sample_and_log_prob,
        mode=mode,
        log_prob=log_prob,
        **others,
    )


def _total_of_all(entries: jax.Array, mask: jax.Array) -> jax.Array:
    """[*B] sums of [*B, D]."""
    return entries.sum(-1)


def _total_of_real(entries: jax.Array, mask: jax.Array) -> jax.Array:
    """[*B] sums of [*B, D] over the entries that are not padding."""
    return jnp.where(mask, entries, 0.0).sum(-1)


def _log_density(x: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Log N(x; mean, std²), elementwise."""
    return -0.5 * jnp.square((x - mean) * jnp.exp(-log_std)) - log_std - _HALF_LOG_TAU


def _log_slope(u: jax.Array) -> jax.Array:
    """Log(1 - tanh²u), elementwise; about 2 log 2 - 2|u| far out, where 1 - tanh²u itself is 0 in float32."""
    return 2.0 * (math.log(2.0) - u - jax.nn.softplus(-2.0 * u))


class _Scale(NamedTuple):
    """Converts between the units of an environment and [-1, 1]; unbounded entries are left unchanged."""

    low: np.ndarray  # [D] float32
    high: np.ndarray  # [D] float32
    middle: np.ndarray  # [D] float32
    half: np.ndarray  # [D] float32

    @classmethod
    def between(cls, owner: str, dim: int, low: Bound, high: Bound) -> "_Scale":
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ValueError(f"{owner}: dim must be a whole number of at least 1, got {dim!r}")
        ends = []
        for name, bound in (("low", low), ("high", high)):
            end = np.asarray(bound, np.float64)
            if end.shape not in ((), (dim,)):
                raise ValueError(f"{owner}: {name} must be one number or {dim}, one per entry, got {bound}")
            ends.append(np.broadcast_to(end, (dim,)))
        lowest, highest = ends
        is_free = np.isneginf(lowest) & np.isposinf(highest)
        if not (is_free | (np.isfinite(lowest) & np.isfinite(highest) & (lowest < highest))).all():
            raise ValueError(
                f"{owner}: every entry needs low < high, both finite or neither, got low={low}, high={high}"
            )
        finite = [np.where(is_free, free, end) for free, end in zip((-1.0, 1.0), ends)]
        middle, half = (finite[0] + finite[1]) / 2, (finite[1] - finite[0]) / 2
        return cls(*(a.astype(np.float32) for a in (lowest, highest, middle, half)))

    def up(self, x: jax.Array) -> jax.Array:
        """From [-1, 1] to the bounds; [*B, D]."""
        return jnp.broadcast_to(self.middle, x.shape) + jnp.broadcast_to(self.half, x.shape) * x

    def down(self, x: jax.Array) -> jax.Array:
        """From the bounds to [-1, 1]; [*B, D]."""
        return (x - jnp.broadcast_to(self.middle, x.shape)) / jnp.broadcast_to(self.half, x.shape)

    def clip(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, jnp.broadcast_to(self.low, x.shape), jnp.broadcast_to(self.high, x.shape))

    def log_half(self, like: jax.Array) -> jax.Array:
        return jnp.broadcast_to(np.log(self.half), like.shape)


def _bounded_log_std(owner: str, initial: float, std_range: tuple[float, float]) -> Callable[[jax.Array], jax.Array]:
    """Maps an output to a log standard deviation, elementwise: log `initial` at 0, slope 1 there, always within the
    range.

    lo + (hi - lo) sigmoid(x / s + x0). HAPPO's published code bounds the deviation by a sigmoid too; a log deviation
    clipped to a range, as often in SAC, has no gradient outside it and could not come back.
    """
    lowest, highest = std_range
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"{owner}: std_range must be two numbers 0 < a < b, got {std_range}")
    if not lowest < initial < highest:
        raise ValueError(f"{owner}: initial_std must lie between {lowest} and {highest}, got {initial}")
    low, width = math.log(lowest), math.log(highest / lowest)
    part = (math.log(initial) - low) / width
    start, steepness = math.log(part / (1 - part)), width * part * (1 - part)
    return lambda raw: low + width * jax.nn.sigmoid(raw / steepness + start)
