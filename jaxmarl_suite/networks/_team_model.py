"""The networks of a learned model of a team's task: MAZero (Liu et al. 2024, arXiv 2405.11778), section 4.1.

Axes: B any batch axes, N agents, A actions per agent, O entries of an observation, H entries of an agent's state, R bins.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._critics import LAYER_NORM_EPS
from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.networks._linear import dense_product
from jaxmarl_suite.networks._network import Params


@documented
class TeamModel(NamedTuple):
    """A model of how the team's actions change latent states, with one row per agent."""

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    represent: Callable[[Params, jax.Array], jax.Array]
    """`(params, obs [*B, N, O]) -> state [*B, N, H]`."""
    advance: Callable[..., tuple[jax.Array, jax.Array]]
    """`(params, state [*B, N, H], action [*B, N] int, dropout_key=None, gradient_share=1.0) -> (next state [*B, N, H],
    reward logits [*B, R])`. With a key, which is consumed, dropout is applied in the communication between agents, as in
    training. The gradient that passes back through the next state (the reward's too) is multiplied by
    `gradient_share`."""
    assess: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]
    """`(params, state [*B, N, H]) -> (policy logits [*B, N, A], value logits [*B, R])`."""
    project: Callable[[Params, jax.Array], jax.Array]
    """`(params, state [*B, N, H]) -> [*B, H]`: the projection for SimSiam, for the target side."""
    predict_projection: Callable[[Params, jax.Array], jax.Array]
    """`(params, state [*B, N, H]) -> [*B, H]`: the same for the predicting side."""


class _Sizes(NamedTuple):
    n_agents: int
    num_actions: int
    width: int
    hidden: tuple[int, ...]
    head_hidden: tuple[int, ...]
    predictor_hidden: int
    num_bins: int
    num_layers: int
    num_heads: int
    dropout: float


def _dense(width: int, *, zero: bool = False) -> nn.Dense:
    kernel = nn.initializers.zeros if zero else nn.initializers.orthogonal(2**0.5)
    return nn.Dense(width, kernel_init=kernel, dot_general=dense_product)


def _norm() -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=LAYER_NORM_EPS)


class _Stack(nn.Module):
    """Dense, ReLU and layer normalization for each width; then, if `out_size` is given, a dense layer of zeros."""

    widths: Sequence[int]
    out_size: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths:
            x = _norm()(nn.relu(_dense(width)(x)))
        return x if self.out_size is None else _dense(self.out_size, zero=True)(x)


def position_code(n_agents: int, width: int) -> np.ndarray:
    """[N, width] float32: sines in the even columns, cosines in the odd ones, of agent / 10000^(column pair / width)."""
    column = np.arange(width)
    angle = np.arange(n_agents)[:, None] / 10_000.0 ** ((column - column % 2) / width)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


class _Communication(nn.Module):
    """Attention between agents: [*B, N, H + A] -> [*B, N, H]."""

    sizes: _Sizes

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        sizes = self.sizes
        x = nn.relu(_dense(sizes.width)(x))
        x = x + position_code(sizes.n_agents, sizes.width).reshape((1,) * (x.ndim - 2) + (sizes.n_agents, sizes.width))

        def drop(x: jax.Array) -> jax.Array:
            return nn.Dropout(sizes.dropout, deterministic=not training)(x)

        for _ in range(sizes.num_layers):
            attend = nn.MultiHeadDotProductAttention(
                sizes.num_heads, dropout_rate=sizes.dropout, deterministic=not training
            )
            x = _norm()(x + drop(attend(x)))
            inner = drop(nn.relu(_dense(sizes.width)(x)))
            x = _norm()(x + drop(_dense(sizes.width)(inner)))
        return x


