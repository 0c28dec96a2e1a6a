"""One network type: a memory over time followed by a multi-layer perceptron.

Axes: L time, B any batch axes (environments, then agents), D input, X extra input, H memory.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any


class Network(NamedTuple):
    """A network that is unrolled over time; a feed-forward one simply has a memory of size zero.

    `unroll(params, carry, x, extra, start)` returns `(y, carries)`:
      carry: [*B, H] memory before the first step.
      x: [L, *B, D] what passes through the memory.
      extra: [L, *B', X] what joins after the memory; `B'` equals `B`, or is longer where the last axis of `B` is 1 (one
        memory an environment serving one output an agent). X may be 0.
      start: [L, E] bool, an episode starts at this step: the memory is cleared before it.
      y: [L, *B', out].
      carries: [L, *B, H] memory after each step.
    """

    init: Callable[[jax.Array], Params]
    initial_carry: Callable[[tuple[int, ...]], jax.Array]
    unroll: Callable[[Params, jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

    def step(
        self, params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """`unroll` for one step: arrays without the time axis."""
        y, carries = self.unroll(params, carry, x[None], extra[None], start[None])
        return y[0], carries[0]


class _Head(nn.Module):
    """Orthogonal tanh layers, then a linear one whose initial scale is `out_scale`."""

    hidden: Sequence[int]
    out_size: int
    out_scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.hidden:
            x = nn.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(self.out_size, kernel_init=nn.initializers.orthogonal(self.out_scale))(x)


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
) -> Network:
    """A feed-forward network, or a GRU of `memory_size` units followed by one.

    Args:
      in_size: D.
      out_size: entries of the output.
      extra_size: X.
      hidden: widths of the tanh layers.
      memory_size: H; 0 for a feed-forward network.
      out_scale: gain of the last layer's orthogonal initialisation; small for near-uniform initial policies.
    """
    head = _Head(tuple(hidden), out_size, out_scale)
    cell = nn.GRUCell(memory_size) if memory_size else None
    features = (memory_size or in_size) + extra_size

    def init(key: jax.Array) -> Params:
        head_key, cell_key = jax.random.split(key)
        params = {"head": head.init(head_key, jnp.zeros((1, features)))}
        if cell is not None:
            params["cell"] = cell.init(cell_key, jnp.zeros((1, memory_size)), jnp.zeros((1, in_size)))
        return params

    def initial_carry(shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros((*shape, memory_size))

    def unroll(
        params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
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
    """`network` with separate parameters for each agent: leaves gain a leading [N]; the last batch axis is agents."""

    def init(key: jax.Array) -> Params:
        # One after another: batched LAPACK calls (orthogonal initialisation) of several host devices can wait for each
        # other's threads for ever, and single ones are as fast.
        return jax.lax.map(network.init, jax.random.split(key, n_agents))

    # Time and environments come first in every array, agents last but one; `start` is shared by the agents.
    unroll = jax.vmap(network.unroll, in_axes=(0, -2, -2, -2, None), out_axes=(-2, -2))
    return Network(init, network.initial_carry, unroll)
