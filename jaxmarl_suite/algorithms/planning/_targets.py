"""What the model learns: returns over some steps, and how much each searched joint action is to be imitated."""

import jax
import jax.numpy as jnp

from jaxmarl_suite.ops import n_step_return

_ADVANTAGE_EPS = 1e-5


def steps_ahead(age: jax.Array, n_step: int, one_less: jax.Array | float) -> jax.Array:
    """[B] int32, rewards to sum: one less for every `one_less` environment steps of age, at least 1.

    Args:
      age: [B] float32, environment steps since a stretch began.
      n_step: n, of fresh ones.
      one_less: [] above 0.
    """
    fewer = jnp.floor(age / one_less)
    return jnp.clip(n_step - fewer, 1, n_step).astype(jnp.int32)


def value_targets(
    reward: jax.Array,
    ended: jax.Array,
    is_stored: jax.Array,
    value: jax.Array,
    num_rewards: jax.Array,
    *,
    n_step: int,
    gamma: jax.Array | float,
) -> jax.Array:
    """[B, U + 1] z_k = Σ_{j < m} γ^j r_{k+j} + γ^m v_{k+m}, for stretches of W = U + n steps.

    m is `num_rewards`, or what is stored where that is less. No reward and no value follow the end of an episode: past it
    the target is 0.

    Args:
      reward: [B, W] float32.
      ended: [B, W] bool, the step was the last one of its episode, be it the task's end or a time limit.
      is_stored: [B, W] bool, False behind the newest step. Targets from there on mean nothing.
      value: [B, W + 1] float32, of what is seen before each step and after the last one.
      num_rewards: [B] int32 in 1..n.
      n_step: n.
      gamma: discount of one step.
    """
    num_stored = reward.shape[1]
    starts = jnp.arange(num_stored - n_step + 1, dtype=jnp.int32)
    along = jnp.arange(n_step, dtype=jnp.int32)
    index = starts[None] + along[:, None]  # [n, U + 1]

    def stretch(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x[:, index], 1, 0)  # [n, B, U + 1]

    ended = ended & is_stored
    # The step after the last one of the window is never asked for: the n-th is the last one anyway.
    is_newest = ~jnp.concatenate([is_stored[:, 1:], jnp.ones_like(is_stored[:, :1])], axis=1)
    is_last = stretch(is_newest) | (along[:, None, None] >= num_rewards[None, :, None] - 1)
    found = n_step_return(stretch(reward), stretch(ended), is_last, gamma=gamma)
    after = jnp.take_along_axis(value, starts[None] + found.last + 1, axis=1)
    target = found.rewards + found.discount * jnp.where(found.discount > 0, after, 0.0)
    return jnp.where(before_end(ended)[:, : starts.shape[0]], target, 0.0)


def before_end(ended: jax.Array) -> jax.Array:
    """[B, W] bool: no episode ended before this step of the stretch."""
    count = ended.astype(jnp.int32)
    return jnp.cumsum(count, axis=1) - count == 0


def advantage_weights(
    advantage: jax.Array, counts: jax.Array, temperature: jax.Array | float, most: jax.Array | float
) -> jax.Array:
    """[...] min(exp(Â / α), most) of advantages that are standardized over all that count; 0 for the others.

    The weights of AWPO (MAZero, equation 14, as in its code).

    Args:
      advantage: [...] float32; what does not count may hold anything finite.
      counts: [...] bool.
      temperature: α.
      most: where the exponential is cut off.
    """
    number = jnp.maximum(jnp.sum(counts, dtype=jnp.int32), 1).astype(advantage.dtype)
    mean = jnp.sum(jnp.where(counts, advantage, 0.0)) / number
    spread = jnp.sqrt(jnp.sum(jnp.where(counts, jnp.square(advantage - mean), 0.0)) / number)
    scaled = (advantage - mean) / (spread + _ADVANTAGE_EPS)
    return jnp.where(counts, jnp.minimum(jnp.exp(scaled / temperature), most), 0.0)
