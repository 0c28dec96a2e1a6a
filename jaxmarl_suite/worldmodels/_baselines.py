"""Other models of the next state behind the same type: an ensemble of Gaussian networks, and a token transformer.

Axes: B batch axes, H history, G entries of the state, N agents, X entries of an action, M members, Q bins.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.worldmodels._layers import MLP, dense
from jaxmarl_suite.worldmodels._states import Params, Segments, StateModel, Window, read_window, weighted_mean
from jaxmarl_suite.worldmodels._transformer import TokenCache, Transformer

_LOG_STD = (-5.0, 1.0)
"""Bounds of the Gaussians' log standard deviations, in normalized units."""
_LARGEST_CHANGE = 6.0
"""Largest change of a normalized entry in one step that tokens can express."""


def ensemble_model(
    state_size: int,
    n_agents: int,
    action_size: int,
    *,
    history: int = 3,
    windows: int = 3,
    members: int = 5,
    hidden: tuple[int, ...] = (128, 128),
) -> StateModel:
    """An ensemble of networks from history and joint actions to a Gaussian of the change (as in MBPO, Janner et al. 2019).

    Every member is trained on every example; a prediction is a sample of a random member.

    Args:
      state_size: G.
      n_agents: N.
      action_size: X.
      history: H.
      windows: predictions per training example, each from its true history.
      members: M.
      hidden: widths of the layers.

    Raises:
      ValueError: a size below 1.
    """
    sizes = {"history": history, "windows": windows, "members": members}
    check_sizes("ensemble model", state_size=state_size, n_agents=n_agents, action_size=action_size, **sizes)
    check_sizes("ensemble model", **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    network = MLP((*hidden, 2 * state_size))
    in_size = history * (state_size + n_agents * action_size)

    def init(key: jax.Array) -> Params:
        return jax.vmap(lambda key: network.init(key, jnp.zeros((1, in_size))))(jax.random.split(key, members))

    def gaussian(params: Params, states: jax.Array, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean next state and log standard deviation [*B, G] of one member."""
        batch = states.shape[:-2]
        x = jnp.concatenate([states.reshape(*batch, -1), actions.reshape(*batch, -1)], axis=-1)
        found: Any = network.apply(params, x)
        change, raw = jnp.split(found, 2, axis=-1)
        low, high = _LOG_STD
        return states[..., -1, :] + change, low + (high - low) * jax.nn.sigmoid(raw)

    def loss(params: Params, key: jax.Array, segments: Segments) -> tuple[jax.Array, dict[str, jax.Array]]:
        def of_window(window: Window) -> tuple[jax.Array, jax.Array]:
            mean, log_std = jax.vmap(gaussian, (0, None, None))(params, window.states, window.actions)
            error = window.target[None] - mean
            surprise = 0.5 * jnp.square(error * jnp.exp(-log_std)) + log_std
            return (
                weighted_mean(surprise.mean((0, 2)), window.weight),
                weighted_mean(jnp.square(error).mean((0, 2)), window.weight),
            )

        surprise, error = _over_windows(segments, history, windows, of_window)
        return surprise, {"state_loss": surprise, "state_error": error}

    def predict(params: Params, key: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
        member_key, noise_key = jax.random.split(key)
        member = jax.random.randint(member_key, (), 0, members, jnp.int32)
        # All members, then one: under `vmap` this is a product with shared weights, not with a copy of weights per episode.
        mean, log_std = jax.vmap(gaussian, (0, None, None))(params, states, actions)
        noise = jax.random.normal(noise_key, mean.shape[1:], jnp.float32)
        return mean[member] + jnp.exp(log_std[member]) * noise

    return StateModel(history, windows, init, loss, predict)


def _over_windows(segments: Segments, history: int, windows: int, of_window: Any) -> Any:
    """The means over the windows of what `of_window` finds in each."""
    first = jnp.arange(windows, dtype=jnp.int32)
    found = jax.lax.map(lambda first: of_window(read_window(segments, history, first)), first)
    return jax.tree.map(jnp.mean, found)


def change_bins(num_bins: int) -> np.ndarray:
    """[Q] float32 centers of the bins of changes, closer to each other around zero."""
    place = np.linspace(-1.0, 1.0, num_bins)
    return (_LARGEST_CHANGE * np.sinh(5.0 * place) / np.sinh(5.0)).astype(np.float32)


class _Tokens(nn.Module):
    """Tokens of the history's states and of every agent's actions, then one per entry of the change."""

    state_size: int
    n_agents: int
    history: int
    layers: int
    width: int
    heads: int
    num_bins: int

    @property
    def context(self) -> int:
        """Tokens before the first entry is predicted."""
        return self.history * (1 + self.n_agents)

    def setup(self) -> None:
        normal = nn.initializers.normal(0.02)
        self.of_state, self.of_action = MLP((self.width, self.width)), MLP((self.width, self.width))
        self.chosen = self.param("chosen", normal, (self.num_bins, self.width), jnp.float32)
        self.place = self.param("place", normal, (self.context + self.state_size - 1, self.width), jnp.float32)
        self.transformer = Transformer(self.layers, self.width, self.heads)
        self.head = dense(self.num_bins)

    def past(self, states: jax.Array, actions: jax.Array) -> jax.Array:
        """[*B, context, W], step by step: the agents' actions, then the state; the newest state is last."""
        both = jnp.concatenate([self.of_action(actions), self.of_state(states)[..., None, :]], axis=-2)
        tokens = both.reshape(*states.shape[:-2], self.context, self.width)
        return tokens + jnp.broadcast_to(self.place[: self.context], tokens.shape)

    def __call__(self, states: jax.Array, actions: jax.Array, bins: jax.Array) -> jax.Array:
        """Logits [*B, G, Q] of every entry's bin, given the true bins [*B, G] of all earlier entries."""
        later = self.chosen[bins[..., :-1]]
        later = later + jnp.broadcast_to(self.place[self.context :], later.shape)
        tokens = jnp.concatenate([self.past(states, actions), later], axis=-2)
        number = tokens.shape[-2]
        causal = np.tril(np.ones((number, number), bool))
        causal[: self.context, : self.context] = True
        x = self.transformer(tokens, jnp.broadcast_to(causal, (*states.shape[:-2], number, number)))
        return self.head(x[..., self.context - 1 :, :])

    def begin(self, states: jax.Array, actions: jax.Array) -> tuple[jax.Array, TokenCache]:
        """`(logits [Q] of the first entry, cache)` of one history."""
        size = self.context + self.state_size - 1
        tokens = self.past(states, actions)
        empty = TokenCache.empty(self.layers, size, self.width)
        x, cache = self.transformer.extend(tokens, empty, jnp.zeros((), jnp.int32), together=True)
        return self.head(x[-1]), cache

    def go_on(self, cache: TokenCache, chosen: jax.Array, entry: jax.Array) -> tuple[jax.Array, TokenCache]:
        """`(logits [Q] of entry + 1, cache)` after the bin `chosen` [] of `entry` []."""
        at = self.context + entry
        token = self.chosen[chosen] + self.place.at[at].get(mode="clip")
        x, cache = self.transformer.extend(token[None], cache, at)
        return self.head(x[0]), cache


def token_model(
    state_size: int,
    n_agents: int,
    action_size: int,
    *,
    history: int = 3,
    windows: int = 3,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    num_bins: int = 128,
) -> StateModel:
    """An autoregressive transformer over tokens of states and agents, in the manner of MARIE (Zhang et al. 2024).

    A deliberate difference: the tokens that are predicted are bins of the change of each entry of the state, one entry after
    another, instead of codes of a separately trained autoencoder.

    Args:
      state_size: G, which is also the number of predictions of one step.
      n_agents: N.
      action_size: X.
      history: H.
      windows: predictions per training example, each from its true history.
      layers: of the transformer.
      width: of the transformer.
      heads: of the transformer.
      num_bins: Q.

    Raises:
      ValueError: a size that cannot work.
    """
    sizes = {"history": history, "windows": windows, "layers": layers, "width": width, "heads": heads}
    check_sizes("token model", state_size=state_size, n_agents=n_agents, action_size=action_size, **sizes)
    check_sizes("token model", 2, num_bins=num_bins)
    if width % heads:
        raise ValueError(f"token model: heads must divide the width {width}, got {heads}")
    module = _Tokens(state_size, n_agents, history, layers, width, heads, num_bins)
    centers = change_bins(num_bins)
    edges = (centers[1:] + centers[:-1]) / 2

    def init(key: jax.Array) -> Params:
        states, actions = jnp.zeros((1, history, state_size)), jnp.zeros((1, history, n_agents, action_size))
        return module.init(key, states, actions, jnp.zeros((1, state_size), jnp.int32))

    def loss(params: Params, key: jax.Array, segments: Segments) -> tuple[jax.Array, dict[str, jax.Array]]:
        def of_window(window: Window) -> jax.Array:
            change = window.target - window.states[:, -1]
            bins = jnp.searchsorted(jnp.asarray(edges), change).astype(jnp.int32)
            logits: Any = module.apply(params, window.states, window.actions, bins)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), bins[..., None], axis=-1)[..., 0]
            return weighted_mean(-chosen.mean(-1), window.weight)

        found = _over_windows(segments, history, windows, of_window)
        return found, {"state_loss": found}

    def predict_one(params: Params, key: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
        begun: Any = module.apply(params, states, actions, method="begin")

        def choose(carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            (logits, cache), (entry, noise) = carry, inputs
            chosen = jnp.argmax(logits + noise).astype(jnp.int32)  # a draw from the softmax
            following: Any = module.apply(params, cache, chosen, entry, method="go_on")
            return following, chosen

        entries = jnp.arange(state_size, dtype=jnp.int32)
        noise = jax.random.gumbel(key, (state_size, num_bins), jnp.float32)
        _, bins = jax.lax.scan(choose, begun, (entries, noise))
        return states[-1] + jnp.asarray(centers)[bins]

    def predict(params: Params, key: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
        if states.ndim == 2:
            return predict_one(params, key, states, actions)
        keys = jax.random.split(key, states.shape[0])
        return jax.vmap(predict, (None, 0, 0, 0))(params, keys, states, actions)

    return StateModel(history, windows, init, loss, predict)
