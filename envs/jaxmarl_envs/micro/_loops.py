"""Structure of the computation: loops over one side of the pairs, and parts that must not be fused."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

Array = jax.Array
_FEW = 16
"""Number of instances up to which nothing is unrolled: compilation would take longer than playing."""
_UNROLL = 33
"""Maximum number of unrolled bodies: more make compilation slower and nothing faster."""


def fold(count: int, body: Callable[[Array, Any], Any], start: Any) -> Any:
    """`start` after `body(j, carry)` for j in 0..count-1."""
    unroll = 1 if jax.tree.leaves(start)[0].shape[-1] < _FEW else _UNROLL
    return jax.lax.fori_loop(0, count, body, start, unroll=max(1, min(count, unroll)))


def row(x: Array, j: Array) -> Array:
    """[1, ...]: row `j` of `x`."""
    return jax.lax.dynamic_slice_in_dim(x, j, 1, 0)


def plane(x: Array, j: Array) -> Array:
    """[...]: `x[j]`."""
    return jax.lax.dynamic_index_in_dim(x, j, 0, keepdims=False)


def apart(number: Array, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, computed once: on CPU, XLA does not recompute parts of it for its consumers.

    XLA for CPU fuses across everything except loops and branches, and recomputes shared results for every consumer.
    This is a branch that is always taken; the compiler does not know this, since `number` (finite) is traced.
    """
    shapes = jax.eval_shape(function, *arguments)
    is_taken = jax.lax.platform_dependent(
        number, cpu=lambda x: jnp.isfinite(x).all(), default=lambda x: jnp.ones((), bool)
    )
    return jax.lax.cond(
        is_taken,
        function,
        lambda *_: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
        *arguments,
    )


def in_rows(x: Array) -> Array:
    """`x` with its axes reversed, and laid out in memory in this order."""
    return with_layout_constraint(x.T, Layout(major_to_minor=tuple(range(x.ndim))))
