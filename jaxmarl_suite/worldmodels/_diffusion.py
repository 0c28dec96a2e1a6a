"""Diffusion of the next state, one agent's action per denoising step: preconditioning, noise levels, sampler.

DIMA (arXiv 2505.20922), on the formulation of Karras et al. 2022 (EDM) with an offset noise as in DIAMOND. The sampler takes
any denoiser, so that it can be tested with exact posteriors.

Axes: B batch axes, G entries of the state, N agents, S denoising steps.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented

Reveal = Literal["single", "cumulative", "joint"]
REVEALS = ("single", "cumulative", "joint")
Order = Literal["descending", "ascending", "random"]
ORDERS = ("descending", "ascending", "random")

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 5.0, 7.0
"""Lowest and highest noise of the sampler, and the exponent of its grid."""
TRAINING_MEAN, TRAINING_STD, TRAINING_MAX = -0.4, 1.2, 20.0
"""Training noise: the mean and standard deviation of its logarithm, and its highest value."""


@documented
class Scales(NamedTuple):
    """The numbers that connect a network F to a denoiser: D(x) = skip x + out F(into x, noise)."""

    into: jax.Array
    """[*B] c_in."""
    skip: jax.Array
    """[*B] c_skip."""
    out: jax.Array
    """[*B] c_out."""
    noise: jax.Array
    """[*B] c_noise."""


@documented
class Preconditioning(NamedTuple):
    """EDM's preconditioning, with an offset noise that is added in training whatever the noise level is."""

    data: float = 0.5
    """σ_d, standard deviation of the diffused states."""
    offset: float = 0.3
    """σ_o, standard deviation of the offset noise; it enters the scales, as σ' = sqrt(σ² + σ_o²)."""

    def scales(self, sigma: jax.Array | float) -> Scales:
        """The scales at the noise level σ [*B]."""
        total = jnp.sqrt(jnp.square(sigma) + self.offset**2)
        variance = jnp.square(total) + self.data**2
        skip = self.data**2 / variance
        return Scales(1.0 / jnp.sqrt(variance), skip, total * jnp.sqrt(skip), jnp.log(total) / 4)


def karras_grid(num_steps: int) -> np.ndarray:
    """[S + 1] float32: noise levels from `SIGMA_MAX` down to `SIGMA_MIN`, then 0 (Karras et al. 2022, eq. 5)."""
    if num_steps < 2:
        raise ValueError(f"a sampler needs at least 2 denoising steps, got {num_steps}")
    top, bottom = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    grid = (top + np.arange(num_steps) / (num_steps - 1) * (bottom - top)) ** RHO
    return np.append(grid, 0.0).astype(np.float32)


def default_steps(n_agents: int) -> int:
    """Denoising steps for a team: one per agent, or two per agent of teams of one or two."""
    return n_agents if n_agents > 2 else 2 * n_agents


def check_reveal(reveal: str, order: str) -> None:
    """Rejects unknown names.

    Raises:
      ValueError: naming what is accepted.
    """
    if reveal not in REVEALS:
        raise ValueError(f"reveal must be one of {', '.join(map(repr, REVEALS))}, got {reveal!r}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(map(repr, ORDERS))}, got {order!r}")


