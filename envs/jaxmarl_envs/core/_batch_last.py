"""Computation with instances on the last axis: long rows of equal work, which CPUs like, whatever `vmap` says.

Also loops over one side of pairs, and parts that must not be fused.
"""

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


def random_words(keys: Array, count: int) -> Array:
    """[count, E] uint32 random words. Consumes `keys` [E]."""
    return jax.vmap(lambda key: jax.random.bits(key, (count,), jnp.uint32), out_axes=1)(keys)


def batch_last(number: Callable[[Any], Array], function: Callable[..., Any]) -> Any:
    """Turns `function` of arguments [.., E] and keys [E] into a function of one instance: `vmap` puts its axis last.

    Its results, [state, obs, global state, ..], have all axes reversed: [E, N, D] outside is [D, N, E] inside. Params,
    the last argument, keep size 1 along the last axis if instances share them; `number` of them is finite (see `apart`).
    """

    def spread(arguments: Any, is_batched: Any, size: int) -> list[Any]:
        def last(x: Array, batched: bool) -> Array:
            return jnp.moveaxis(x, 0, -1) if batched else jnp.broadcast_to(x[..., None], (*x.shape, size))

        def last_of_params(x: Array, batched: bool) -> Array:
            return jnp.moveaxis(x, 0, -1) if batched else x[..., None]

        *others, params = zip(arguments, is_batched)
        return [*(jax.tree.map(last, *pair) for pair in others), jax.tree.map(last_of_params, *params)]

    @jax.custom_batching.custom_vmap
    def single(*arguments: Any) -> Any:
        found = function(*spread(arguments, jax.tree.map(lambda _: False, arguments), 1))
        return jax.tree.map(lambda x: x[..., 0].T, found)

    @single.def_vmap
    def _(axis_size: int, is_batched: Any, *arguments: Any) -> Any:
        batched = spread(arguments, is_batched, axis_size)
        state, obs, whole, *others = function(*batched)
        # Networks read these in rows. Turned within the selection of restarted episodes, they would be read from memory in
        # the wrong order.
        obs, whole = apart(number(batched[-1]), lambda *shown: tuple(map(in_rows, shown)), obs, whole)
        found = [jax.tree.map(jnp.transpose, state), obs, whole, *jax.tree.map(jnp.transpose, others)]
        return found, jax.tree.map(lambda _: True, found)

    return single
