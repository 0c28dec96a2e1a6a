"""Action heads: what turns a network's output into a distribution over one agent's actions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented


@documented
class ActionHead(NamedTuple):
    """A family of distributions over one agent's action, batched over leading axes `*B`.

    `output` is [*B, num_outputs]; `mask` is [*B, A], or [*B, D] where actions are continuous, true for the entries that are
    no padding. Padded entries have no part in densities, entropies and losses, and are 0 in `embed`. What is drawn, stored
    and scored is an `action` [*B, *action_shape] of type `dtype`: int32 without further axes where actions are discrete,
    float32 [*B, D] where they are continuous. The environment is given `to_env(action)`, which differs from it where a
    bound has to be kept, and by which nothing is lost that `log_prob` needs.
    """

    num_outputs: int
    """Entries of `output`."""
    embed_size: int
    """Entries of what `embed` gives."""
    action_shape: tuple[int, ...]
    """() where actions are discrete, (D,) where they are continuous."""
    dtype: Any
    """Of actions: int32 or float32."""
    sample: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(key, output, mask) -> action`. Consumes the key."""
    sample_and_log_prob: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    """`(key, output, mask) -> (action, [*B])`: `sample` and its `log_prob`. Continuous actions are differentiable with
    respect to `output`. Consumes the key."""
    mode: Callable[[jax.Array, jax.Array], jax.Array]
    """`(output, mask) -> action`: what is played greedily."""
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(output, mask, action) -> [*B]`: of the whole action, summed over its entries."""
    entropy: Callable[[jax.Array, jax.Array], jax.Array]
    """`(output, mask) -> [*B]` in nats."""
    imitation_loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """`(output, mask, action) -> [*B]`: least where `mode` is `action`, a constant."""
    embed: Callable[[jax.Array], jax.Array]
    """`action -> [*B, embed_size] float32`: the action as a network's input, entries within [-1, 1]."""
    to_env: Callable[[jax.Array], jax.Array]
    """`action ->` what the environment is given: [*B] int32, or [*B, D] float32 within its bounds."""
    from_env: Callable[[jax.Array], jax.Array]
    """An action that `to_env` turns into this one."""

    def no_action(self, *batch: int) -> jax.Array:
        """[*batch, *action_shape] zeros, where an action is asked for and none has been taken yet."""
        return jnp.zeros((*batch, *self.action_shape), self.dtype)


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
