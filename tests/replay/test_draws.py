"""Draws from a store of experience: which steps, how often, and with which weights. Heads need no contents."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.replay import (
    Block,
    Head,
    Places,
    StoreLayout,
    add_block,
    draw_blocks,
    draw_by_age,
    draw_by_priority,
    draw_steps,
    new_store,
    positions_in_time,
    set_priorities,
    slots_in_time,
)

ENVS, BLOCKS, LENGTH, BATCH = 2, 3, 4, 6


def layout_of(priorities="none", **settings):
    return StoreLayout(ENVS, BLOCKS, LENGTH, priorities=priorities, **settings)


def store_after(layout, num_blocks):
    """A store of nothing but ends of episodes."""
    shape = (ENVS, LENGTH)
    block = Block((), (), (), (), jnp.zeros(shape, bool), jnp.zeros(shape, bool), ())
    store = new_store(layout, block)
    for _ in range(num_blocks):
        store = add_block(layout, store, block)
    return store


def head_with(layout, priority, num_stored=None):
    """A head of a full store with these priorities [U, E]."""
    return Head(
        next_slot=jnp.int32(0 if num_stored is None else num_stored),
        num_stored=jnp.int32(layout.capacity if num_stored is None else num_stored),
        priority=jnp.asarray(priority, jnp.float32),
        highest=jnp.float32(1),
    )


def within(counts, probabilities):
    """True where counts lie within 4.5 standard deviations of a binomial distribution."""
    n = counts.sum()
    return np.all(np.abs(counts - n * probabilities) <= 4.5 * np.sqrt(n * probabilities * (1 - probabilities)) + 1)


@pytest.mark.parametrize("num_blocks", [1, 2, 5])
def test_all_stored_steps_and_blocks_are_drawn_alike(num_blocks):
    """Also where the ring has turned; and none that is not stored."""
    layout = layout_of()
    head = store_after(layout, num_blocks).head
    kept = min(num_blocks, BLOCKS)
    steps = draw_steps(layout, head, jax.random.key(1), (1000, 3))
    counts = np.zeros((ENVS, layout.capacity))
    np.add.at(counts, (np.asarray(steps.env), np.asarray(steps.slot)), 1)
    stored = (int(head.next_slot) - 1 - np.arange(kept * LENGTH)) % layout.capacity
    assert within(counts[:, stored], 1 / (ENVS * len(stored))) and counts[:, stored].sum() == 3000
    position = positions_in_time(layout, head, steps.slot)
    np.testing.assert_array_equal(slots_in_time(layout, head, position), steps.slot)
    np.testing.assert_array_equal(
        (np.asarray(steps.slot) - int(head.next_slot) + kept * LENGTH) % layout.capacity, position
    )
    blocks = draw_blocks(layout, head, jax.random.key(2), (3000,))
    assert (np.asarray(blocks.slot) % LENGTH == 0).all()
    counts = np.zeros((ENVS, BLOCKS))
    np.add.at(counts, (np.asarray(blocks.env), np.asarray(blocks.slot) // LENGTH), 1)
    assert within(counts[:, :kept], 1 / (ENVS * kept)) and counts[:, :kept].sum() == 3000
    assert (steps.weight == 1).all() and (blocks.weight == 1).all()


def test_importance_weights_and_new_priorities():
    """(N P(i))^-β over the largest of the batch; a priority enters with its exponent."""
    layout = layout_of("block", priority_exponent=0.5)
    head = store_after(layout, BLOCKS).head
    priority = np.arange(1.0, 7.0).astype(np.float32)
    places = Places(*(jnp.asarray(x, jnp.int32) for x in ([0, 1] * 3, [0, 0, 4, 4, 8, 8])), jnp.ones(6))
    head = set_priorities(layout, head, places, jnp.asarray(priority))
    np.testing.assert_allclose(head.priority.ravel(), priority**0.5, rtol=1e-6)
    np.testing.assert_allclose(head.highest, 6**0.5, rtol=1e-6)
    drawn = draw_by_priority(layout, head, jax.random.key(0), BATCH, jnp.float32(0.4))
    share = head.priority.ravel()[np.asarray(drawn.slot) // LENGTH * ENVS + np.asarray(drawn.env)]
    expected = (share / share.min()) ** -0.4
    np.testing.assert_allclose(drawn.weight, expected, rtol=1e-5)


def test_steps_with_priorities_are_drawn_by_their_shares():
    """One draw from each of B equal parts: sums of eighths are exact, so that the step is the one that holds the part."""
    layout = layout_of("step")
    rng = np.random.default_rng(1)
    priority = rng.integers(0, 9, (layout.capacity, ENVS)) / 8
    key = jax.random.key(4)
    drawn = draw_by_priority(layout, head_with(layout, priority), key, 64, 1.0)
    upto = np.cumsum(priority.ravel())
    where = (np.arange(64) + np.asarray(jax.random.uniform(key, (64,), jnp.float32))) / 64 * upto[-1]
    expected = [next(i for i, total in enumerate(upto) if point < total) for point in where]
    np.testing.assert_array_equal(np.asarray(drawn.slot) * ENVS + drawn.env, expected)
    own = priority.ravel()[expected]
    np.testing.assert_allclose(drawn.weight, own.min() / own, rtol=1e-6)


def test_new_steps_have_the_highest_priority_so_far():
    layout = layout_of("step", priority_exponent=0.5)
    store = store_after(layout, 1)
    assert (store.head.priority[:LENGTH] == 1).all() and (store.head.priority[LENGTH:] == 0).all()
    places = Places(jnp.array([1, 0]), jnp.array([2, 3]), jnp.ones(2))
    head = set_priorities(layout, store.head, places, jnp.array([9.0, 0.25]))
    assert head.priority[2, 1] == 3 and head.priority[3, 0] == 0.5 and head.highest == 3
    block = Block((), (), (), (), jnp.zeros((ENVS, LENGTH), bool), jnp.zeros((ENVS, LENGTH), bool), ())
    head = add_block(layout, type(store)(head, store.contents), block).head
    assert (head.priority[LENGTH : 2 * LENGTH] == 3).all() and (head.priority[2 * LENGTH :] == 0).all()


def test_a_huge_priority_leaves_no_trace():
    layout = layout_of("step", priority_exponent=1.0)
    head, everything = store_after(layout, 1).head, jnp.arange(LENGTH, dtype=jnp.int32)
    for value in (1e20, 1e-4):
        for env in range(ENVS):
            places = Places(jnp.full(LENGTH, env), everything, jnp.ones(LENGTH))
            head = set_priorities(layout, head, places, jnp.array([1e-4, value, 1e-4, 1e-4], jnp.float32))
    drawn = draw_by_priority(layout, head, jax.random.key(0), 8 * 100, 1.0)
    hits = collections.Counter(zip(np.asarray(drawn.env).tolist(), np.asarray(drawn.slot).tolist()))
    assert len(hits) == 8 and max(hits.values()) <= 102 and min(hits.values()) >= 98
    np.testing.assert_allclose(drawn.weight, 1, rtol=1e-5)


def test_a_draw_at_the_very_end_is_a_step(monkeypatch):
    """The largest uniform number may be rounded up to 1; what lies behind the last priority is not drawn."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.ones(shape, dtype))
    layout = layout_of("step")
    drawn = draw_by_priority(layout, store_after(layout, 1).head, jax.random.key(0), 4, 1.0)
    assert (drawn.slot[-1], drawn.env[-1]) == (LENGTH - 1, ENVS - 1) and np.isfinite(drawn.weight).all()


