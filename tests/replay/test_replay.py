"""The ring against a deque, draws against their proportions, importance weights against their equation."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmarl_suite.replay import make_replay

CAPACITY, BATCH, DRAWS = 5, 4, 2500
ITEM = {"x": jnp.zeros(()), "y": jnp.zeros((2,), jnp.int32)}


def items(numbers):
    x = jnp.asarray(numbers, jnp.float32)
    return {"x": x, "y": jnp.stack([x, -x], axis=1).astype(jnp.int32)}


def compiled(is_prioritised):
    made = make_replay(CAPACITY, BATCH, prioritised=is_prioritised, priority_exponent=0.5)
    return made._replace(
        add=jax.jit(made.add),
        sample=jax.jit(lambda s, keys, exponent: jax.vmap(made.sample, (None, 0, None))(s, keys, exponent)),
        set_priorities=jax.jit(made.set_priorities),
    )


@pytest.fixture(scope="module", params=[False, True], ids=["uniform", "prioritised"])
def replay(request):
    return compiled(request.param)


@pytest.fixture(scope="module")
def prioritised():
    return compiled(True)


def draw(replay, state, seed=0, exponent=0.4):
    """`DRAWS` batches: [DRAWS, BATCH]."""
    return replay.sample(state, jax.random.split(jax.random.key(seed), DRAWS), jnp.float32(exponent))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, CAPACITY), min_size=1, max_size=6))
def test_the_oldest_items_go(replay, sizes):
    """The ring holds what a deque of its capacity holds, however the additions fall on its end."""
    state, expected, number = replay.init(ITEM), collections.deque(maxlen=CAPACITY), 0
    for size in sizes:
        new = list(range(number + 1, number + 1 + size))
        number += size
        expected.extend(new)
        state = replay.add(state, items(new))
    held = np.asarray(state.experience["x"][0])
    assert sorted(held[held > 0]) == sorted(expected)
    assert bool(state.is_full) == (number >= CAPACITY)
    assert int(state.current_index) == number % CAPACITY
    assert (np.asarray(state.experience["y"][0])[:, 1] == -held).all(), "the parts of an item stay together"


def within(counts, probabilities):
    """True where counts lie within 4.5 standard deviations of a binomial distribution."""
    n = counts.sum()
    return np.all(np.abs(counts - n * probabilities) <= 4.5 * np.sqrt(n * probabilities * (1 - probabilities)) + 1)


@pytest.mark.parametrize("added", [1, 3, 5, 7])
def test_every_item_is_drawn_alike_at_first(replay, added):
    state = replay.init(ITEM)
    for number in range(1, added + 1):
        state = replay.add(state, items([number]))
    sample = draw(replay, state)
    drawn = np.asarray(sample.items["x"]).ravel().astype(int)
    kept = range(max(1, added - CAPACITY + 1), added + 1)
    assert set(drawn) == set(kept)
    counts = np.array([(drawn == k).sum() for k in kept])
    assert within(counts, np.full(len(kept), 1 / len(kept)))
    assert (np.asarray(sample.weight) == 1).all()
    np.testing.assert_array_equal(sample.items["y"][..., 1], -sample.items["x"].astype(jnp.int32))


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
def test_proportions_and_importance_weights(prioritised, exponent):
    """P(i) = p_i^a / sum p^a, and w_i = (N P(i))^-b over the largest of the batch (Schaul et al. 2016, eq. 1, sec. 3.4)."""
    state = prioritised.add(prioritised.init(ITEM), items([1, 2, 3, 4]))  # one place is still empty
    priority = np.array([0.25, 4.0, 1.0, 9.0])
    state = prioritised.set_priorities(state, jnp.arange(4), jnp.asarray(priority, jnp.float32))
    p = priority**0.5 / (priority**0.5).sum()
    sample = draw(prioritised, state, exponent=exponent)
    index = np.asarray(sample.indices)
    np.testing.assert_array_equal(sample.items["x"], index + 1)
    assert within(np.bincount(index.ravel(), minlength=4), p)
    weight = (4 * p[index]) ** -exponent
    np.testing.assert_allclose(sample.weight, weight / weight.max(axis=1, keepdims=True), rtol=1e-5)


def test_each_equal_part_gives_one_draw(prioritised):
    """Item 3 has half of the whole, so that two of four draws are its own, always."""
    state = prioritised.add(prioritised.init(ITEM), items([1, 2, 3, 4]))
    state = prioritised.set_priorities(state, jnp.arange(4), jnp.asarray([1.0, 1.0, 1.0, 9.0]))
    index = np.asarray(draw(prioritised, state).indices)
    assert ((index == 3).sum(axis=1) == 2).all()


def test_new_items_have_the_highest_priority_so_far(prioritised):
    state = prioritised.add(prioritised.init(ITEM), items([1, 2]))
    np.testing.assert_allclose(state.priority, [1, 1, 0, 0, 0])
    state = prioritised.set_priorities(state, jnp.array([0, 1]), jnp.array([7.29, 0.01]))
    state = prioritised.add(state, items([3]))
    np.testing.assert_allclose(state.priority, [2.7, 0.1, 2.7, 0, 0], rtol=1e-6)
    state = prioritised.set_priorities(state, jnp.array([0, 2]), jnp.array([0.01, 0.01]))
    state = prioritised.add(state, items([4, 5, 6]))
    np.testing.assert_allclose(state.priority, [2.7, 0.1, 0.1, 2.7, 2.7], rtol=1e-6)


def test_a_huge_priority_leaves_no_trace(prioritised):
    """Sums that were kept up by differences would be wrong for ever after it, in single precision."""
    state = prioritised.add(prioritised.init(ITEM), items([1, 2, 3]))
    for value in (1e20, 1e-4):
        state = prioritised.set_priorities(state, jnp.arange(3), jnp.asarray([1e-4, value, 4e-4], jnp.float32))
    sample = draw(prioritised, state)
    assert within(np.bincount(np.asarray(sample.indices).ravel(), minlength=3), np.array([0.25, 0.25, 0.5]))
    assert np.isfinite(sample.weight).all() and (np.asarray(sample.weight) > 0).all()


def test_a_draw_at_the_very_end_is_an_item(prioritised, monkeypatch):
    """The largest uniform number may be rounded up to 1."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.ones(shape, dtype))
    made = make_replay(CAPACITY, BATCH, prioritised=True)
    state = made.add(made.init(ITEM), items([1, 2, 3]))
    sample = made.sample(state, jax.random.key(0), jnp.float32(1.0))
    assert int(sample.indices[-1]) == 2 and np.isfinite(sample.weight).all()


def test_items_can_be_left_behind_and_taken_up(replay):
    state = replay.add(replay.init(ITEM), items([1, 2, 3]))
    light = replay.split(state)
    assert not jax.tree.leaves(light.experience)
    jax.tree.map(np.testing.assert_array_equal, replay.join(light, state), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 3, "batch_size": 4}, "capacity must be at least the batch of 4 sequences, got 3"),
        ({"priority_exponent": 1.5}, "priority_exponent must lie between 0 and 1, got 1.5"),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_replay(**{"capacity": 8, "batch_size": 4, "prioritised": True, **settings})
