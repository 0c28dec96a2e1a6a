"""Schedules: numbers that change during training."""

import jax
import jax.numpy as jnp

from jaxmarl_suite.algorithms.core._types import ActContext


def annealed(start: jax.Array, end: jax.Array | float, ctx: ActContext) -> jax.Array:
    """[] linear from `start` at the beginning of the phase to `end` at its end."""
    return start + (end - start) * ctx.progress


def epsilon(ctx: ActContext, steps_per_update: int) -> jax.Array:
    """[] probability of a random action in this update, linear in the environment steps so far.

    Args:
      ctx: its `hp` has `epsilon_start`, `epsilon_end` and `epsilon_steps`, the length of the decay.
      steps_per_update: environment steps of one update.
    """
    played = ctx.played(steps_per_update).astype(jnp.float32)
    share = jnp.minimum(played / jnp.maximum(ctx.hp.epsilon_steps, 1.0), 1.0)
    return ctx.hp.epsilon_start + (ctx.hp.epsilon_end - ctx.hp.epsilon_start) * share
