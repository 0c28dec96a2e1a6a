"""The study's numbers: gains of exact posteriors, and of small trained networks.

The task is one step of a scalar state of variance 1/4: y = b Σ a_i + noise, with independent standard normal actions. An
agent's gain is the effect of its action on the sample over its effect b on y.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxmarl_envs import seed_key

from jaxmarl_suite.worldmodels import (
    DenoiserSizes,
    Preconditioning,
    Segments,
    agent_order,
    default_steps,
    diffusion_model,
    exact_denoiser,
    make_denoiser,
    sample_states,
    shown_agents,
)

TEAMS = (2, 3, 4, 6)
REVEALS = ("single", "cumulative", "joint")
VARIANCE = 0.25
"""Of the diffused state, as the preconditioning assumes."""
NETWORK = DenoiserSizes(
    channels=32,
    levels=1,
    blocks=1,
    latents=4,
    latent_width=32,
    depth=1,
    heads=2,
    head_width=16,
    width=64,
    frequencies=16,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """The gains of one sampler."""

    n_agents: int
    reveal: str
    order: str
    noise: float
    """Share of the variance that is noise."""
    offset: float
    """Standard deviation of the offset noise."""
    gains: list[float]
    """Of agents 0..n-1."""
    leftover: float
    """Standard deviation of what is left of the sampler's starting noise; of data: 0.5."""


def exact_row(n_agents: int, reveal: Any, order: Any = "descending", *, noise: float = 0.0, offset: float = 0.3) -> Row:
    """Gains with the exact posterior in place of a network, by differentiation."""
    steps, preconditioning = default_steps(n_agents), Preconditioning(offset=offset)
    gain = ((1 - noise) * VARIANCE / n_agents) ** 0.5
    shown = shown_agents(agent_order(seed_key(0), n_agents, steps, order), n_agents, reveal)

    def final(actions: jax.Array, x: jax.Array) -> jax.Array:
        denoise = exact_denoiser(actions, gain, noise * VARIANCE, preconditioning)
        return sample_states(denoise, x, shown)[0]

    of_actions, of_noise = jax.jit(jax.grad(final, (0, 1)))(jnp.zeros(n_agents), jnp.zeros(1))
    gains = np.asarray(of_actions) / gain
    return Row(n_agents, reveal, order, noise, offset, gains.tolist(), 5 * float(of_noise[0]))


def exact_rows() -> list[Row]:
    """All rows: the code's scheme, then its variants."""
    rows = [exact_row(n, "single") for n in TEAMS]
    rows += [exact_row(n, "cumulative", noise=0.01) for n in TEAMS]
    rows += [exact_row(3, "joint"), exact_row(3, "single", offset=0.0), exact_row(3, "single", "ascending")]
    return rows


def sums(key: jax.Array, batch: int, n_agents: int) -> Segments:
    """Single steps of the task, normalized."""
    action = jax.random.normal(key, (batch, 1, n_agents, 1), jnp.float32)
    return Segments(
        state=jnp.zeros((batch, 1, 1)),
        after=action.sum((2, 3))[..., None] * n_agents**-0.5,
        action=action,
        episode=jnp.zeros((batch, 1), jnp.int32),
        is_valid=jnp.ones((batch, 1), bool),
    )


def learned_gains(n_agents: int, reveal: Any, seed: int, *, steps: int, batch: int = 256) -> np.ndarray:
    """[N] gains of a small trained network: slopes of samples over random joint actions, by least squares."""
    denoiser = make_denoiser(1, n_agents, 1, history=1, sizes=NETWORK)
    model = diffusion_model(denoiser, n_agents, history=1, windows=1, reveal=reveal)
    init_key, fit_key, data_key, draw_key = jax.random.split(seed_key(seed), 4)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, steps)))

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt = carry
        sample_key, loss_key = jax.random.split(key)
        grads = jax.grad(model.loss, has_aux=True)(params, loss_key, sums(sample_key, batch, n_agents))[0]
        updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), None

    @jax.jit
    def train(params: Any, keys: jax.Array) -> Any:
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    params = train(jax.jit(model.init)(init_key), jax.random.split(fit_key, steps))
    tested = sums(data_key, 8192, n_agents)
    found = jax.jit(model.predict)(params, draw_key, tested.state, tested.action)[:, 0]
    return np.linalg.lstsq(np.asarray(tested.action[:, 0, :, 0]), np.asarray(found))[0] * n_agents**0.5