def test_without_replacement_steps_are_drawn_one_after_the_other():
    """P(first i, then j) = p_i · p_j / (1 - p_i), and no step twice."""
    layout = StoreLayout(1, 1, 4, priorities="step")
    priority = np.array([1, 2, 0, 5])
    head, count = head_with(layout, priority[:, None]), 4000
    drawn = jax.vmap(lambda key: draw_by_priority(layout, head, key, 2, 1.0, replace=False))(
        jax.random.split(jax.random.key(0), count)
    )
    pairs = collections.Counter(map(tuple, np.asarray(drawn.slot).tolist()))
    p = priority / priority.sum()
    expected = {(i, j): p[i] * p[j] / (1 - p[i]) for i, j in itertools.permutations((0, 1, 3), 2)}
    assert set(pairs) == set(expected)
    assert within(np.array([pairs[pair] for pair in expected]), np.array(list(expected.values())))
    own = priority[np.asarray(drawn.slot)]
    np.testing.assert_allclose(drawn.weight, own.min(axis=1, keepdims=True) / own, rtol=1e-6)


def test_what_there_is_not_enough_of_has_no_weight_and_no_priority():
    layout = StoreLayout(1, 1, 4, priorities="step", priority_exponent=1.0)
    head = head_with(layout, [[0.0], [2.0], [0.0], [1.0]])
    drawn = draw_by_priority(layout, head, jax.random.key(0), 4, 1.0, replace=False)
    assert sorted(drawn.slot.tolist()) == [0, 1, 2, 3]
    assert dict(zip(drawn.slot.tolist(), drawn.weight.tolist())) == {0: 0, 1: 0.5, 2: 0, 3: 1}
    head = set_priorities(layout, head, drawn, jnp.full(4, 7.0))
    assert head.priority.ravel().tolist() == [0, 7, 0, 7]


