"""Reading from an experience store: single steps, n-step returns, windows. Nothing here writes."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.ops import n_step_return
from jaxmarl_suite.replay._draws import Places, positions_in_time, slots_in_time
from jaxmarl_suite.replay._experience import Contents, Head, StoreLayout


@pytree_dataclass
class Transitions:
    """Steps with their next observations."""

    steps: Any  # [*, ...]
    observed: Any  # [*, ...] before the step
    next_observed: Any  # [*, ...] after it, before any restart; to be ignored where `terminated` is true
    terminated: jax.Array  # [*] bool
    truncated: jax.Array  # [*] bool
    is_known: jax.Array  # [*] bool, False if `next_observed` was overwritten by too frequent truncations


@pytree_dataclass
class NStep:
    """Sampled steps with their n-step returns."""

    steps: Any  # [B, ...]
    observed: Any  # [B, ...]
    next_observed: Any  # [B, ...] after the last of the steps that were summed
    reward: jax.Array  # [B, ...] discounted sum
    discount: jax.Array  # [B] of the value of `next_observed`; 0 after termination
    is_known: jax.Array  # [B] bool, see `Transitions`


@pytree_dataclass
class Windows:
    """W consecutive steps from each of B starts. Fields of steps that are not stored repeat the newest step.

    `observed` has W + 1 entries, so that a network can run over them once. Entry j + 1 is the next observation of step
    j, unless an episode was cut there: then it is the first one of the next episode, and the next observation is in
    `final`. `next_observed` combines both.
    """

    env: jax.Array  # [B, W] int32
    slot: jax.Array  # [B, W] int32, for `write_steps`
    steps: Any  # [B, W, ...]
    observed: Any  # [B, W + 1, ...]
    final: Any  # [B, K, ...] at the cuts of the window, in order; K = layout.finals_in(W)
    final_index: jax.Array  # [B, W] int32, index of a step's entry in `final`; -1 for none
    terminated: jax.Array  # [B, W] bool
    truncated: jax.Array  # [B, W] bool
    is_stored: jax.Array  # [B, W] bool, False after the newest step
    same_episode: jax.Array  # [B, W] bool, no episode ended before this step of the window
    is_known: jax.Array  # [B, W] bool, see `Transitions`
    start: Any  # [B, ...] carried into the first step of the block in which the window begins


def read_transitions(
    layout: StoreLayout, head: Head, contents: Contents, env: jax.Array, slot: jax.Array
) -> Transitions:
    """The steps at `env` [*] and `slot` [*], with their next observations."""
    terminated, truncated = contents.terminated[env, slot], contents.truncated[env, slot]
    row, is_known = _next_row(layout, head, contents, env, slot)
    return Transitions(
        steps=_take(contents.steps, env, slot),
        observed=_take(contents.observed, env, slot),
        next_observed=_take(contents.observed, env, row),
        terminated=terminated,
        truncated=truncated,
        is_known=is_known,
    )


def read_n_step(
    layout: StoreLayout,
    head: Head,
    contents: Contents,
    places: Places,
    *,
    reward: jax.Array,
    n_step: int,
    gamma: jax.Array | float,
) -> NStep:
    """The sampled steps and their n-step returns, which stop at the ends of episodes and at the newest stored step.

    Args:
      layout: static sizes.
      head: of the store.
      contents: of the store.
      places: [B] places of steps.
      reward: [E, C], such as `contents.steps.reward`.
      n_step: n.
      gamma: discount of one step.
    """
    env, steps = places.env, jnp.arange(n_step, dtype=jnp.int32)[:, None]
    position = positions_in_time(layout, head, places.slot)[None] + steps  # [n, B]
    slots = slots_in_time(layout, head, position)
    is_cut, is_lost = _cuts(layout, contents, env[None], slots)
    # A return stops before a step whose next observation is unknown, since the observation before that step is known.
    before_lost = jnp.concatenate([is_lost[1:], jnp.zeros_like(is_lost[:1])])
    is_last = is_cut | before_lost | (position >= head.num_stored - 1)
    along = n_step_return(reward[env[None], slots], contents.terminated[env[None], slots], is_last, gamma=gamma)
    last = slots_in_time(layout, head, position[0] + along.last)
    row, _ = _next_row(layout, head, contents, env, last)
    return NStep(
        steps=_take(contents.steps, env, places.slot),
        observed=_take(contents.observed, env, places.slot),
        next_observed=_take(contents.observed, env, row),
        reward=along.rewards,
        discount=along.discount,
        is_known=~is_lost[0],
    )


def read_windows(layout: StoreLayout, head: Head, contents: Contents, places: Places, length: int) -> Windows:
    """Windows of W = `length` steps from each of the places [B]: whole blocks (W = L), or starting at any step.

    A window never continues from the newest step to the oldest ones: `is_stored` is False from there on.

    Raises:
      ValueError: W is not between 1 and the capacity.
    """
    if not 1 <= length <= layout.capacity:
        raise ValueError(f"windows of this store have 1 to {layout.capacity} steps, got {length}")
    env = places.env[:, None]
    first = positions_in_time(layout, head, places.slot)
    position = first[:, None] + jnp.arange(length + 1, dtype=jnp.int32)[None]  # [B, W + 1]
    is_stored = position < head.num_stored
    slot_or_last = slots_in_time(layout, head, jnp.minimum(position, jnp.maximum(head.num_stored - 1, 0)))
    slot = slot_or_last[:, :-1]
    number = contents.final_number[env, slot]
    is_cut, is_lost = _cuts(layout, contents, env, slot)
    is_cut, is_lost = is_cut & is_stored[:, :-1], is_lost & is_stored[:, :-1]
    rank = jnp.cumsum(is_cut, axis=1, dtype=jnp.int32) - 1
    num_finals = layout.finals_in(length)
    is_lost = is_lost | (is_cut & (rank >= num_finals))
    # The cuts of an environment are numbered in time order, and so are those of a window.
    lowest = jnp.min(jnp.where(is_cut, number, contents.num_cuts[env]), axis=1)
    numbers = lowest[:, None] + jnp.arange(num_finals, dtype=jnp.int32)[None]
    terminated = contents.terminated[env, slot]
    ended = (terminated & is_stored[:, :-1] | is_cut).astype(jnp.int32)
    return Windows(
        env=jnp.broadcast_to(env, slot.shape),
        slot=slot,
        steps=_take(contents.steps, env, slot),
        observed=_take(contents.observed, env, jnp.where(is_stored, slot_or_last, layout.capacity)),
        final=_take(contents.observed, env, layout.capacity + 1 + numbers % layout.num_finals),
        final_index=jnp.where(is_cut & ~is_lost, rank, -1),
        terminated=terminated,
        truncated=contents.truncated[env, slot],
        is_stored=is_stored[:, :-1],
        same_episode=jnp.cumsum(ended, axis=1, dtype=jnp.int32) - ended == 0,
        is_known=~is_lost,
        start=_take(contents.start, places.env, places.slot // layout.block_length),
    )


def next_observed(windows: Windows) -> Any:
    """[B, W, ...] the next observations of the steps in the windows, before any restart."""
    batch = jnp.arange(windows.slot.shape[0], dtype=jnp.int32)[:, None]
    follows = jnp.arange(windows.slot.shape[1], dtype=jnp.int32)[None] + windows.is_known.astype(jnp.int32)

    def put_together(observed: jax.Array, final: jax.Array) -> jax.Array:
        has_final = windows.final_index >= 0
        has_final = has_final.reshape(has_final.shape + (1,) * (observed.ndim - 2))
        return jnp.where(has_final, final[batch, windows.final_index], observed[batch, follows])

    return jax.tree.map(put_together, windows.observed, windows.final)


def expand(windows: Windows) -> Transitions:
    """The windows as [B, W] steps with explicit next observations, the format of replay stored on disk."""
    return Transitions(
        steps=windows.steps,
        observed=jax.tree.map(lambda x: x[:, :-1], windows.observed),
        next_observed=next_observed(windows),
        terminated=windows.terminated,
        truncated=windows.truncated,
        is_known=windows.is_known,
    )


def _take(tree: Any, env: jax.Array, row: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[env, row], tree)


def _cuts(layout: StoreLayout, contents: Contents, env: jax.Array, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`(is cut, is cut and its final observation was overwritten)`, [*] bool."""
    number = contents.final_number[env, slot]
    is_cut = number >= 0
    return is_cut, is_cut & (number < contents.num_cuts[env] - layout.num_finals)


def _next_row(
    layout: StoreLayout, head: Head, contents: Contents, env: jax.Array, slot: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`(row of the next observation, whether it is known)`, [*]; if it is not known, the row of the step itself."""
    capacity = layout.capacity
    is_cut, is_lost = _cuts(layout, contents, env, slot)
    is_newest = positions_in_time(layout, head, slot) == head.num_stored - 1
    follows = jnp.where(is_newest, capacity, (slot + 1) % capacity)
    final = capacity + 1 + contents.final_number[env, slot] % layout.num_finals
    return jnp.where(is_lost, slot, jnp.where(is_cut, final, follows)), ~is_lost
