"""Values of discrete actions with masks of legal actions."""

import jax
import jax.numpy as jnp


def take(q: jax.Array, action: jax.Array) -> jax.Array:
    """[*, N] values of the actions [*, N], as a one-hot sum: on CPU its gradient is cheaper than that of a gather."""
    chosen = jax.nn.one_hot(action, q.shape[-1], dtype=jnp.bool_)
    return jnp.sum(jnp.where(chosen, q, 0.0), axis=-1)


def legal(q: jax.Array, mask: jax.Array) -> jax.Array:
    """[*, N, A] with illegal entries so low that no maximum selects them, but finite."""
    return jnp.where(mask, q, jnp.finfo(q.dtype).min / 2)


def greedy(q: jax.Array, mask: jax.Array) -> jax.Array:
    """[*, N] int32 best legal actions, the lowest index on ties."""
    return jnp.argmax(legal(q, mask), axis=-1).astype(jnp.int32)


def legal_max(q: jax.Array, mask: jax.Array) -> jax.Array:
    """[*, N] values of the best legal actions."""
    return jnp.max(legal(q, mask), axis=-1)


def random_legal(key: jax.Array, mask: jax.Array) -> jax.Array:
    """[*, N] int32 actions, uniform over the legal ones of masks [*, N, A]. Consumes `key`."""
    return jax.random.categorical(key, legal(jnp.zeros(mask.shape, jnp.float32), mask)).astype(jnp.int32)


def epsilon_greedy(key: jax.Array, q: jax.Array, mask: jax.Array, epsilon: jax.Array) -> jax.Array:
    """[*, N] int32: each agent's best legal action, or with probability `epsilon` a uniform one. Consumes `key`."""
    random_key, gate_key = jax.random.split(key)
    random = random_legal(random_key, mask)
    is_random = jax.random.uniform(gate_key, random.shape, jnp.float32) < epsilon
    return jnp.where(is_random, random, greedy(q, mask))
