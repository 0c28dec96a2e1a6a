"""Values of all discrete actions: several networks of the same shape, each with its own parameters."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.networks._network import _Layers


@documented
class ActionValues(NamedTuple):
    """C independent estimates of the values of A actions; every leaf of the parameters has a leading [C]."""

    init: Callable[[jax.Array], Any]
    """`key -> params`. Consumes the key."""
    values: Callable[[Any, jax.Array], jax.Array]
    """`(params, x [*B, D]) -> [C, *B, A]`."""


def make_action_values(
    in_size: int, num_actions: int, *, num: int, hidden: Sequence[int], layer_norm: bool = False
) -> ActionValues:
    """C networks with ReLU layers and PyTorch's initialization, each with its own random draws.

    Args:
      in_size: D.
      num_actions: A.
      num: C.
      hidden: widths of the layers.
      layer_norm: normalize before each ReLU.

    Raises:
      ValueError: sizes below 1.
    """
    check_sizes("make_action_values", in_size=in_size, num_actions=num_actions, num=num)
    check_sizes("make_action_values", **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    layers = _Layers(tuple(hidden), "relu", "torch", num_actions, layer_norm=layer_norm)

    def init(key: jax.Array) -> Any:
        return jax.vmap(lambda key: layers.init(key, jnp.zeros((1, in_size), jnp.float32)))(jax.random.split(key, num))

    def values(params: Any, x: jax.Array) -> jax.Array:
        found: Any = jax.vmap(layers.apply, (0, None))(params, x)
        return found

    return ActionValues(init, values)
