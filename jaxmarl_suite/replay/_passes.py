"""Passes over a whole experience store, in time order."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmarl_suite.replay._experience import Contents, Head, StoreLayout
from jaxmarl_suite.replay._windows import Transitions, read_transitions

ValuesFn = Callable[[Transitions, jax.Array], jax.Array]
"""`(transitions [B, ...], key) -> [B, K]`: each estimator's value of the next observations. Consumes the key."""


def targets_of_store(
    layout: StoreLayout,
    head: Head,
    contents: Contents,
    values_fn: ValuesFn,
    targets_fn: Callable[..., jax.Array],
    key: jax.Array,
    *,
    reward: jax.Array,
    at_most: jax.Array | int | None = None,
    chunk_size: int = 4096,
) -> jax.Array:
    """[E, C, K] float32 targets of all stored steps along their trajectories; NaN where no step is stored.

    The newest step of an environment has nothing stored after it and bootstraps.

    Args:
      layout: static sizes.
      head: head of the store.
      contents: contents of the store.
      values_fn: called with chunks of steps of all environments.
      targets_fn: `(reward [T, E], bootstrap [T, E, K], terminated, truncated, valid=...) -> [T, E, K]` in time order,
        such as `partial(ops.episodic_targets, gamma=gamma)`.
      key: consumed.
      reward: [E, C], such as `contents.steps.reward`.
      at_most: [] int32, an upper bound on the steps stored per environment; bootstraps are computed only for this
        many. It should come from a counter that lanes share, because it determines the number of chunks: with a
        batched counter, every lane computes as long as the longest.
      chunk_size: steps whose bootstraps are computed at once (at least one per environment), which limits memory.

    Raises:
      ValueError: `values_fn` returns another shape.
    """
    num_envs, capacity = layout.num_envs, layout.capacity
    chunk = min(max(chunk_size // num_envs, 1), capacity)
    envs = jnp.arange(num_envs, dtype=jnp.int32)

    def part(start: jax.Array, key: jax.Array) -> jax.Array:
        """[E, chunk, K] bootstraps."""
        env, slot = jnp.repeat(envs, chunk), jnp.tile(start + jnp.arange(chunk, dtype=jnp.int32), num_envs)
        values = values_fn(read_transitions(layout, head, contents, env, slot), key)
        if values.ndim != 2 or values.shape[0] != num_envs * chunk:
            raise ValueError(f"values_fn must give [B, K] for B steps, got {values.shape} for {num_envs * chunk} steps")
        return values.reshape(num_envs, chunk, -1)

    def fill(i: jax.Array, found: jax.Array) -> jax.Array:
        start = jnp.minimum(i * chunk, capacity - chunk)  # the last chunk begins earlier where they do not fit evenly
        return jax.lax.dynamic_update_slice_in_dim(found, part(start, jax.random.fold_in(key, i)), start, axis=1)

    num_targets = jax.eval_shape(part, jnp.int32(0), key).shape[-1]
    limit = capacity if at_most is None else jnp.minimum(at_most, capacity)
    empty = jnp.zeros((num_envs, capacity, num_targets), jnp.float32)
    bootstrap = jax.lax.fori_loop(0, -(-limit // chunk), fill, empty)
    # Rolled so that the oldest step comes first and the newest last: the write head is then the end of the arrays.
    number = contents.final_number
    is_lost = (number >= 0) & (number < contents.num_cuts[:, None] - layout.num_finals)
    # A return stops before a step whose last observation was overwritten, and bootstraps there instead.
    is_cut = (number >= 0) | jnp.roll(is_lost, -1, axis=1)
    in_time = [
        jnp.roll(jnp.swapaxes(x, 0, 1), -head.next_slot, axis=0)
        for x in (reward, bootstrap, contents.terminated, is_cut)
    ]
    is_stored = jnp.arange(capacity, dtype=jnp.int32) >= capacity - head.num_stored
    valid = jnp.broadcast_to(is_stored[:, None], (capacity, num_envs))
    targets = jnp.where(valid[..., None], targets_fn(*in_time, valid=valid), jnp.nan)
    return jnp.swapaxes(jnp.roll(targets, head.next_slot, axis=0), 0, 1)
