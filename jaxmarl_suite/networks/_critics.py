"""Values of continuous actions: several networks of the same shape, each with its own parameters."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes, torch_dense

LAYER_NORM_EPS = 1e-5  # PyTorch's


@documented
class Critics(NamedTuple):
    """C independent estimates of the value of an action; every leaf of the parameters has a leading [C]."""

    init: Callable[[jax.Array], Any]
    """`key -> params`. Consumes the key."""
    values: Callable[[Any, jax.Array, jax.Array], jax.Array]
    """`(params, context [*B, D], action [*B, X]) -> [C, *B]`."""


class _Critic(nn.Module):
    """ReLU layers (optionally with layer normalization), then one number."""

    hidden: Sequence[int]
    layer_norm: bool
    action_twice: bool

    @nn.compact
    def __call__(self, context: jax.Array, action: jax.Array) -> jax.Array:
        x = jnp.concatenate([context, action], axis=-1)
        for layer, width in enumerate(self.hidden):
            x = torch_dense(x, width)
            if layer == 0 and self.action_twice:
                x = jnp.concatenate([x, action], axis=-1)
            if self.layer_norm:
                x = nn.LayerNorm(epsilon=LAYER_NORM_EPS)(x)
            x = nn.relu(x)
        return torch_dense(x, 1)[..., 0]


def make_critics(
    context_size: int,
    action_size: int,
    *,
    num: int,
    hidden: Sequence[int],
    layer_norm: bool = False,
    action_twice: bool = False,
) -> Critics:
    """C critics of a context and an action, with PyTorch's initialization, each with its own random draws.

    Args:
      context_size: D.
      action_size: X; 0 for values of the context alone.
      num: C.
      hidden: widths of the ReLU layers.
      layer_norm: normalize before each ReLU.
      action_twice: feed the action in again, after the first layer.

    Raises:
      ValueError: sizes below 1.
    """
    check_sizes("make_critics", context_size=context_size, num=num)
    check_sizes("make_critics", at_least=0, action_size=action_size)
    check_sizes("make_critics", **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    critic = _Critic(tuple(hidden), layer_norm, action_twice)

    def init(key: jax.Array) -> Any:
        context, action = (jnp.zeros((1, size), jnp.float32) for size in (context_size, action_size))
        return jax.vmap(lambda key: critic.init(key, context, action))(jax.random.split(key, num))

    def values(params: Any, context: jax.Array, action: jax.Array) -> jax.Array:
        found: Any = jax.vmap(critic.apply, (0, None, None))(params, context, action)
        return found

    return Critics(init, values)
