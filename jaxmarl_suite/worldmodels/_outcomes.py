"""The model of rewards and of the ends of episodes: a transformer over states and joint actions.

Axes: B stretches, T steps, G entries of the state, N agents, X entries of an action.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxmarl_envs import pytree_dataclass
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.worldmodels._layers import MLP
from jaxmarl_suite.worldmodels._states import weighted_mean
from jaxmarl_suite.worldmodels._transformer import SetEncoder, TokenCache, Transformer

Params = Any
RARE = -5.0
"""Logit of termination before training. Most steps end nothing, and where rewards are negative, ends would pay."""


@dataclasses.dataclass(frozen=True)
class OutcomeSizes:
    """Widths and depths. The defaults are DIMA's."""

    layers: int = 6
    """Layers over time."""
    agent_layers: int = 3
    """Layers over the agents' actions."""
    heads: int = 4
    """Attention heads over time."""
    agent_heads: int = 8
    """Attention heads over agents."""
    width: int = 256
    """Width of everything."""
    dropout: float = 0.1
    """Dropout rate in training."""

    def __post_init__(self) -> None:
        """Rejects sizes that cannot work."""
        whole = {k: v for k, v in dataclasses.asdict(self).items() if k != "dropout"}
        check_sizes("outcome model", **whole)
        for name in ("heads", "agent_heads"):
            if self.width % getattr(self, name):
                raise ValueError(f"outcome model: {name} must divide the width {self.width}, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"outcome model: dropout must be at least 0 and below 1, got {self.dropout}")


SMALL_OUTCOMES = OutcomeSizes(layers=2, agent_layers=1, agent_heads=4, width=64)
"""Sizes for CPUs."""


@pytree_dataclass
class OutcomeSequences:
    """B stretches of T consecutive steps, which may cross the ends of episodes."""

    state: jax.Array  # [B, T, G] before each step, normalized
    action: jax.Array  # [B, T, N, X] encoded
    reward: jax.Array  # [B, T] float32, of the team
    terminated: jax.Array  # [B, T] bool
    start: jax.Array  # [B, T] bool, an episode starts at this step
    is_valid: jax.Array  # [B, T] bool, whether the step is there


@pytree_dataclass
class OutcomeCache:
    """What the model remembers of one episode."""

    tokens: TokenCache  # of 2 K tokens
    steps: jax.Array  # [] int32, steps so far


@documented
class OutcomeModel(NamedTuple):
    """A model of the reward and the end of a step, given all states and joint actions of the episode up to it."""

    length: int
    """K, the longest sequence."""
    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    unroll: Callable[..., tuple[jax.Array, jax.Array]]
    """`(params, states [*B, T, G], actions [*B, T, N, X], start [*B, T] bool, dropout key or None) -> (reward [*B, T], logit
    of termination [*B, T])`. Nothing is seen across starts, from which time is counted."""
    loss: Callable[[Params, jax.Array, OutcomeSequences], tuple[jax.Array, dict[str, jax.Array]]]
    """`(params, key, sequences) -> (loss, metrics)`. Consumes the key."""
    empty: Callable[[], OutcomeCache]
    """The cache of an episode that starts."""
    step: Callable[[Params, OutcomeCache, jax.Array, jax.Array], tuple[jax.Array, jax.Array, OutcomeCache]]
    """`(params, cache, state [G], action [N, X]) -> (reward [], logit of termination [], cache)` of one more step."""


class _Outcomes(nn.Module):
    sizes: OutcomeSizes
    length: int
    n_agents: int

    def setup(self) -> None:
        sizes, width = self.sizes, self.sizes.width
        self.of_state = MLP((width, width, width), normalized=True)
        self.of_action = MLP((width, width))
        self.agent = self.param("agent", nn.initializers.normal(0.02), (self.n_agents, width), jnp.float32)
        self.place = self.param("place", nn.initializers.normal(0.02), (2 * self.length, width), jnp.float32)
        self.over_agents = SetEncoder(sizes.agent_layers, width, sizes.agent_heads)
        self.over_time = Transformer(sizes.layers, width, sizes.heads, sizes.dropout)
        self.reward = MLP((width, width, 1), "relu")
        self.end = MLP((width, width, 1), "relu")

    def tokens(self, states: jax.Array, actions: jax.Array, place: jax.Array) -> jax.Array:
        """[*B, 2, W] of states [*B, G] and actions [*B, N, X] at the steps `place` [*B] of their episodes."""
        own = self.of_action(actions)
        joint = self.over_agents(own + jnp.broadcast_to(self.agent, own.shape))
        both = jnp.stack([self.of_state(states), joint], axis=-2)
        places = 2 * place[..., None] + jnp.arange(2, dtype=jnp.int32).reshape((1,) * place.ndim + (2,))
        return both + self.place.at[places].get(mode="clip")

    def outputs(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Reward and logit of termination [*B] from the outputs at the actions' tokens [*B, W]."""
        return self.reward(x)[..., 0], self.end(x)[..., 0] + RARE

    def __call__(
        self, states: jax.Array, actions: jax.Array, start: jax.Array, training: bool
    ) -> tuple[jax.Array, jax.Array]:
        steps = states.shape[-2]
        episode = jnp.cumsum(start.astype(jnp.int32), axis=-1)  # [*B, T]
        here = jnp.arange(steps, dtype=jnp.int32)
        begun = jax.lax.cummax(jnp.where(start, jnp.broadcast_to(here, start.shape), 0), axis=start.ndim - 1)
        place = jnp.broadcast_to(here, start.shape) - begun
        tokens = self.tokens(states, actions, place)
        tokens = tokens.reshape(*tokens.shape[:-3], 2 * steps, tokens.shape[-1])
        episode = jnp.repeat(episode, 2, axis=-1)
        same = episode[..., :, None] == episode[..., None, :]
        causal = np.tril(np.ones((2 * steps, 2 * steps), bool))
        x = self.over_time(tokens, same & jnp.broadcast_to(causal, same.shape), training)
        return self.outputs(x[..., 1::2, :])

    def step(
        self, cache: OutcomeCache, state: jax.Array, action: jax.Array
    ) -> tuple[jax.Array, jax.Array, OutcomeCache]:
        x, tokens = self.over_time.extend(self.tokens(state, action, cache.steps), cache.tokens, 2 * cache.steps)
        reward, end = self.outputs(x[1])
        return reward, end, OutcomeCache(tokens, cache.steps + 1)


def make_outcome_model(
    state_size: int, n_agents: int, action_size: int, *, length: int = 15, sizes: OutcomeSizes = SMALL_OUTCOMES
) -> OutcomeModel:
    """DIMA's reward and termination model: two tokens per step, the state and the joint action, in a causal transformer.

    The loss is smooth L1 of the reward plus the negative log-likelihood of terminating. Truncation is not an end: it is the
    time limit's, not the task's.

    Args:
      state_size: G.
      n_agents: N.
      action_size: X.
      length: K, steps of the longest sequence.
      sizes: widths and depths.

    Raises:
      ValueError: a size below 1.
    """
    check_sizes("outcome model", state_size=state_size, n_agents=n_agents, action_size=action_size, length=length)
    module = _Outcomes(sizes, length, n_agents)

    def init(key: jax.Array) -> Params:
        states, actions = jnp.zeros((1, length, state_size)), jnp.zeros((1, length, n_agents, action_size))
        return module.init(key, states, actions, jnp.zeros((1, length), bool), False)

    def unroll(
        params: Params, states: jax.Array, actions: jax.Array, start: jax.Array, dropout_key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        found: Any = module.apply(params, states, actions, start, dropout_key is not None, rngs=rngs)
        return found

    def loss(params: Params, key: jax.Array, sequences: OutcomeSequences) -> tuple[jax.Array, dict[str, jax.Array]]:
        reward, end = unroll(params, sequences.state, sequences.action, sequences.start, key)
        weight = sequences.is_valid.astype(jnp.float32).ravel()
        of_reward = weighted_mean(optax.huber_loss(reward, sequences.reward, delta=1.0).ravel(), weight)
        terminated = sequences.terminated.astype(jnp.float32)
        of_end = weighted_mean(optax.sigmoid_binary_cross_entropy(end, terminated).ravel(), weight)
        return of_reward + of_end, {"reward_loss": of_reward, "end_loss": of_end}

    def empty() -> OutcomeCache:
        return OutcomeCache(TokenCache.empty(sizes.layers, 2 * length, sizes.width), jnp.zeros((), jnp.int32))

    def step(
        params: Params, cache: OutcomeCache, state: jax.Array, action: jax.Array
    ) -> tuple[jax.Array, jax.Array, OutcomeCache]:
        found: Any = module.apply(params, cache, state, action, method="step")
        return found

    return OutcomeModel(length, init, unroll, loss, empty, step)
