"""The two operations that small environments spend their time on, in the form that costs least on CPU."""

import jax
import jax.numpy as jnp


def uniform_index(key: jax.Array, size: jax.Array | int, shape: tuple[int, ...] = ()) -> jax.Array:
    """Integers in 0..size-1, [*shape] int32, nearly uniform. Consumes `key`.

    One draw of bits and one multiplication, where `jax.random.randint` takes two draws and two divisions: on CPU that
    is most of the cost of a small environment's reset. Probabilities are off by a factor of at most 1 + size / 2**24.

    Args:
      key: random key.
      size: number of values, at most 2**24; broadcast against `shape`.
      shape: shape of the result.
    """
    bits = jax.random.bits(key, shape) >> 8  # 24 bits: exact in float32, and the product stays below size when rounded
    scale = jnp.asarray(size, jnp.float32) * jnp.float32(2**-24)
    return (bits.astype(jnp.float32) * scale).astype(jnp.int32)


def mixed(x: jax.Array) -> jax.Array:
    """[*] uint32 of the same shape and dtype: a bijection in which every bit depends on all bits of `x`.

    Two rounds of multiplication and shift, to turn a random word and a number into a further random word.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def one_hot(index: jax.Array, size: int) -> jax.Array:
    """[*index.shape, size] float32: 1 at `index`, and all zeros at `index` = `size`.

    Indices must lie in 0..size. Rows of a table are copied, which takes a third of the time of comparing every entry
    with its position.
    """
    return jnp.eye(size + 1, size).at[index].get(mode="promise_in_bounds")
