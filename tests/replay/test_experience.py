"""What is read from the store: transitions, n-step returns, windows and blocks, against lists of whole transitions."""

import jax
import numpy as np
import pytest
from store_tools import (
    BLOCKS,
    ENVS,
    GAMMA,
    LENGTH,
    Play,
    add,
    assert_observed,
    column,
    empty,
    everywhere,
    n_step_of,
    played,
    transitions,
    windows_of,
)

from jaxmarl_suite.replay import (
    StoreLayout,
    read_windows,
    stored_blocks,
)


def test_what_is_stored_is_what_was_played(layout):
    """Block by block, through several turns of the ring."""
    play, store = Play(layout, layout.episode_limit), None
    for _ in range(3 * layout.num_blocks + 1):
        block = play.block()
        store = add(layout, empty(layout, block) if store is None else store, block)
        assert int(store.head.num_stored) == len(play.kept[0])
        places = everywhere(layout, store, play.kept)
        found = transitions(layout, store.head, store.contents, places.env, places.slot)
        np.testing.assert_array_equal(found.steps["action"], column(play.kept, "now"))
        np.testing.assert_array_equal(found.steps["reward"], column(play.kept, "reward").astype(np.float32))
        np.testing.assert_array_equal(found.terminated, column(play.kept, "terminated"))
        np.testing.assert_array_equal(found.truncated, column(play.kept, "truncated"))
        assert_observed(found.observed, column(play.kept, "now"))
        assert_observed(found.next_observed, column(play.kept, "then"), where=~column(play.kept, "terminated"))
        assert found.is_known.all()
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.next_observed))


def test_n_step_returns_are_those_of_a_loop(layout):
    n = 3
    for num_blocks in (1, 2 * layout.num_blocks + 1):
        store, kept = played(layout, num_blocks)
        places = everywhere(layout, store, kept)
        found = n_step_of(layout, store.head, store.contents, places, n)
        expected = [n_step_loop(own, t, n) for own in kept for t in range(len(own))]
        for name, values in zip(("reward", "discount"), list(zip(*expected))):
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-5, atol=1e-6)
        assert_observed(found.observed, column(kept, "now"))
        np.testing.assert_array_equal(found.steps["action"], column(kept, "now"))
        is_valued = np.array([discount > 0 for _, discount, _ in expected])
        assert_observed(found.next_observed, [then for *_, then in expected], where=is_valued)
        assert found.is_known.all()


def n_step_loop(own, t, n):
    """`(sum, discount, number of the observation that is valued)`."""
    total, discount = 0.0, 1.0
    for step in own[t : t + n]:
        total, discount = total + discount * step["reward"], discount * GAMMA
        if step["terminated"] or step["cut"]:
            break
    return total, discount * (not step["terminated"]), step["then"]


@pytest.mark.parametrize("length", [4, 12])
def test_windows_are_stretches_of_what_is_stored(layout, length):
    """From every step: what is read, where it ends, and no stale step behind the newest one."""
    if length > layout.capacity:
        with pytest.raises(ValueError, match=f"have 1 to {layout.capacity} steps, got {length}"):
            read_windows(layout, None, None, None, length)
        return
    for num_blocks in (1, 2 * layout.num_blocks + 1):
        store, kept = played(layout, num_blocks, seed=3)
        places = everywhere(layout, store, kept)
        found, written_out = windows_of(layout, store.head, store.contents, places, length)
        assert found.final["number"].shape == (len(places.env), layout.finals_in(length))
        assert found.observed["number"].shape == (len(places.env), length + 1)
        whole = (found, written_out)
        starts = [(env, t) for env, own in enumerate(kept) for t in range(len(own))]
        for row, (env, t) in enumerate(starts):
            assert_window(*jax.tree.map(lambda x, row=row: x[row], whole), kept[env][t : t + length], length, env)


