"""The type of models of the next state, what they are trained on, and the diffusion model.

Axes: B stretches or batch axes, L steps of a stretch, H history, G entries of the state, N agents, X entries of an action.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.worldmodels._denoiser import Denoiser
from jaxmarl_suite.worldmodels._diffusion import (
    SIGMA_MAX,
    Order,
    Preconditioning,
    Reveal,
    agent_order,
    check_reveal,
    default_steps,
    noised,
    sample_states,
    shown_agents,
    training_noise,
    training_shown,
)

Params = Any
PRECONDITIONING = Preconditioning()


@pytree_dataclass
class Segments:
    """B stretches of L consecutive steps, which may cross the ends of episodes."""

    state: jax.Array  # [B, L, G] before each step, normalized
    after: jax.Array  # [B, L, G] after it, before any restart
    action: jax.Array  # [B, L, N, X] joint actions, encoded
    episode: jax.Array  # [B, L] int32, equal for steps of the same episode
    is_valid: jax.Array  # [B, L] bool, whether the step is there and `after` is known


@documented
class StateModel(NamedTuple):
    """A model of the next state given H states and joint actions. States are normalized, actions encoded."""

    history: int
    """H. States and actions from before the episode are zero."""
    windows: int
    """Predictions in a row that a training example makes: stretches of H + windows - 1 steps are needed."""
    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    loss: Callable[[Params, jax.Array, Segments], tuple[jax.Array, dict[str, jax.Array]]]
    """`(params, key, segments) -> (loss, metrics)`. Consumes the key."""
    predict: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
    """`(params, key, states [*B, H, G], actions [*B, H, N, X]) -> next state [*B, G]`, a sample. Consumes the key."""


@documented
class Window(NamedTuple):
    """What one prediction of a training example is made from, and what it should be."""

    states: jax.Array
    """[B, H, G], zero before the episode."""
    actions: jax.Array
    """[B, H, N, X], zero before the episode."""
    target: jax.Array
    """[B, G]."""
    weight: jax.Array
    """[B] float32, 1 where the target is known, otherwise 0."""


def read_window(segments: Segments, history: int, first: jax.Array | int) -> Window:
    """The H steps from step `first` on, of which the last one is predicted.

    A step is part of the history if it belongs to the episode of the last one: no window mixes episodes.
    """

    def cut(x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, first, history, axis=1)

    episode = cut(segments.episode)
    same = episode == episode[:, -1:]
    return Window(
        states=jnp.where(same[..., None], cut(segments.state), 0.0),
        actions=jnp.where(same[..., None, None], cut(segments.action), 0.0),
        target=cut(segments.after)[:, -1],
        weight=cut(segments.is_valid)[:, -1].astype(jnp.float32),
    )


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """[] the mean of `values` [B] with weights [B]; 0 if there are none."""
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def diffusion_model(
    denoiser: Denoiser,
    n_agents: int,
    *,
    history: int = 3,
    reveal: Reveal = "single",
    order: Order = "descending",
    num_steps: int | None = None,
    windows: int = 3,
    preconditioning: Preconditioning = PRECONDITIONING,
) -> StateModel:
    """DIMA's model: the next state is denoised, and every denoising step sees the current action of one agent.

    In training, one agent per example (or a random set, or all: `reveal`) is visible, whatever the noise level is. After
    each window the denoised prediction, without gradient, takes the place of the true state in the history of the next one.

    Args:
      denoiser: the network.
      n_agents: N.
      history: H.
      reveal: whose actions a denoising step sees: "single" (DIMA), "cumulative" or "joint".
      order: of the agents in the sampler.
      num_steps: denoising steps, a multiple of N; None for one per agent (two in teams of one or two).
      windows: predictions in a row per training example.
      preconditioning: scales of the network's inputs and outputs.

    Raises:
      ValueError: an unknown name, or numbers that cannot work.
    """
    check_reveal(reveal, order)
    check_sizes("diffusion model", n_agents=n_agents, history=history, windows=windows)
    steps = default_steps(n_agents) if num_steps is None else num_steps
    if steps < 2 or steps % n_agents:
        raise ValueError(
            f"diffusion model: num_steps must be at least 2 and a multiple of the {n_agents} agents, got {steps}"
        )

    def network(params: Params, x: jax.Array, sigma: jax.Array, window: Any, shown: jax.Array) -> Any:
        """`(F, scales)` for windows of states (not yet scaled) and actions."""
        scales = preconditioning.scales(sigma)
        states, actions = window
        shown = jnp.broadcast_to(shown, (*x.shape[:-1], n_agents))
        found = denoiser.apply(
            params, scales.into[..., None] * x, scales.noise, preconditioning.data * states, actions, shown
        )
        return found, scales

    def loss(params: Params, key: jax.Array, segments: Segments) -> tuple[jax.Array, dict[str, jax.Array]]:
        batch = segments.state.shape[0]

        def one(states: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            first, key = inputs
            sigma_key, noise_key, shown_key = jax.random.split(key, 3)
            so_far = Segments(states, segments.after, segments.action, segments.episode, segments.is_valid)
            window = read_window(so_far, history, first)
            clean = preconditioning.data * window.target
            sigma = training_noise(sigma_key, (batch,))
            x = noised(noise_key, clean, sigma, preconditioning.offset)
            shown = training_shown(shown_key, (batch,), n_agents, reveal)
            found, scales = network(params, x, sigma, (window.states, window.actions), shown)
            skip, out = scales.skip[:, None], scales.out[:, None]
            error = jnp.mean(jnp.square(found - (clean - skip * x) / out), axis=-1)
            denoised = jax.lax.stop_gradient(skip * x + out * found) / preconditioning.data
            # It continues only where the next step is part of the same episode.
            after = first + history
            goes_on = segments.episode.at[:, after].get(mode="clip") == segments.episode[:, after - 1]
            known = jnp.where(goes_on[:, None], denoised, states.at[:, after].get(mode="clip"))
            return states.at[:, after].set(known, mode="drop"), weighted_mean(error, window.weight)

        firsts = jnp.arange(windows, dtype=jnp.int32)
        _, errors = jax.lax.scan(one, segments.state, (firsts, jax.random.split(key, windows)))
        return errors.mean(), {"state_loss": errors.mean()}

    def predict(params: Params, key: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
        order_key, noise_key = jax.random.split(key)
        shown = shown_agents(agent_order(order_key, n_agents, steps, order), n_agents, reveal)
        shape = (*states.shape[:-2], states.shape[-1])

        def denoise(x: jax.Array, sigma: jax.Array, visible: jax.Array) -> jax.Array:
            levels = jnp.broadcast_to(sigma, shape[:-1])
            found, scales = network(params, x, levels, (states, actions), visible)
            return scales.skip[..., None] * x + scales.out[..., None] * found

        x = SIGMA_MAX * jax.random.normal(noise_key, shape, jnp.float32)
        return sample_states(denoise, x, shown) / preconditioning.data

    return StateModel(history, windows, denoiser.init, loss, predict)
