"""A transformer over time with a key-value cache: the whole sequence at once, or a few tokens more.

Axes: B batch axes, S tokens, W width, K tokens of the cache.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.networks import attend
from jaxmarl_suite.networks._dense import layer_norm
from jaxmarl_suite.worldmodels._layers import dense


@pytree_dataclass
class TokenCache:
    """Keys and values of the tokens so far, of one sequence."""

    keys: jax.Array  # [layers, K, W] float32
    values: jax.Array  # [layers, K, W] float32

    @classmethod
    def empty(cls, layers: int, size: int, width: int) -> "TokenCache":
        """Room for `size` tokens."""
        nothing = jnp.zeros((layers, size, width), jnp.float32)
        return cls(nothing, nothing)


class _Layer(nn.Module):
    width: int
    heads: int
    dropout: float

    def setup(self) -> None:
        self.before, self.between = nn.LayerNorm(), nn.LayerNorm()
        self.query, self.key, self.value, self.out = (dense(self.width) for _ in range(4))
        self.inner, self.outer = dense(4 * self.width), dense(self.width)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x: jax.Array, visible: jax.Array, training: bool) -> jax.Array:
        """[*B, S, W] with masks [*B, S, S]."""
        inner = self.before(x)
        seen = attend(self.query(inner), self.key(inner), self.value(inner), visible, heads=self.heads)
        return self.finish(x, seen, training)

    def extend(
        self, x: jax.Array, keys: jax.Array, values: jax.Array, at: jax.Array, together: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Tokens [Q, W] at the places from `at` on, after those in keys and values [K, W]."""
        inner = self.before(x)
        keys = jax.lax.dynamic_update_slice_in_dim(keys, self.key(inner), at, axis=0)
        values = jax.lax.dynamic_update_slice_in_dim(values, self.value(inner), at, axis=0)
        places = at + jnp.arange(x.shape[0], dtype=jnp.int32)
        places = jnp.full_like(places, places[-1]) if together else places
        visible = jnp.arange(keys.shape[0], dtype=jnp.int32)[None] <= places[:, None]
        seen = attend(self.query(inner), keys, values, visible, heads=self.heads)
        return self.finish(x, seen, False), keys, values

    def finish(self, x: jax.Array, seen: jax.Array, training: bool) -> jax.Array:
        x = x + self.drop(self.out(seen), deterministic=not training)
        inner = self.outer(nn.gelu(self.inner(self.between(x))))
        return x + self.drop(inner, deterministic=not training)


class Transformer(nn.Module):
    """Layers with normalization first, and a normalization at the end."""

    layers: int
    width: int
    heads: int
    dropout: float = 0.0

    def setup(self) -> None:
        self.blocks = [_Layer(self.width, self.heads, self.dropout) for _ in range(self.layers)]
        self.last = nn.LayerNorm()

    def __call__(self, x: jax.Array, visible: jax.Array, training: bool = False) -> jax.Array:
        """[*B, S, W] of tokens [*B, S, W]; `visible` [*B, S, S] bool says which tokens each one sees."""
        for block in self.blocks:
            x = block(x, visible, training)
        return self.last(x)

    def extend(
        self, x: jax.Array, cache: TokenCache, at: jax.Array, *, together: bool = False
    ) -> tuple[jax.Array, TokenCache]:
        """`(outputs [Q, W], cache)` of tokens [Q, W] at the places `at`, `at` + 1, ...

        They see all earlier places; with `together` each sees all of the new tokens too.
        """
        keys, values = [], []
        for index, block in enumerate(self.blocks):
            x, key, value = block.extend(x, cache.keys[index], cache.values[index], at, together)
            keys.append(key)
            values.append(value)
        return self.last(x), TokenCache(jnp.stack(keys), jnp.stack(values))


class SetEncoder(nn.Module):
    """Self-attention over the tokens of N agents, then their mean: [*B, N, W] -> [*B, W]."""

    layers: int
    width: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        everyone = jnp.ones((*(1,) * (x.ndim - 2), x.shape[-2], x.shape[-2]), bool)
        x = Transformer(self.layers, self.width, self.heads)(x, everyone)
        return dense(self.width)(layer_norm(x.mean(axis=-2)))