def agent_order(key: jax.Array, n_agents: int, num_steps: int, order: Order) -> jax.Array:
    """[S] int32: the agent whose action a denoising step is shown; every agent has equally many steps, in a row.

    Args:
      key: consumed by "random", which draws one permutation.
      n_agents: N.
      num_steps: S, a multiple of N.
      order: "descending" ends with agent 0.

    Raises:
      ValueError: steps that cannot be divided among the agents.
    """
    if num_steps % n_agents:
        raise ValueError(f"denoising steps must be a multiple of the {n_agents} agents, got {num_steps}")
    agents = jnp.arange(n_agents, dtype=jnp.int32)
    if order == "descending":
        agents = agents[::-1]
    elif order == "random":
        agents = jax.random.permutation(key, agents)
    return jnp.repeat(agents, num_steps // n_agents)


def shown_agents(order: jax.Array, n_agents: int, reveal: Reveal) -> jax.Array:
    """[S, N] bool: whose current actions each denoising step sees.

    "single" is DIMA: the step's own agent. "cumulative" adds all agents of earlier steps. "joint" is everyone.
    """
    if reveal == "joint":
        return jnp.ones((order.shape[0], n_agents), bool)
    own = order[:, None] == jnp.arange(n_agents, dtype=jnp.int32)[None]
    return own if reveal == "single" else jnp.cumsum(own, axis=0) > 0


def training_shown(key: jax.Array, shape: tuple[int, ...], n_agents: int, reveal: Reveal) -> jax.Array:
    """[*shape, N] bool, whose current actions a training example shows, drawn as the sampler will show them.

    One agent for "single"; the first k agents of a random permutation, k uniform in 1..N, for "cumulative". Consumes `key`.
    """
    if reveal == "joint":
        return jnp.ones((*shape, n_agents), bool)
    order_key, count_key = jax.random.split(key)
    place = jnp.argsort(jax.random.uniform(order_key, (*shape, n_agents), jnp.float32), axis=-1)
    count = jnp.ones((*shape, 1), jnp.int32)
    if reveal == "cumulative":
        count = jax.random.randint(count_key, (*shape, 1), 1, n_agents + 1, jnp.int32)
    return place < count


def training_noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[*shape] float32 noise levels of training: log-normal, clipped. Consumes `key`."""
    sigma = jnp.exp(TRAINING_MEAN + TRAINING_STD * jax.random.normal(key, shape, jnp.float32))
    return jnp.clip(sigma, SIGMA_MIN, TRAINING_MAX)


def noised(key: jax.Array, clean: jax.Array, sigma: jax.Array, offset: float) -> jax.Array:
    """[*B, G] `clean` with offset noise and noise of levels `sigma` [*B], both normal in every entry. Consumes `key`."""
    offset_key, noise_key = jax.random.split(key)
    moved = clean + offset * jax.random.normal(offset_key, clean.shape, jnp.float32)
    return moved + sigma[..., None] * jax.random.normal(noise_key, clean.shape, jnp.float32)


Denoise = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`(x [*B, G], σ [], shown [N] bool) -> D [*B, G]`, the expected clean state."""


def sample_states(denoise: Denoise, x: jax.Array, shown: jax.Array) -> jax.Array:
    """[*B, G]: the states at the end of Euler steps along the grid from `x` [*B, G], noise of level `SIGMA_MAX`.

    The cost is linear in the steps, and so in the number of agents.

    Args:
      denoise: the denoiser.
      x: the noise to start from.
      shown: [S, N] bool, whose actions each step sees.
    """
    grid = jnp.asarray(karras_grid(shown.shape[0]))

    def step(x: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        sigma, next_sigma, visible = inputs
        clean = denoise(x, sigma, visible)
        return clean + (x - clean) * (next_sigma / sigma), None

    x, _ = jax.lax.scan(step, x, (grid[:-1], grid[1:], shown))
    return x


def exact_denoiser(actions: jax.Array, gain: float, noise_variance: float, preconditioning: Preconditioning) -> Denoise:
    """The exact posterior mean of a scalar y = `gain` Σ a_i + noise, for independent standard normal actions [*B, N].

    With V the agents that are seen, S = gain Σ_V a_i and v = (N - |V|) gain² + noise variance, it is
    S + K (x - S), K = v / (v + σ'²). A test of samplers, and what a trained network should approach.
    """
    n_agents = actions.shape[-1]

    def denoise(x: jax.Array, sigma: jax.Array, shown: jax.Array) -> jax.Array:
        seen = gain * jnp.sum(jnp.where(shown, actions, 0.0), axis=-1, keepdims=True)
        hidden = n_agents - jnp.sum(shown.astype(jnp.float32))
        variance = hidden * gain**2 + noise_variance
        total = jnp.square(sigma) + preconditioning.offset**2
        return seen + variance / (variance + total) * (x - seen)

    return denoise
