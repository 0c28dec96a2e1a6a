"""Comparing and naming trees of arrays for the conformance check."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROUNDING = 1e-4
"""Relative difference that counts as rounding between a step compiled alone and within a larger program."""


def short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else '(no message)'}"


def describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return f"a {type(value).__name__}"


def by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def is_key(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def on_host(tree: Any) -> Any:
    """`tree` in NumPy, except for random keys, which NumPy cannot represent."""
    return jax.tree.map(lambda x: x if is_key(x) else np.asarray(x), tree)


def differences(left: Any, right: Any, *, close: Callable[..., bool]) -> list[str]:
    """The paths at which two trees of arrays differ."""
    lefts, rights = by_path(left), by_path(right)
    if lefts.keys() != rights.keys():
        return ["(tree structure)"]
    return [path for path in lefts if not close(plain(lefts[path]), plain(rights[path]))]


def plain(value: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(value) if is_key(value) else value)


# NaN is reported separately; in comparisons it equals itself.
equal = partial(np.array_equal, equal_nan=True)


def close(left: np.ndarray, right: np.ndarray, *, most: float = 0.1) -> bool:
    """Whether floats differ by rounding at most; other values must be equal.

    The tolerance of entries near zero depends on the largest entry of their array, capped at `most`: in physics many
    are differences of larger numbers, and an angle computed from its cosine is less exact the smaller it is.
    """
    if left.shape != right.shape or not jnp.issubdtype(left.dtype, jnp.floating):
        return equal(left, right)
    scale = np.abs(right, out=np.zeros_like(right), where=np.isfinite(right)).max(initial=0.1)
    return np.allclose(left, right, rtol=ROUNDING, atol=ROUNDING * min(scale, most), equal_nan=True)
