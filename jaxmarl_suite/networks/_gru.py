"""The gated recurrent unit over time (Cho et al. 2014, reset gate after the product), fast on CPU too.

Parameters are those of `flax.linen.GRUCell`. The cell in a scan is the same function, but its loop holds what does not need
the memory: the inputs' products, and in the backward pass the weights' gradients. Here each of these is one product over all
steps, before or after the loop (benchmarks/README.md has the measurement).

Axes: L time, R rows (all batch axes), D input, H memory.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmarl_suite.networks._linear import linear, weight_gradients

Gates = tuple[jax.Array, jax.Array, jax.Array]
"""Of the reset gate, the update gate and the candidate. Separate: three joined in one product are slower on CPU."""


def gru(params: Any, carry: jax.Array, x: jax.Array, start: jax.Array) -> jax.Array:
    """[L, *B, H] memories after each step. Reverse-mode differentiable only.

    Args:
      params: of `flax.linen.GRUCell(H)`, `{"params": {"ir": {"kernel": [D, H], "bias": [H]}, ...}}`.
      carry: [*B, H] memory before the first step.
      x: [L, *B, D].
      start: [L, *B'] bool, `B'` the first axes of `B`: the memory is cleared before this step.
    """
    own = params["params"]
    over_rows = tuple(range(x.ndim - 1))
    inputs = tuple(
        linear(x, own[name]["kernel"]) + jnp.expand_dims(own[name]["bias"], over_rows) for name in ("ir", "iz", "in")
    )
    kernels = tuple(own[name]["kernel"] for name in ("hr", "hz", "hn"))
    width = carry.shape[-1]
    starts = start.reshape(start.shape + (1,) * (x.ndim - start.ndim))
    rows = jnp.broadcast_to(starts, (*x.shape[:-1], 1)).reshape(x.shape[0], -1, 1)
    flat = jax.tree.map(lambda a: a.reshape(a.shape[0], -1, width), inputs)
    after = _unroll(flat, carry.reshape(-1, width), rows, kernels, own["hn"]["bias"])
    return after.reshape(*x.shape[:-1], width)


@jax.custom_vjp
def _unroll(inputs: Gates, carry: jax.Array, start: jax.Array, kernels: Gates, bias: jax.Array) -> jax.Array:
    """Memories [L, R, H] after each step, of inputs' products [L, R, H], carry [R, H] and start [L, R, 1]."""

    def advance(h: jax.Array, step: tuple[Gates, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h, _ = _advance(h, *step, kernels, bias)
        return h, h

    return jax.lax.scan(advance, carry, (inputs, start))[1]


def _advance(
    h: jax.Array, inputs: Gates, start: jax.Array, kernels: Gates, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """`(memory after the step, what the backward pass needs)`, all [R, H]."""
    before = jnp.where(start, jnp.zeros_like(h), h)
    remembered = before @ kernels[2] + bias[None]
    reset = nn.sigmoid(inputs[0] + before @ kernels[0])
    update = nn.sigmoid(inputs[1] + before @ kernels[1])
    candidate = jnp.tanh(inputs[2] + reset * remembered)
    return candidate + update * (before - candidate), (before, remembered, reset, update, candidate)


def _forward(
    inputs: Gates, carry: jax.Array, start: jax.Array, kernels: Gates, bias: jax.Array
) -> tuple[jax.Array, tuple[Any, ...]]:
    def advance(h: jax.Array, step: tuple[Gates, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        h, saved = _advance(h, *step, kernels, bias)
        return h, (h, *saved)

    _, (after, *saved) = jax.lax.scan(advance, carry, (inputs, start))
    return after, (start, kernels, *saved)


def _backward(saved: tuple[Any, ...], g: jax.Array) -> tuple[Gates, jax.Array, None, Gates, jax.Array]:
    start, kernels, before, *gates = saved
    transposed = tuple(kernel.T for kernel in kernels)

    def retreat(dh: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        own, start, before, remembered, reset, update, candidate = step
        dh = dh + own
        d_candidate = dh * (1 - update) * (1 - candidate * candidate)
        d_update = dh * (before - candidate) * update * (1 - update)
        d_reset = d_candidate * remembered * reset * (1 - reset)
        d_remembered = d_candidate * reset
        d_before = dh * update + d_reset @ transposed[0] + d_update @ transposed[1] + d_remembered @ transposed[2]
        return jnp.where(start, jnp.zeros_like(dh), d_before), (d_reset, d_update, d_candidate, d_remembered)

    d_carry, (d_reset, d_update, d_candidate, d_remembered) = jax.lax.scan(
        retreat, jnp.zeros_like(before[0]), (g, start, before, *gates), reverse=True
    )
    by_reset, by_update, by_candidate = weight_gradients(before, (d_reset, d_update, d_remembered))
    return (
        (d_reset, d_update, d_candidate),
        d_carry,
        None,
        (by_reset, by_update, by_candidate),
        d_remembered.sum((0, 1)),
    )


_unroll.defvjp(_forward, _backward)
