"""Fields written back into a store, and passes over all that is stored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodic_oracle import brute_force
from store_tools import ENVS, GAMMA, LAYOUTS, Play, add, empty, everywhere, played, windows_of

from jaxmarl_suite.ops import episodic_targets
from jaxmarl_suite.replay import (
    targets_of_store,
    write_steps,
)


def test_fields_are_written_where_a_window_holds():
    layout = LAYOUTS["a limit shorter than a block"]
    store, kept = played(layout, 5)
    targets = jnp.zeros((ENVS, layout.capacity, 2), jnp.float32)
    places = jax.tree.map(
        lambda x: x[np.array([3, 11])], everywhere(layout, store, kept)
    )  # the second is the newest step
    found, _ = windows_of(layout, store.head, store.contents, places, 3)
    fresh = jnp.arange(12, dtype=jnp.float32).reshape(2, 3, 2) + 1
    written = np.asarray(write_steps(targets, found.env, found.slot, fresh, found.is_stored))
    expected = np.zeros_like(written)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 0)):
        expected[found.env[i, j], found.slot[i, j]] = fresh[i, j]
    np.testing.assert_array_equal(written, expected)
    assert (write_steps(targets, found.env, found.slot, fresh) != 0).sum() >= 8


def test_passes_over_the_whole_store_are_those_of_a_loop(layout):
    """In chunks, before the ring is full and after: the best stops of all stored steps, by tables over all pairs."""

    def values(t, key):
        then = jnp.where(t.terminated, 0, t.next_observed["number"]).astype(jnp.float32)
        return jnp.stack([jnp.sin(then), jnp.cos(then)], axis=-1)

    how = functools.partial(episodic_targets, gamma=GAMMA)
    play, store = Play(layout, layout.episode_limit), None

    @jax.jit
    def passed(store, at_most):
        head, contents, reward = store.head, store.contents, store.contents.steps["reward"]
        key = jax.random.key(3)
        return targets_of_store(layout, head, contents, values, how, key, reward=reward, at_most=at_most, chunk_size=6)

    for number in range(2 * layout.num_blocks + 1):
        block = play.block()
        store = add(layout, empty(layout, block) if store is None else store, block)
        found = np.asarray(passed(store, jnp.int32((number + 1) * layout.block_length)))
        for env, kept in enumerate(play.kept):
            slot = everywhere(layout, store, play.kept).slot[: len(kept)]
            then = np.array([0 if step["terminated"] else step["then"] for step in kept], np.float32)
            columns = (np.array([step[name] for step in kept]) for name in ("reward", "terminated", "cut"))
            reward, terminated, cut = columns
            bootstrap = np.stack([np.sin(then), np.cos(then)], axis=-1)
            wanted = brute_force(reward, bootstrap, terminated, cut, np.ones(len(kept), bool), gamma=GAMMA)
            np.testing.assert_allclose(found[env, slot], wanted, rtol=1e-4, atol=1e-5)
        missing = np.setdiff1d(np.arange(layout.capacity), slot)
        assert np.isnan(found[:, missing]).all()


def test_values_of_another_shape_are_refused():
    layout = LAYOUTS["one block"]
    store, _ = played(layout, 1)
    with pytest.raises(ValueError, match=r"values_fn must give \[B, K\] for B steps, got \(8,\) for 8 steps"):
        targets_of_store(
            layout,
            store.head,
            store.contents,
            lambda t, key: t.steps["reward"],
            episodic_targets,
            jax.random.key(0),
            reward=store.contents.steps["reward"],
        )
