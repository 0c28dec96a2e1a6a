"""Two operations that dominate the cost of small environments, in the form that is cheapest on CPU."""

import jax
import jax.numpy as jnp


def uniform_index(key: jax.Array, size: jax.Array | int, shape: tuple[int, ...] = ()) -> jax.Array:
    """Integers in 0..size-1, [*shape] int32, nearly uniform. Consumes `key`.

    It needs one draw of bits and one multiplication, while `jax.random.randint` needs two draws and two divisions: on
    CPU that is most of the cost of a small environment's reset. Probabilities are off by a factor of at most 1 + size
    / 2**24.

    Args:
      key: random key.
      size: number of values, at most 2**24; broadcast against `shape`.
      shape: shape of the result.
    """
    # 24 bits: exact in float32, and the product stays below size when rounded.
    bits = jax.random.bits(key, shape, jnp.uint32) >> 8
    scale = jnp.asarray(size, jnp.float32) * jnp.float32(2**-24)
    return (bits.astype(jnp.float32) * scale).astype(jnp.int32)


def one_hot(index: jax.Array, size: int) -> jax.Array:
    """[*index.shape, size] float32: 1 at `index`, and all zeros at `index` = `size`.

    Indices must lie in 0..size. Rows of a table are copied, which takes a third of the time of comparing every entry
    with its position.
    """
    return jnp.eye(size + 1, size, dtype=jnp.float32).at[index].get(mode="promise_in_bounds")
