"""One network type, and the usual network: a memory over time followed by a multi-layer perceptron.

Axes: L time, B any batch axes (environments, then agents), D input, X extra input, H memory.
"""

import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._critics import LAYER_NORM_EPS
from jaxmarl_suite.networks._dense import layer_norm, torch_bound, torch_dense, uniform_between
from jaxmarl_suite.networks._gru import gru
from jaxmarl_suite.networks._linear import dense_product

Params = Any
Carry = Any
"""A memory: a pytree of arrays whose first axes are those of the batch."""


@documented
class Network(NamedTuple):
    """A network that is unrolled over time. Its memory, the carry, is any pytree; that of a feed-forward one is empty.

    `unroll(params, carry, x, extra, start)` returns `(y, carries)`:
      carry: leaves [*B, ...], the memory before the first step.
      x: [L, *B, D] what passes through the memory.
      extra: [L, *B', X] what joins after the memory; `B'` equals `B`, or is longer where the last axis of `B` is 1 (one
        memory per environment serving one output per agent). X may be 0.
      start: [L, E] bool, an episode starts at this step: the memory is cleared before it, to that of `initial_carry`.
      y: [L, *B', out] float32.
      carries: leaves [L, *B, ...], the memory after each step.
    """

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    initial_carry: Callable[[tuple[int, ...]], Carry]
    """`B -> leaves [*B, ...]`: the memory at the start of an episode."""
    unroll: Callable[[Params, Carry, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Carry]]
    """`(params, carry, x, extra, start) -> (y, carries)`."""
    joins_rows: bool = False
    """Whether the outputs of an environment depend on each other's inputs, as with attention over agents. All rows then have
    to be given at once, and there can be no separate parameters per agent."""

    def step(
        self, params: Params, carry: Carry, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, Carry]:
        """`unroll` for one step: arrays without the time axis."""
        y, carries = self.unroll(params, carry, x[None], extra[None], start[None])
        return y[0], jax.tree.map(lambda c: c[0], carries)


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
            x = activate(layer_norm(x, LAYER_NORM_EPS) if self.layer_norm else x)
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


