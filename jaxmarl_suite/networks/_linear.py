"""The matrix product of dense layers, with a weight gradient that is also fast on CPU."""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_vjp
def linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., I] times [I, O]: [..., O]. Reverse-mode differentiable only.

    XLA's CPU backend contracts the leading axes of both factors of a weight gradient, x' g, much more slowly than it
    computes a plain product; a transposed copy of x costs much less (benchmarks/README.md has the measurement).
    Accelerators read transposed factors directly.
    """
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def weight_gradients(x: jax.Array, gs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Products [I, O] of x [..., I] with each of g [..., O] over all leading axes, x' g."""
    rows, columns = x.reshape(-1, x.shape[-1]), tuple(g.reshape(-1, g.shape[-1]) for g in gs)

    def with_copy(rows: jax.Array, columns: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        copy = jax.lax.optimization_barrier(rows.T)  # the barrier keeps XLA from folding the transpose back
        return tuple(copy @ g for g in columns)

    def without(rows: jax.Array, columns: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(rows.T @ g for g in columns)

    return jax.lax.platform_dependent(rows, columns, cpu=with_copy, default=without)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return g @ kernel.T, weight_gradients(x, (g,))[0]


linear.defvjp(_forward, _backward)


def dense_product(inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, **_: Any) -> jax.Array:
    """`linear` in the form that `flax.linen.Dense(dot_general=...)` calls.

    Raises:
      ValueError: the product is not over the last axis of `inputs` and the first of `kernel`.
    """
    expected = (((inputs.ndim - 1,), (0,)), ((), ()))
    if kernel.ndim != 2 or dimension_numbers != expected:
        raise ValueError(
            f"dense_product contracts the last axis of its inputs with the first of a kernel [I, O], got inputs "
            f"{inputs.shape}, kernel {kernel.shape} and dimension numbers {dimension_numbers}; accepted: {expected}"
        )
    return linear(jnp.asarray(inputs), kernel)
