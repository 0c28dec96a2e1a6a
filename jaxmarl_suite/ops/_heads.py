"""Action heads: what turns a network's output into a distribution over one agent's actions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class ActionHead(NamedTuple):
    """A family of distributions over one agent's action, batched over leading axes `*B`.

    `output` is [*B, num_outputs]; `mask` is [*B, A] (ignored by continuous heads). Discrete actions are [*B] int32,
    continuous ones [*B, D] float32; `one_hot` embeds an action as a network input.
    """

    num_outputs: int
    embed_size: int
    sample: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # key, output, mask -> action
    mode: Callable[[jax.Array, jax.Array], jax.Array]  # output, mask -> action
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # output, mask, action -> [*B]
    entropy: Callable[[jax.Array, jax.Array], jax.Array]  # output, mask -> [*B]
    embed: Callable[[jax.Array], jax.Array]  # action -> [*B, embed_size] float32


def masked_logits(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Log-probabilities with illegal actions at (numerically) zero probability, finite and with finite gradients."""
    return jax.nn.log_softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min / 2))


def categorical(num_actions: int) -> ActionHead:
    """Softmax over `num_actions` actions, restricted to the legal ones; the mode breaks ties by the lowest index."""

    def sample(key: jax.Array, logits: jax.Array, mask: jax.Array) -> jax.Array:
        return jax.random.categorical(key, masked_logits(logits, mask)).astype(jnp.int32)

    def mode(logits: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.argmax(masked_logits(logits, mask), axis=-1).astype(jnp.int32)

    def log_prob(logits: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        chosen = jax.nn.one_hot(action, num_actions, dtype=logits.dtype)
        # A one-hot sum instead of a gather: its gradient is a product, where a gather's is a slow scatter on CPU.
        return jnp.sum(jnp.where(chosen > 0, masked_logits(logits, mask), 0.0), axis=-1)

    def entropy(logits: jax.Array, mask: jax.Array) -> jax.Array:
        log_p = masked_logits(logits, mask)
        return -jnp.sum(jnp.where(mask, jnp.exp(log_p) * log_p, 0.0), axis=-1)

    def embed(action: jax.Array) -> jax.Array:
        return jax.nn.one_hot(action, num_actions, dtype=jnp.float32)

    return ActionHead(num_actions, num_actions, sample, mode, log_prob, entropy, embed)