def assert_window(window, written_out, own, length, env):
    count = len(own)
    assert window.is_stored.tolist() == [True] * count + [False] * (length - count)
    assert (window.env == env).all() and window.is_known.all()
    ended = np.cumsum([step["terminated"] or step["cut"] for step in own])
    assert window.same_episode[:count].tolist() == [True, *(ended[:-1] == 0).tolist()]
    assert window.start["memory"] == own[0]["start"]
    for j, step in enumerate(own):
        for name in ("terminated", "truncated"):
            assert getattr(window, name)[j] == step[name]
        assert window.steps["action"][j] == window.observed["number"][j] == step["now"]
        assert written_out.observed["number"][j] == step["now"]
        if not step["terminated"]:
            assert written_out.next_observed["number"][j] == step["then"]
            np.testing.assert_array_equal(written_out.next_observed["obs"][j], [step["then"], -step["then"]])
        has_final = window.final_index[j] >= 0
        assert has_final == step["cut"]
        if not has_final and not step["terminated"]:
            assert window.observed["number"][j + 1] == step["then"], "a network runs over W + 1 entries"
    assert (window.final_index[count:] == -1).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(written_out))


def test_blocks_are_taken_out_oldest_first(layout):
    store, kept = played(layout, 2 * layout.num_blocks + 1)
    places = stored_blocks(layout, store.head)
    _, found = windows_of(layout, store.head, store.contents, places, layout.block_length)
    length = layout.block_length
    expected = [kept[e][i : i + length] for i in range(0, len(kept[0]), length) for e in range(layout.num_envs)]
    np.testing.assert_array_equal(found.steps["action"], [[step["now"] for step in block] for block in expected])
    then = np.array([[step["then"] for step in block] for block in expected])
    terminated = np.array([[step["terminated"] for step in block] for block in expected])
    np.testing.assert_array_equal(np.where(terminated, 0, found.next_observed["number"]), np.where(terminated, 0, then))


def test_steps_of_an_environment_that_breaks_its_limit_are_told():
    """It says 6 and truncates after 2 steps: what is not known any more is marked, and all else is right."""
    layout = StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=6)
    assert layout.num_finals == 2
    store, kept = played(layout, 8, limit=2, seed=5)
    places, flat = everywhere(layout, store, kept), [step for own in kept for step in own]
    known = []
    for own in kept:
        cuts = [t for t, step in enumerate(own) if step["cut"]]
        known += [not step["cut"] or t in cuts[-2:] for t, step in enumerate(own)]
    assert 0 < sum(known) < len(known)
    found = transitions(layout, store.head, store.contents, places.env, places.slot)
    assert found.is_known.tolist() == known
    for row, step in enumerate(flat):
        if not step["terminated"]:
            expected = step["then"] if known[row] else step["now"]  # of its own episode, and finite
            assert found.next_observed["number"][row] == expected
    for n in (1, 3):
        assert_returns_stop_before_what_is_not_known(layout, store, kept, known, n)
    windows, written_out = windows_of(layout, store.head, store.contents, places, LENGTH)
    after = written_out.next_observed["number"]
    for row in range(len(flat)):
        for j in range(LENGTH):
            step = flat[row + j] if windows.is_stored[row, j] else None
            if step and not step["terminated"] and windows.is_known[row, j]:
                assert after[row, j] == step["then"]
            if step and windows.is_known[row, j]:
                assert known[row + j]


def assert_returns_stop_before_what_is_not_known(layout, store, kept, known, n):
    found = n_step_of(layout, store.head, store.contents, everywhere(layout, store, kept), n)
    assert found.is_known.tolist() == known
    count = len(kept[0])
    for row in np.flatnonzero(known):
        env, t = divmod(int(row), count)
        length = next((k for k in range(1, n) if t + k < count and not known[row + k]), n)
        total, discount, then = n_step_loop(kept[env], t, length)
        np.testing.assert_allclose((found.reward[row], found.discount[row]), (total, discount), rtol=1e-5, atol=1e-6)
        if discount:
            assert found.next_observed["number"][row] == then
