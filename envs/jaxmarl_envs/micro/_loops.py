"""Loops over one side of the pairs, unrolled where that pays."""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
_UNROLL = 33
"""Most bodies in a row: more make compilation long and nothing faster."""


def fold(count: int, body: Callable[[Array, Any], Any], start: Any) -> Any:
    """`start` after `body(j, carry)` for j in 0..count-1."""
    return jax.lax.fori_loop(0, count, body, start, unroll=max(1, min(count, _UNROLL)))


def row(x: Array, j: Array) -> Array:
    """[1, ...]: row `j` of `x`."""
    return jax.lax.dynamic_slice_in_dim(x, j, 1, 0)


def plane(x: Array, j: Array) -> Array:
    """[...]: `x[j]`."""
    return jax.lax.dynamic_index_in_dim(x, j, 0, keepdims=False)
