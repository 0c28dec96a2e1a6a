"""Target networks: slowly changing copies of parameters."""

from typing import TypeVar

import jax
import jax.numpy as jnp

_Params = TypeVar("_Params")


def polyak(params: _Params, target: _Params, rate: jax.Array | float) -> _Params:
    """The target moved a fraction `rate` towards the parameters: θ⁻ + rate (θ - θ⁻)."""
    return jax.tree.map(lambda new, old: old + rate * (new - old), params, target)


def copied_if(is_due: jax.Array, params: _Params, target: _Params) -> _Params:
    """The parameters if `is_due` [] bool, else the unchanged target."""
    return jax.tree.map(lambda new, old: jnp.where(is_due, new, old), params, target)