class Memory(NamedTuple):
    """Layers and a GRU, either of which may be missing: the part of a network that has a carry."""

    size: int
    """Entries of what is remembered: of the GRU, or of the inputs (encoded) where there is none."""
    init: Callable[..., dict[str, Params]]
    """`(GRU's key, encoder's key) -> params`; a second key only where there is an encoder. Consumes the keys."""
    initial_carry: Callable[[tuple[int, ...]], jax.Array]
    """As a network's."""
    unroll: Callable[[Params, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    """`(params, carry, x, start) -> (remembered [L, *B, size], carries)`."""


def make_memory(
    in_size: int,
    *,
    memory_size: int,
    encoder: Sequence[int] = (),
    initializer: Literal["orthogonal", "torch"] = "orthogonal",
) -> Memory:
    """What comes before the layers of `make_network`. Arguments as there."""
    encode = _Layers(tuple(encoder), "relu", initializer) if encoder else None
    cell = _gru_cell(memory_size, initializer) if memory_size else None
    encoded_size = encoder[-1] if encoder else in_size

    def init(cell_key: jax.Array, *encoder_key: jax.Array) -> dict[str, Params]:
        params = {}
        if cell is not None:
            memory, encoded = jnp.zeros((1, memory_size), jnp.float32), jnp.zeros((1, encoded_size), jnp.float32)
            params["cell"] = cell.init(cell_key, memory, encoded)
        if encode is not None:
            params["encoder"] = encode.init(encoder_key[0], jnp.zeros((1, in_size), jnp.float32))
        return params

    def initial_carry(shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros((*shape, memory_size), jnp.float32)

    def unroll(params: Params, carry: jax.Array, x: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        if encode is not None:
            encoded: Any = encode.apply(params["encoder"], x)
            x = encoded
        if cell is None:
            return x, jnp.broadcast_to(carry, (x.shape[0], *carry.shape))
        carries = gru(params["cell"], carry, x, start)
        return carries, carries

    return Memory(memory_size or encoded_size, init, initial_carry, unroll)


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
    memory = make_memory(in_size, memory_size=memory_size, encoder=encoder, initializer=initializer)

    def init(key: jax.Array) -> Params:
        # Without an encoder the keys are split in two, so that networks without one start where they always did.
        head_key, *memory_keys = jax.random.split(key, 3 if encoder else 2)
        joined = jnp.zeros((1, memory.size + extra_size), jnp.float32)
        return {"head": head.init(head_key, joined), **memory.init(*memory_keys)}

    def unroll(
        params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        remembered, carries = memory.unroll(params, carry, x, start)
        joined = jnp.broadcast_to(remembered, (*extra.shape[:-1], remembered.shape[-1]))
        if extra_size:
            joined = jnp.concatenate([joined, extra], axis=-1)
        y: Any = head.apply(params["head"], joined)
        return y, carries

    return Network(init, memory.initial_carry, unroll)


def per_agent(network: Network, n_agents: int) -> Network:
    """`network` with separate parameters for each agent: leaves gain a leading [N]; the last batch axis is agents.

    Raises:
      ValueError: for a network that joins rows.
    """
    if network.joins_rows:
        raise ValueError(
            "a network whose rows see each other serves all agents at once, so that they cannot have parameters of "
            "their own; share parameters, or use another network"
        )

    def init(key: jax.Array) -> Params:
        # One after another: batched LAPACK calls (orthogonal initialization) on several host devices can block each
        # other's threads forever, and single calls are as fast.
        return jax.lax.map(network.init, jax.random.split(key, n_agents))

    def unroll(
        params: Params, carry: Carry, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, Carry]:
        agents = x.ndim - 2  # time and environments come first; `start` is shared by the agents
        every = jax.vmap(network.unroll, in_axes=(0, agents - 1, agents, agents, None), out_axes=agents)
        return every(params, carry, x, extra, start)

    return Network(init, network.initial_carry, unroll)


def append_parameters(network: Network, size: int) -> Network:
    """`network` with `size` learned numbers appended to its outputs, which do not depend on the input and start at
    zero.

    Parameters are `{"network": ..., "appended": [size]}`.
    """

    def init(key: jax.Array) -> Params:
        return {"network": network.init(key), "appended": jnp.zeros((size,), jnp.float32)}

    def unroll(
        params: Params, carry: Carry, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, Carry]:
        y, carries = network.unroll(params["network"], carry, x, extra, start)
        appended = jnp.broadcast_to(params["appended"], (*y.shape[:-1], size))
        return jnp.concatenate([y, appended], axis=-1), carries

    return network._replace(init=init, unroll=unroll)


ComputeDtype = Literal["float32", "bfloat16"]


def computed_in(network: Network, dtype: ComputeDtype) -> Network:
    """`network` with its products, sums and activations in `dtype`. Parameters, gradients, carries and outputs stay float32.

    Raises:
      ValueError: for another dtype.
    """
    if dtype not in typing.get_args(ComputeDtype):
        raise ValueError(f"compute_dtype must be 'float32' or 'bfloat16', got {dtype!r}")
    if dtype == "float32":
        return network

    def unroll(
        params: Params, carry: Carry, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, Carry]:
        params, carry, x, extra = _cast((params, carry, x, extra), jnp.bfloat16)
        with jax.numpy_dtype_promotion("standard"):  # libraries' normalization and attention sum in float32 inside
            found: tuple[jax.Array, Carry] = _cast(network.unroll(params, carry, x, extra, start), jnp.float32)
        return found

    return network._replace(unroll=unroll)


def _cast(tree: Any, dtype: Any) -> Any:
    """`tree` with its floats in `dtype`."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
