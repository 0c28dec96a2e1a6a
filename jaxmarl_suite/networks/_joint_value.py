"""QTRAN's value networks: one for state and joint action, one for the state (Son et al. 2019).

Axes: B any batch axes, N agents, F feature entries, G state entries.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import TorchMLP, check_shape, check_sizes, check_team
from jaxmarl_suite.networks._network import Params


@documented
class ValueNetwork(NamedTuple):
    """Parameters and a value function, which returns [*B] float32; its arguments are given by the factory."""

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    value: Callable[..., jax.Array]
    """`(params, ...) -> [*B] float32`."""


class _JointValue(nn.Module):
    num_actions: int
    hidden: int

    @nn.compact
    def __call__(self, features: jax.Array, action: jax.Array, state: jax.Array) -> jax.Array:
        x = jnp.concatenate([features, jax.nn.one_hot(action, self.num_actions, dtype=jnp.float32)], axis=-1)
        encoded = jnp.sum(TorchMLP((x.shape[-1],) * 2, name="encode")(x), axis=-2)
        joined = jnp.concatenate([state, encoded], axis=-1)
        return TorchMLP((self.hidden, self.hidden, 1), name="value")(joined)[..., 0]


def joint_value(
    n_agents: int, num_actions: int, feature_size: int, state_size: int, *, hidden: int = 64
) -> ValueNetwork:
    """Q(s, a) of the joint action, not factorized. `value(params, features, action, state)` returns [*B]:

      features: [*B, N, F] float32, such as the memories of the agents' networks. action: [*B, N] int. state: [*B, G]
      float32; G may be 0.

    Each agent's features and action pass through one shared network of two layers, F + A wide; its outputs are summed
    over agents and concatenated with the state. Deviation from the paper, as in the PyMARL code: the state is an
    input, and the encoders share no layers with the agents' networks.

    Raises:
      ValueError: an invalid size or, when traced, an invalid shape.
    """
    check_team("qtran", n_agents)
    check_sizes("qtran", num_actions=num_actions, feature_size=feature_size, hidden=hidden)
    check_sizes("qtran", 0, state_size=state_size)
    module = _JointValue(num_actions, hidden)

    def init(key: jax.Array) -> Params:
        features = jnp.zeros((1, n_agents, feature_size), jnp.float32)
        return module.init(key, features, jnp.zeros((1, n_agents), jnp.int32), jnp.zeros((1, state_size), jnp.float32))

    def value(params: Params, features: jax.Array, action: jax.Array, state: jax.Array) -> jax.Array:
        batch = action.shape[:-1]
        check_shape("qtran", "action", action.shape, (*batch, n_agents))
        check_shape("qtran", "features", features.shape, (*batch, n_agents, feature_size))
        check_shape("qtran", "state", state.shape, (*batch, state_size))
        values: Any = module.apply(params, features, action, state)
        return values

    return ValueNetwork(init, value)


def state_value(state_size: int, *, hidden: int = 64) -> ValueNetwork:
    """V(s), which accounts for what the agents do not observe. `value(params, state)`: [*B, G] float32 -> [*B]; G may
    be 0.

    Raises:
      ValueError: an invalid size or, when traced, an invalid shape.
    """
    check_sizes("qtran", 0, state_size=state_size)
    check_sizes("qtran", hidden=hidden)
    module = TorchMLP((hidden, hidden, 1))

    def value(params: Params, state: jax.Array) -> jax.Array:
        check_shape("qtran", "state", state.shape, (*state.shape[:-1], state_size))
        values: Any = module.apply(params, state)
        return values[..., 0]

    return ValueNetwork(lambda key: module.init(key, jnp.zeros((1, state_size), jnp.float32)), value)