class _TeamNetworks(nn.Module):
    sizes: _Sizes

    def setup(self) -> None:
        sizes = self.sizes
        self.observe = nn.Sequential([_norm(), _Stack((*sizes.hidden, sizes.width))])
        self.communicate = _Communication(sizes) if sizes.num_layers else None
        self.change = _Stack((*sizes.hidden, sizes.width))
        self.reward = _Stack(sizes.head_hidden, sizes.num_bins)
        self.value = _Stack(sizes.head_hidden, sizes.num_bins)
        self.policy = _Stack(sizes.head_hidden, sizes.num_actions)
        self.projector = nn.Sequential([_Stack((sizes.width, sizes.width)), _norm()])
        self.predictor = _Stack((sizes.predictor_hidden, sizes.width))

    def __call__(self, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, ...]:
        """Uses every parameter, for `init`."""
        state, reward = self.advance(self.represent(obs), action, False, 1.0)
        return reward, *self.assess(state), self.predict_projection(state)

    def represent(self, obs: jax.Array) -> jax.Array:
        return self.observe(obs)

    def advance(
        self, state: jax.Array, action: jax.Array, training: bool, gradient_share: float
    ) -> tuple[jax.Array, jax.Array]:
        chosen = jax.nn.one_hot(action, self.sizes.num_actions, dtype=state.dtype)
        own = jnp.concatenate([state, chosen], axis=-1)
        heard = own if self.communicate is None else jnp.concatenate([own, self.communicate(own, training)], axis=-1)
        state = state + self.change(heard)
        if gradient_share != 1.0:
            state = gradient_share * state + (1.0 - gradient_share) * jax.lax.stop_gradient(state)
        return state, self.reward(_joined(jnp.concatenate([state, chosen], axis=-1)))

    def assess(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.policy(state), self.value(_joined(state))

    def project(self, state: jax.Array) -> jax.Array:
        return self.projector(_joined(state))

    def predict_projection(self, state: jax.Array) -> jax.Array:
        return self.predictor(self.project(state))


def _joined(x: jax.Array) -> jax.Array:
    """[*B, N, D] -> [*B, N D]."""
    return x.reshape(*x.shape[:-2], -1)


def make_team_model(
    obs_size: int,
    n_agents: int,
    num_actions: int,
    *,
    width: int = 128,
    hidden: Sequence[int] = (128, 128),
    head_hidden: Sequence[int] = (32,),
    predictor_hidden: int = 64,
    num_bins: int = 11,
    num_layers: int = 3,
    num_heads: int = 8,
    dropout: float = 0.1,
) -> TeamModel:
    """MAZero's networks. Parameters are shared by the agents; the defaults are those of its code for SMAC.

    - The representation normalizes an observation and passes it through layers of widths `hidden` and `width`, each a
      dense layer, ReLU and a normalization.
    - Agents communicate [state, one-hot action] through `num_layers` transformer layers over agents.
    - The dynamics add to an agent's state the output of such layers for [state, one-hot action, message].
    - The reward is predicted from all agents' [next state, one-hot action], as in the code (the paper's equation uses
      the state), the value from all states. Both, and the policy logits, start at zero, so policies start uniform.

    Args:
      obs_size: O.
      n_agents: N.
      num_actions: A.
      width: H.
      hidden: widths in representation and dynamics, before their last layer.
      head_hidden: widths in the heads for reward, value and policy.
      predictor_hidden: width in SimSiam's predictor.
      num_bins: R, for reward and value.
      num_layers: number of communication layers; 0 for none.
      num_heads: number of attention heads.
      dropout: dropout rate in the communication, during training.

    Raises:
      ValueError: a size below 1, a width that is not a multiple of the number of heads, or a dropout outside [0, 1).
    """
    check_sizes(
        "team model",
        obs_size=obs_size,
        n_agents=n_agents,
        num_actions=num_actions,
        width=width,
        predictor_hidden=predictor_hidden,
        num_bins=num_bins,
        num_heads=num_heads,
    )
    check_sizes("team model", 0, num_layers=num_layers)
    if num_layers and width % num_heads:
        raise ValueError(f"team model: width must be a multiple of num_heads, got {width} and {num_heads}")
    if not 0 <= dropout < 1:
        raise ValueError(f"team model: dropout must be at least 0 and below 1, got {dropout}")
    sizes = _Sizes(
        n_agents,
        num_actions,
        width,
        tuple(hidden),
        tuple(head_hidden),
        predictor_hidden,
        num_bins,
        num_layers,
        num_heads,
        dropout,
    )
    module = _TeamNetworks(sizes)

    def init(key: jax.Array) -> Params:
        return module.init(key, jnp.zeros((1, n_agents, obs_size)), jnp.zeros((1, n_agents), jnp.int32))

    def apply(name: str) -> Callable[..., Any]:
        return lambda params, x: module.apply(params, x, method=name)

    def advance(
        params: Params,
        state: jax.Array,
        action: jax.Array,
        dropout_key: jax.Array | None = None,
        gradient_share: float = 1.0,
    ) -> tuple[jax.Array, jax.Array]:
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        training = dropout_key is not None
        found: Any = module.apply(params, state, action, training, gradient_share, method="advance", rngs=rngs)
        return found

    return TeamModel(init, apply("represent"), advance, apply("assess"), apply("project"), apply("predict_projection"))
