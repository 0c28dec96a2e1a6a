"""Replay of single steps in the order they were played, one ring an environment, on flashbax's ring.

The order is kept so that returns can be taken along what followed a step: over n steps, or over the rest of the episode.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

StepState = Any
"""flashbax's `TrajectoryBufferState`: `experience` [E, capacity, ...], `current_index` [] (where the next step goes) and
`is_full` []. All environments are filled alike."""


class Draw(NamedTuple):
    """Which steps were drawn."""

    env: jax.Array  # [*] int32
    position: jax.Array  # [*] int32 in time, 0 is the oldest stored step


class StepReplay(NamedTuple):
    """Pure functions of E rings of steps."""

    init: Callable[[Any], StepState]
    """Empty rings for steps shaped like this one (no leading axes)."""
    add: Callable[[StepState, Any], StepState]
    """`(state, steps [E, L, ...])`: L more steps of every environment; the oldest ones go where there is no room."""
    draw: Callable[[StepState, jax.Array, tuple[int, ...]], Draw]
    """`(state, key, shape)`: uniform over all stored steps, with replacement; needs at least one. Consumes `key`."""


def make_step_replay(num_envs: int, capacity: int) -> StepReplay:
    """E rings of `capacity` steps each.

    Args:
      num_envs: E.
      capacity: steps kept of each environment.

    Raises:
      ValueError: for an empty ring.
    """
    if num_envs < 1 or capacity < 1:
        raise ValueError(f"a replay needs num_envs and capacity of at least 1, got {num_envs} and {capacity}")
    from flashbax.buffers import trajectory_buffer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice for overlapping trajectories; single steps are drawn here
        ring = trajectory_buffer.make_trajectory_buffer(
            add_batch_size=num_envs,
            sample_batch_size=1,
            sample_sequence_length=1,
            period=1,
            min_length_time_axis=1,
            max_length_time_axis=capacity,
        )

    def draw(state: StepState, key: jax.Array, shape: tuple[int, ...]) -> Draw:
        env_key, position_key = jax.random.split(key)
        return Draw(
            jax.random.randint(env_key, shape, 0, num_envs),
            jax.random.randint(position_key, shape, 0, num_stored(state)),
        )

    return StepReplay(ring.init, ring.add, draw)


def capacity_of(state: StepState) -> int:
    """Steps that there is room for, of each environment."""
    return jax.tree.leaves(state.experience)[0].shape[1]


def num_stored(state: StepState) -> jax.Array:
    """[] int32 steps stored of each environment."""
    return jnp.where(state.is_full, capacity_of(state), state.current_index).astype(jnp.int32)


def slot_of(state: StepState, position: jax.Array) -> jax.Array:
    """[*] int32 where the steps at these positions in time lie; positions past the newest step wrap around."""
    oldest = jnp.where(state.is_full, state.current_index, 0).astype(jnp.int32)
    return (oldest + position) % capacity_of(state)


def read_steps(steps: Any, env: jax.Array, slot: jax.Array) -> Any:
    """[*, ...] entries of a pytree [E, capacity, ...] at `env` [*] and `slot` [*]."""
    return jax.tree.map(lambda x: x[env, slot], steps)
