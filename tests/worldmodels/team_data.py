"""Training data with known answers."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmarl_suite.worldmodels import DenoiserSizes, Segments, StateModel, diffusion_model, make_denoiser

TINY = DenoiserSizes(
    channels=8, levels=1, blocks=1, latents=4, latent_width=8, depth=1, heads=2, head_width=4, width=8, frequencies=4
)
"""Sizes at which little is learned, but compiled quickly."""
NARROW = DenoiserSizes(
    channels=16,
    levels=1,
    blocks=1,
    latents=4,
    latent_width=16,
    depth=0,
    heads=1,
    head_width=16,
    width=32,
    frequencies=8,
)
"""Sizes that can learn a sum."""


def sums(key: jax.Array, batch: int, n_agents: int) -> Segments:
    """Single steps of a scalar state of unit variance: the next one is the sum of the agents' actions over sqrt(n)."""
    action = jax.random.normal(key, (batch, 1, n_agents, 1), jnp.float32)
    after = action.sum((2, 3))[..., None] * n_agents**-0.5
    return Segments(
        state=jnp.zeros((batch, 1, 1)),
        after=after,
        action=action,
        episode=jnp.zeros((batch, 1), jnp.int32),
        is_valid=jnp.ones((batch, 1), bool),
    )


def fit(model: StateModel, draw: Any, key: jax.Array, steps: int, rate: float = 3e-3) -> Any:
    """`(parameters, last losses [steps])` after Adam with a step size that falls to zero, on fresh data in every step."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps)))

    def step(carry: Any, key: jax.Array) -> Any:
        params, opt = carry
        data_key, loss_key = jax.random.split(key)
        (loss, _), grads = jax.value_and_grad(model.loss, has_aux=True)(params, loss_key, draw(data_key))
        with jax.numpy_dtype_promotion("standard"):
            updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), loss

    init_key, key = jax.random.split(key)
    params = jax.jit(model.init)(init_key)
    (params, _), losses = jax.jit(lambda params, opt, keys: jax.lax.scan(step, (params, opt), keys))(
        params, optimizer.init(params), jax.random.split(key, steps)
    )
    return params, losses


def learned_gains(n_agents: int, reveal: Any, key: jax.Array, steps: int = 1000) -> jax.Array:
    """[N] effect of each agent's action in a small trained model of `sums`, over its effect in the task.

    The slope of samples over random joint actions, by least squares.
    """
    denoiser = make_denoiser(1, n_agents, 1, history=1, sizes=NARROW)
    model = diffusion_model(denoiser, n_agents, history=1, windows=1, reveal=reveal)
    fit_key, data_key, draw_key = jax.random.split(key, 3)
    params, _ = fit(model, lambda key: sums(key, 128, n_agents), fit_key, steps)
    tested = sums(data_key, 2048, n_agents)
    found = jax.jit(model.predict)(params, draw_key, tested.state, tested.action)[:, 0]
    actions = tested.action[:, 0, :, 0]
    return jnp.linalg.lstsq(actions, found)[0] * n_agents**0.5
