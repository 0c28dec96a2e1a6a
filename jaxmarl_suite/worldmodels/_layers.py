"""Layers of the world models.

Axes: B batch axes, L time, C channels, W width.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmarl_suite.networks import attend
from jaxmarl_suite.networks._dense import layer_norm
from jaxmarl_suite.networks._linear import dense_product

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"silu": nn.silu, "gelu": nn.gelu, "relu": nn.relu}


def dense(width: int, *, zero: bool = False, name: str | None = None) -> nn.Dense:
    """A dense layer; `zero` for one whose kernel and bias start at zero."""
    init = nn.initializers.zeros_init() if zero else nn.initializers.lecun_normal()
    return nn.Dense(width, kernel_init=init, dot_general=dense_product, name=name)


class MLP(nn.Module):
    """Layers with an activation (after a normalization, if asked for), then a linear one: [*B, D] -> [*B, widths[-1]]."""

    widths: Sequence[int]
    activation: Literal["silu", "gelu", "relu"] = "silu"
    normalized: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths[:-1]:
            x = dense(width)(x)
            x = ACTIVATIONS[self.activation](layer_norm(x) if self.normalized else x)
        return dense(self.widths[-1])(x)


class Conv3(nn.Module):
    """A convolution over time with a kernel of 3, padded by zeros: [*B, L, D] -> [*B, L / stride, width].

    Time has a few entries only, so that one product with the joined neighbors is the fastest form on every device.
    """

    width: int
    stride: int = 1
    zero: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        before, after = neighbors(x)
        joined = jnp.concatenate([before, x, after], axis=-1)[..., :: self.stride, :]
        return dense(self.width, zero=self.zero)(joined)


class Upsample(nn.Module):
    """A transposed convolution with a kernel of 4, stride 2 and padding 1: [*B, L, D] -> [*B, 2 L, width].

    out[2 t] = W_1 x[t] + W_3 x[t - 1] and out[2 t + 1] = W_2 x[t] + W_0 x[t + 1], each with the same bias.
    """

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        before, after = neighbors(x)
        even = nn.Dense(self.width, use_bias=False, dot_general=dense_product)(jnp.concatenate([x, before], axis=-1))
        odd = nn.Dense(self.width, use_bias=False, dot_general=dense_product)(jnp.concatenate([x, after], axis=-1))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,), jnp.float32)
        both = jnp.stack([even, odd], axis=-2)
        both = both.reshape(*x.shape[:-2], 2 * x.shape[-2], self.width)
        return both + jnp.broadcast_to(bias, both.shape)


def neighbors(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The entries one step earlier and one step later along time, [*B, L, C] each; zeros at the ends."""
    edge = jnp.zeros_like(x[..., :1, :])
    return jnp.concatenate([edge, x[..., :-1, :]], axis=-2), jnp.concatenate([x[..., 1:, :], edge], axis=-2)


def num_groups(channels: int) -> int:
    """Groups of a normalization: one per 32 channels, fewer where that does not divide them."""
    groups = max(1, channels // 32)
    while channels % groups:
        groups -= 1
    return groups


def group_norm(x: jax.Array, *, affine: bool = False) -> jax.Array:
    """[*B, L, C] normalized over time and over the channels of a group. For the body of a compact flax module."""
    return nn.GroupNorm(
        num_groups(x.shape[-1]), epsilon=1e-5, use_bias=affine, use_scale=affine, reduction_axes=(-2, -1)
    )(x)


class Attention(nn.Module):
    """Attention of queries [*B, Q, *] to a context [*B, S, *], with a mask broadcast to [*B, Q, S]: [*B, Q, out]."""

    heads: int
    head_width: int
    out: int

    @nn.compact
    def __call__(self, queries: jax.Array, context: jax.Array, visible: jax.Array) -> jax.Array:
        width = self.heads * self.head_width
        query, key, value = dense(width)(queries), dense(width)(context), dense(width)(context)
        return dense(self.out)(attend(query, key, value, visible, heads=self.heads))


class GatedFeedForward(nn.Module):
    """A GEGLU layer of four times the width: [*B, W] -> [*B, W]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        value, gate = jnp.split(dense(8 * width)(x), 2, axis=-1)
        return dense(width)(value * nn.gelu(gate))


class SelfAttentionBlock(nn.Module):
    """A transformer's layer with normalization first: [*B, S, W] -> [*B, S, W]."""

    heads: int
    head_width: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        inner = layer_norm(x)
        x = x + Attention(self.heads, self.head_width, x.shape[-1])(inner, inner, visible)
        return x + GatedFeedForward()(layer_norm(x))
