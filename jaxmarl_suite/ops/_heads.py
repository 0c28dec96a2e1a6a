"""Action heads: distributions over an agent's actions, parameterized by a network's output."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented


@documented
class ActionHead(NamedTuple):
    """A family of distributions over one agent's action, batched over leading axes `*B`.

    `output` is [*B, num_outputs]. `mask` is [*B, A] for discrete actions, and [*B, D] for continuous ones, true for
    entries that are not padding. Padded entries do not count in densities, entropies and losses, and are 0 in `embed`.
    An `action` [*B, *action_shape] of type `dtype` is what is sampled, stored and scored: int32 [*B] for discrete
    actions, float32 [*B, D] for continuous ones. The environment receives `to_env(action)`, which differs from it only
    to keep the action within bounds; so `log_prob` never loses information.
    """

    num_outputs: int
    """Size of `output`."""
    embed_size: int
    """Size of the result of `embed`."""
    action_shape: tuple[int, ...]
    """() for discrete actions, (D,) for continuous ones."""
    dtype: Any
    """Type of actions: int32 or float32."""
    sample: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(key, output, mask) -> action`. Consumes the key."""
    sample_and_log_prob: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    """`(key, output, mask) -> (action, [*B])`: `sample` and its `log_prob`. Continuous actions are differentiable with
    respect to `output`. Consumes the key."""
    mode: Callable[[jax.Array, jax.Array], jax.Array]
    """`(output, mask) -> action`: the greedy action."""
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(output, mask, action) -> [*B]`: log-probability of the whole action, summed over its entries."""
    entropy: Callable[[jax.Array, jax.Array], jax.Array]
    """`(output, mask) -> [*B]`, in nats."""
    imitation_loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(output, mask, action) -> [*B]`: a loss that is minimal if `mode` is `action`, a constant."""
    embed: Callable[[jax.Array], jax.Array]
    """`action -> [*B, embed_size] float32`: the action as a network's input, entries within [-1, 1]."""
    to_env: Callable[[jax.Array], jax.Array]
    """`action ->` the action for the environment: [*B] int32, or [*B, D] float32 within its bounds."""
    from_env: Callable[[jax.Array], jax.Array]
    """An action that `to_env` turns into this one."""

    def no_action(self, *batch: int) -> jax.Array:
        """[*batch, *action_shape] zeros, a placeholder if no action has been taken yet."""
        return jnp.zeros((*batch, *self.action_shape), self.dtype)


def masked_logits(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Log-probabilities with illegal actions at (numerically) zero probability, finite and with finite gradients."""
    return jax.nn.log_softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min / 2))


def categorical(num_actions: int) -> ActionHead:
    """Softmax over the legal ones of `num_actions` actions; the mode breaks ties by the lowest index."""

    def sample(key: jax.Array, logits: jax.Array, mask: jax.Array) -> jax.Array:
        return jax.random.categorical(key, masked_logits(logits, mask)).astype(jnp.int32)

    def mode(logits: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.argmax(masked_logits(logits, mask), axis=-1).astype(jnp.int32)

    def log_prob(logits: jax.Array, mask: jax.Array, action: jax.Array) -> jax.Array:
        chosen = jax.nn.one_hot(action, num_actions, dtype=logits.dtype)
        # A one-hot sum: its gradient is a product, while that of a gather is a slow scatter on CPU.
        return jnp.sum(jnp.where(chosen > 0, masked_logits(logits, mask), 0.0), axis=-1)

    def sample_and_log_prob(key: jax.Array, logits: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        action = sample(key, logits, mask)
        return action, log_prob(logits, mask, action)

    def entropy(logits: jax.Array, mask: jax.Array) -> jax.Array:
        log_p = masked_logits(logits, mask)
        return -jnp.sum(jnp.where(mask, jnp.exp(log_p) * log_p, 0.0), axis=-1)

    def embed(action: jax.Array) -> jax.Array:
        return jax.nn.one_hot(action, num_actions, dtype=jnp.float32)

    return ActionHead(
        num_outputs=num_actions,
        embed_size=num_actions,
        action_shape=(),
        dtype=jnp.int32,
        sample=sample,
        sample_and_log_prob=sample_and_log_prob,
        mode=mode,
        log_prob=log_prob,
        entropy=entropy,
        # KL(δ(action) ‖ softmax), which is the cross-entropy.
        imitation_loss=lambda logits, mask, action: -log_prob(logits, mask, action),
        embed=embed,
        to_env=lambda action: action,
        from_env=lambda action: action,
    )
