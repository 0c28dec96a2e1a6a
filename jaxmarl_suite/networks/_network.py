"""One network type: an optional GRU over time, followed by a multi-layer perceptron.

Axes: L time, B any batch axes (environments, then agents), D input, X extra input, H memory.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._critics import LAYER_NORM_EPS
from jaxmarl_suite.networks._dense import torch_bound, torch_dense, uniform_between
from jaxmarl_suite.networks._linear import dense_product

Params = Any


@documented
class Network(NamedTuple):
    """A network that is unrolled over time; a feed-forward network has a memory of size zero.

    `unroll(params, carry, x, extra, start)` returns `(y, carries)`:
      carry: [*B, H] memory before the first step.
      x: [L, *B, D] input of the recurrent part.
      extra: [L, *B', X] input that joins after the recurrent part; `B'` equals `B`, or is longer where the last axis
        of `B` is 1 (one
        memory per environment serving one output per agent). X may be 0.
      start: [L, E] bool, an episode starts at this step: the memory is cleared before it.
      y: [L, *B', out].
      carries: [L, *B, H] memory after each step.
    """

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    initial_carry: Callable[[tuple[int, ...]], jax.Array]
    """`B -> [*B, H]`: the memory at the start of an episode."""
    unroll: Callable[[Params, jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    """`(params, carry, x, extra, start) -> (y, carries)`."""

    def step(
        self, params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """`unroll` for one step: arrays without the time axis."""
        y, carries = self.unroll(params, carry, x[None], extra[None], start[None])
        return y[0], carries[0]


class _Layers(nn.Module):
    """Layers with an activation, then, if `out_size` is given, a linear one with orthogonal gain `out_scale`."""

    hidden: Sequence[int]
    activation: Literal["tanh", "relu"]
    initializer: Literal["orthogonal", "torch"]
    out_size: int | None = None
    out_scale: float = 1.0
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activate = nn.tanh if self.activation == "tanh" else nn.relu
        for width in self.hidden:
            x = self.dense(x, width, 2**0.5)
            x = activate(nn.LayerNorm(epsilon=LAYER_NORM_EPS)(x) if self.layer_norm else x)
        return x if self.out_size is None else self.dense(x, self.out_size, self.out_scale)

    def dense(self, x: jax.Array, width: int, scale: float) -> jax.Array:
        if self.initializer == "torch":
            return torch_dense(x, width)
        return nn.Dense(width, kernel_init=nn.initializers.orthogonal(scale), dot_general=dense_product)(x)


def _gru_cell(memory_size: int, initializer: Literal["orthogonal", "torch"]) -> nn.GRUCell:
    """A GRU cell. With "torch" its input and memory biases are one term in the gates, while PyTorch has two."""
    if initializer == "orthogonal":
        return nn.GRUCell(memory_size)
    init = uniform_between(torch_bound(memory_size))
    return nn.GRUCell(memory_size, kernel_init=init, recurrent_kernel_init=init, bias_init=init)


def _expand(start: jax.Array, like: jax.Array) -> jax.Array:
    return start.reshape(start.shape + (1,) * (like.ndim - start.ndim))


def make_network(
    in_size: int,
    out_size: int,
    *,
    extra_size: int = 0,
    hidden: Sequence[int] = (64, 64),
    memory_size: int = 0,
    out_scale: float = 1.0,
    encoder: Sequence[int] = (),
    activation: Literal["tanh", "relu"] = "tanh",
    initializer: Literal["orthogonal", "torch"] = "orthogonal",
    layer_norm: bool = False,
) -> Network:
    """A feed-forward network, or a GRU with `memory_size` units followed by one.

    The usual network of Q-learning, Linear-ReLU-GRU-Linear (QMIX, Rashid et al. 2018), is `encoder=(64,)`,
    `memory_size=64`, `hidden=()`, `initializer="torch"`.

    Args:
      in_size: D.
      out_size: entries of the output.
      extra_size: X.
      hidden: widths of the layers after the memory.
      memory_size: H; 0 for a feed-forward network.
      out_scale: gain of the last layer's orthogonal initialization; small for near-uniform initial policies.
      encoder: widths of ReLU layers that `x` passes before the memory.
      activation: of the layers `hidden`.
      initializer: "orthogonal", with biases of zero and gain sqrt(2) in `hidden`, for PPO; "torch" for PyTorch's
        uniform default in layers and memory, as the published Q-learning settings are.
      layer_norm: normalize before each activation of the layers `hidden`.

    Raises:
      ValueError: for an unknown activation or initializer, or an `out_scale` that the initializer does not read.
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation must be 'tanh' or 'relu', got {activation!r}")
    if initializer not in ("orthogonal", "torch"):
        raise ValueError(f"initializer must be 'orthogonal' or 'torch', got {initializer!r}")
    if initializer == "torch" and out_scale != 1.0:
        raise ValueError(
            f"out_scale is the gain of initializer 'orthogonal'; with 'torch' it must be 1.0, got {out_scale}"
        )
    head = _Layers(tuple(hidden), activation, initializer, out_size, out_scale, layer_norm)
    encode = _Layers(tuple(encoder), "relu", initializer) if encoder else None
    cell = _gru_cell(memory_size, initializer) if memory_size else None
    encoded_size = encoder[-1] if encoder else in_size
    features = (memory_size or encoded_size) + extra_size

    def init(key: jax.Array) -> Params:
        # Without an encoder the key is split in two, which keeps the initial parameters of such networks unchanged.
        head_key, cell_key, *encoder_key = jax.random.split(key, 3 if encode else 2)
        params = {"head": head.init(head_key, jnp.zeros((1, features), jnp.float32))}
        if cell is not None:
            memory, encoded = jnp.zeros((1, memory_size), jnp.float32), jnp.zeros((1, encoded_size), jnp.float32)
            params["cell"] = cell.init(cell_key, memory, encoded)
        if encode is not None:
            params["encoder"] = encode.init(encoder_key[0], jnp.zeros((1, in_size), jnp.float32))
        return params

    def initial_carry(shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros((*shape, memory_size), jnp.float32)

    def unroll(
        params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        if encode is not None:
            encoded: Any = encode.apply(params["encoder"], x)
            x = encoded
        if cell is None:
            remembered = x
            carries = jnp.broadcast_to(carry, (x.shape[0], *carry.shape))
        else:

            def advance(h: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                x_t, start_t = inputs
                h = jnp.where(_expand(start_t, h), jnp.zeros_like(h), h)
                h, _ = cell.apply(params["cell"], h, x_t)
                return h, h

            _, carries = jax.lax.scan(advance, carry, (x, start))
            remembered = carries
        joined = jnp.broadcast_to(remembered, (*extra.shape[:-1], remembered.shape[-1]))
        if extra_size:
            joined = jnp.concatenate([joined, extra], axis=-1)
        y: Any = head.apply(params["head"], joined)
        return y, carries

    return Network(init, initial_carry, unroll)


def per_agent(network: Network, n_agents: int) -> Network:
    """`network` with separate parameters per agent: leaves have a leading [N], and the last batch axis is the agents."""

    def init(key: jax.Array) -> Params:
        # One after another: batched LAPACK calls (orthogonal initialization) on several host devices can block each
        # other's threads forever, and single calls are as fast.
        return jax.lax.map(network.init, jax.random.split(key, n_agents))

    # Time and environments come first in every array, agents last but one; `start` is shared by the agents.
    unroll = jax.vmap(network.unroll, in_axes=(0, -2, -2, -2, None), out_axes=(-2, -2))
    return Network(init, network.initial_carry, unroll)


def append_parameters(network: Network, size: int) -> Network:
    """`network` with `size` learned numbers appended to its outputs, which do not depend on the input and start at
    zero.

    Parameters are `{"network": ..., "appended": [size]}`.
    """

    def init(key: jax.Array) -> Params:
        return {"network": network.init(key), "appended": jnp.zeros((size,), jnp.float32)}

    def unroll(
        params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        y, carries = network.unroll(params["network"], carry, x, extra, start)
        appended = jnp.broadcast_to(params["appended"], (*y.shape[:-1], size))
        return jnp.concatenate([y, appended], axis=-1), carries

    return Network(init, network.initial_carry, unroll)