@pytest.mark.parametrize(("num_blocks", "ahead"), [(1, 2), (5, 2), (1, 9)])
def test_whole_windows_begin_where_enough_steps_follow(num_blocks, ahead):
    """All such starts are drawn; where there are too few steps, it is the oldest one."""
    layout = layout_of("step")
    head = store_after(layout, num_blocks).head
    starts = set(range(max(int(head.num_stored) - ahead, 1)))
    uniform = draw_steps(layout, head, jax.random.key(0), (500,), ahead=ahead)
    by_priority = draw_by_priority(layout, head, jax.random.key(0), 500, 1.0, ahead=ahead)
    for drawn in (uniform, by_priority):
        assert set(np.asarray(positions_in_time(layout, head, drawn.slot)).tolist()) == starts
        assert set(np.asarray(drawn.env).tolist()) == {0, 1} and (np.asarray(drawn.weight) == 1).all()


def test_without_priorities_there_are_none_to_set():
    layout = layout_of()
    head = store_after(layout, 1).head
    assert head.priority.size == 0
    places = draw_steps(layout, head, jax.random.key(0), (3,))
    assert set_priorities(layout, head, places, jnp.ones(3)) is head


@pytest.mark.parametrize(
    ("priorities", "settings", "message"),
    [
        ("none", {}, "needs a layout with priorities of 'block' or 'step', got 'none'"),
        ("block", {"ahead": 2}, "ahead is for priorities of steps, got 2"),
        ("block", {"batch_size": 7, "replace": False}, "without replacement must be at most 6, got 7"),
    ],
)
def test_draws_that_cannot_work_are_refused(priorities, settings, message):
    layout = layout_of(priorities)
    head = store_after(layout, 1).head
    with pytest.raises(ValueError, match=message):
        draw_by_priority(layout, head, jax.random.key(0), **{"batch_size": 2, "importance_exponent": 1.0, **settings})


@pytest.mark.parametrize(("num_blocks", "ahead"), [(2, 0), (5, 0), (5, 4)])
def test_draws_by_age_follow_their_weights(num_blocks, ahead):
    layout = layout_of()
    head = store_after(layout, num_blocks).head
    places = draw_by_age(layout, head, jax.random.key(1), (4000,), (0.1, 0.1, 0.1, 0.7), ahead=ahead)
    count = min(num_blocks, BLOCKS) * LENGTH - ahead
    position = np.asarray(positions_in_time(layout, head, places.slot))
    assert position.max() == count - 1  # enough steps follow
    counts = np.bincount(position, minlength=count)
    assert within(counts, np.repeat([0.1, 0.1, 0.1, 0.7], count // 4) * 4 / count)
    assert within(np.bincount(places.env), 1 / ENVS)


def test_weights_of_ages_are_positive():
    layout = layout_of()
    with pytest.raises(ValueError, match=r"positive weights of at least one part, got \(1.0, 0.0\)"):
        draw_by_age(layout, store_after(layout, 1).head, jax.random.key(0), (1,), (1.0, 0.0))
