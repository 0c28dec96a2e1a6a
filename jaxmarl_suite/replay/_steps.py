"""Replay of single steps in the order they were played, one ring an environment, on flashbax's ring.

The order is kept so that returns can be taken along what followed a step: over n steps, or over the rest of the episode.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

StepState = Any
"""flashbax's `TrajectoryBufferState`: `experience` [E, capacity, ...], `current_index` [] (where the next step goes) and
`is_full` []. All environments are filled alike."""


@documented
class Draw(NamedTuple):
    """Which steps were drawn."""

    env: jax.Array  # [*] int32
    position: jax.Array  # [*] int32 in time, 0 is the oldest stored step


@documented
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
            jax.random.randint(env_key, shape, 0, num_envs, jnp.int32),
            jax.random.randint(position_key, shape, 0, num_stored(state), jnp.int32),
        )

    return StepReplay(lambda step: with_int32_index(ring.init(step)), ring.add, draw)


def with_int32_index(state: StepState) -> StepState:
    """A fresh state of flashbax's, whose index would have 64 bits where JAX is told to use them."""
    return state.replace(current_index=state.current_index.astype(jnp.int32))


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


BootstrapFn = Callable[[Any, jax.Array], jax.Array]
"""`(steps [B, ...], key) -> [B, K]`: each estimator's value of what the steps led to. Consumes the key."""
TargetsFn = Callable[..., jax.Array]
"""`(reward [T, E], bootstrap [T, E, K], terminated, truncated, valid=...) -> [T, E, K]` in the order of time, such as
`partial(ops.episodic_targets, gamma=gamma)`."""


def refresh_targets(
    state: StepState,
    bootstrap_fn: BootstrapFn,
    targets_fn: TargetsFn,
    key: jax.Array,
    *,
    at_most: jax.Array | int | None = None,
    chunk_size: int = 4096,
) -> jax.Array:
    """[E, capacity, K] float32 targets of all stored steps along what followed them; NaN where no step is stored.

    The newest step of an environment has nothing stored after it and bootstraps.

    Args:
      state: rings of steps with `reward`, `terminated` and `truncated`.
      bootstrap_fn: called with chunks of steps, of all environments together.
      targets_fn: what is made of rewards and bootstraps.
      key: consumed.
      at_most: [] int32, at least the steps stored of each environment; bootstraps are computed for as many only. It
        should come from a counter that lanes share, since the number of chunks hangs on it: on a batched one every lane
        computes as long as the longest.
      chunk_size: steps whose bootstraps are computed at once (at least one of each environment), which bounds memory.

    Raises:
      ValueError: where `bootstrap_fn` gives another shape.
    """
    steps, capacity, held = state.experience, capacity_of(state), num_stored(state)
    num_envs = steps.reward.shape[0]
    chunk = min(max(chunk_size // num_envs, 1), capacity)

    def part(start: jax.Array, key: jax.Array) -> jax.Array:
        """[E, chunk, K] bootstraps."""
        here = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, chunk, axis=1), steps)
        values = bootstrap_fn(jax.tree.map(lambda x: x.reshape(num_envs * chunk, *x.shape[2:]), here), key)
        if values.ndim != 2 or values.shape[0] != num_envs * chunk:
            raise ValueError(
                f"bootstrap_fn must give [B, K] for B steps, got {values.shape} for {num_envs * chunk} steps"
            )
        return values.reshape(num_envs, chunk, -1)

    def fill(i: jax.Array, found: jax.Array) -> jax.Array:
        start = jnp.minimum(i * chunk, capacity - chunk)  # the last chunk begins earlier where they do not fit evenly
        return jax.lax.dynamic_update_slice_in_dim(found, part(start, jax.random.fold_in(key, i)), start, axis=1)

    num_targets = jax.eval_shape(part, jnp.int32(0), key).shape[-1]
    limit = capacity if at_most is None else jnp.minimum(at_most, capacity)
    bootstrap = jax.lax.fori_loop(
        0, -(-limit // chunk), fill, jnp.zeros((num_envs, capacity, num_targets), jnp.float32)
    )
    # Turned so that the oldest step comes first and the newest last: the write head is then the end of the arrays.
    head = state.current_index
    scalars = (steps.reward, bootstrap, steps.terminated, steps.truncated)
    in_time = [jnp.roll(jnp.swapaxes(x, 0, 1), -head, axis=0) for x in scalars]
    is_stored = jnp.arange(capacity) >= capacity - held
    valid = jnp.broadcast_to(is_stored[:, None], (capacity, num_envs))
    target = jnp.where(valid[..., None], targets_fn(*in_time, valid=valid), jnp.nan)
    return jnp.swapaxes(jnp.roll(target, head, axis=0), 0, 1)


def read_steps(steps: Any, env: jax.Array, slot: jax.Array) -> Any:
    """[*, ...] entries of a pytree [E, capacity, ...] at `env` [*] and `slot` [*]."""
    return jax.tree.map(lambda x: x[env, slot], steps)
