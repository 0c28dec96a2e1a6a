"""Operations that dominate the cost of small environments, in the form that is cheapest on CPU."""

import jax
import jax.numpy as jnp

_MAX_COUNTED = 64


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


def random_legal(key: jax.Array, mask: jax.Array) -> jax.Array:
    """[*] int32: an index at which mask [*, A] is true, uniformly; 0 where none is. Consumes `key`.

    Up to 64 entries, one number is drawn per row, and the entry of that rank is found by counting, which on
    CPU is cheaper than one number per entry. See `uniform_index` for how nearly uniform it is.
    """
    size = mask.shape[-1]
    if size > _MAX_COUNTED:  # the loop below would be slow to compile
        noise = jax.random.uniform(key, mask.shape, jnp.float32)
        return jnp.where(mask, noise, -1.0).argmax(-1).astype(jnp.int32)
    count = mask.sum(-1, dtype=jnp.int32)
    rank = uniform_index(key, count, mask.shape[:-1])
    seen = index = jnp.zeros_like(rank)
    for entry in range(size - 1):
        seen = seen + mask[..., entry].astype(jnp.int32)
        index = index + (seen <= rank).astype(jnp.int32)
    return jnp.where(count > 0, index, 0)


def one_hot(index: jax.Array, size: int) -> jax.Array:
    """[*index.shape, size] float32: 1 at `index`, and all zeros at `index` = `size`.

    Indices must lie in 0..size. Rows of a table are copied, which takes a third of the time of comparing every entry
    with its position.
    """
    return jnp.eye(size + 1, size, dtype=jnp.float32).at[index].get(mode="promise_in_bounds")
