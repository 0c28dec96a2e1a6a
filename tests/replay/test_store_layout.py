"""The size and memory of a store, and the layouts and blocks that are rejected."""

import functools

import jax
import jax.numpy as jnp
import pytest
from store_tools import BLOCKS, ENVS, LAYOUTS, LENGTH, Play, add, empty, everywhere, transitions, wide_block

from jaxmarl_suite.replay import (
    Block,
    Places,
    StoreLayout,
    add_block,
    bytes_per_step,
    draw_by_priority,
    new_store,
    next_observed,
    read_windows,
    set_priorities,
)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
def test_there_are_as_many_rows_as_time_limits_can_need_and_no_more(limit):
    """Where nothing terminates, all rows are in use at some time, and none is overwritten too early."""
    layout = StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=limit)
    play, store, most = Play(layout, limit, terminates=0.0), None, 0
    for _ in range(3 * limit + BLOCKS):
        block = play.block()
        store = add(layout, empty(layout, block) if store is None else store, block)
        most = max(most, int((store.contents.final_number >= 0).sum(axis=1).max()))
        places = everywhere(layout, store, play.kept)
        assert transitions(layout, store.head, store.contents, places.env, places.slot).is_known.all()
    assert most == layout.num_finals == -(-layout.capacity // limit)


def test_a_step_takes_as_many_bytes_as_its_layout_says():
    """An observation per step, one more of the newest step, one for every 25 steps; and the rest once per step."""
    layout = StoreLayout(4, 100, 10, episode_limit=25, priorities="step")
    store = jax.eval_shape(functools.partial(new_store, layout), wide_block(layout))
    of_observations = 160 * (1000 + 1 + 40) / 1000
    of_steps = 4 + 4 + 1 + 1 + 4  # action, reward, ends, number of the cut
    assert bytes_per_step(layout, store) == pytest.approx(of_observations + of_steps + 4 + (4 * 4 + 12) / 4000)


@pytest.mark.optimized
@pytest.mark.parametrize("lanes", [(), (2,)], ids=["one lane", "two lanes"])
@pytest.mark.parametrize("priorities", ["none", "step"])
def test_a_store_is_written_in_place_and_never_copied(priorities, lanes):
    """An addition, and a branch and a loop that draw, read and write priorities: no room for a second store."""
    layout = StoreLayout(4, 100, 20, episode_limit=25, priorities=priorities)

    def update(store, block, key, is_ready):
        store = add_block(layout, store, block)

        def learn(head):
            def step(head, key):
                if priorities == "none":
                    places = stored_places(head, key)
                else:
                    places = draw_by_priority(layout, head, key, 8, 0.4)
                windows = read_windows(layout, head, store.contents, places, 5)
                total = sum(jnp.sum(x) for x in jax.tree.leaves((windows.observed, next_observed(windows))))
                return set_priorities(layout, head, places, jnp.ones(8, jnp.float32)), total

            return jax.lax.scan(step, head, jax.random.split(key, 3))

        def stored_places(head, key):
            slot = jax.random.randint(key, (8,), 0, head.num_stored, jnp.int32)
            return Places(slot % 4, slot, jnp.ones(8, jnp.float32))

        head, totals = jax.lax.cond(is_ready, learn, lambda head: (head, jnp.zeros(3)), store.head)
        return type(store)(head, store.contents), totals

    block = wide_block(layout, lanes)
    make = functools.partial(new_store, layout)
    store = jax.vmap(make)(block) if lanes else make(block)
    run = jax.vmap(update, (0, 0, 0, None)) if lanes else update
    key = jax.random.split(jax.random.key(0), lanes) if lanes else jax.random.key(0)
    memory = jax.jit(run, donate_argnums=0).lower(store, block, key, jnp.bool_(True)).compile().memory_analysis()
    size = sum(x.nbytes for x in jax.tree.leaves(store))
    assert memory.alias_size_in_bytes >= size
    assert memory.temp_size_in_bytes < 0.2 * size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": 0}, "a store needs num_envs of at least 1, got 0"),
        ({"num_blocks": 0}, "a store needs num_blocks of at least 1, got 0"),
        ({"block_length": -1}, "a store needs block_length of at least 1, got -1"),
        ({"episode_limit": 0}, "a store needs episode_limit of at least 1, got 0"),
        ({"priorities": "steps"}, "priorities must be 'none', 'block' or 'step', got 'steps'"),
        ({"priority_exponent": 1.5}, "priority_exponent must lie between 0 and 1, got 1.5"),
    ],
)
def test_layouts_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        StoreLayout(**{"num_envs": 2, "num_blocks": 3, "block_length": 4, **change})


def test_blocks_of_another_shape_are_refused():
    layout = LAYOUTS["one block"]
    block = wide_block(layout)
    for change, message in (
        ({"terminated": jnp.zeros((ENVS, 3), bool)}, r"begins with the axes \(2, 4\) .*, got \(2, 3\)"),
        ({"start": jnp.zeros((3, 1))}, r"begin with the axis \(2,\) .*, got \(3, 1\)"),
        ({"final": {}}, "final must have the fields of observed"),
        ({"final": {"obs": jnp.zeros((ENVS, LENGTH, 40), jnp.int32)}}, "final must have the fields of observed"),
    ):
        with pytest.raises(ValueError, match=message):
            new_store(layout, Block(**{**vars(block), **change}))
