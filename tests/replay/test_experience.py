"""The store of experience against lists of whole transitions, with next observations written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodic_oracle import brute_force

from jaxmarl_suite.ops import episodic_targets
from jaxmarl_suite.replay import (
    Block,
    Places,
    StoreLayout,
    add_block,
    bytes_per_step,
    draw_by_priority,
    expand,
    new_store,
    next_observed,
    read_n_step,
    read_transitions,
    read_windows,
    set_priorities,
    stored_blocks,
    targets_of_store,
    write_steps,
)

ENVS, LENGTH, BLOCKS, GAMMA = 2, 4, 3, 0.9

LAYOUTS = {
    "any step may be truncated": StoreLayout(ENVS, BLOCKS, LENGTH),
    "a limit longer than a block": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=5),
    "a limit shorter than a block": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=3),
    "every block begins with a reset": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=3, is_continuous=False),
    "blocks of one step": StoreLayout(ENVS, 5, 1, episode_limit=2),
    "one block": StoreLayout(ENVS, 1, LENGTH, episode_limit=2),
}


def compiled(function, *static):
    """A function that gives NumPy arrays."""
    run = jax.jit(function, static_argnums=(0, *static))
    return lambda *args: jax.tree.map(np.asarray, run(*args))


def returns(layout, head, contents, places, n):
    return read_n_step(layout, head, contents, places, reward=contents.steps["reward"], n_step=n, gamma=GAMMA)


def windows(layout, head, contents, places, length):
    found = read_windows(layout, head, contents, places, length)
    return found, expand(found)


add = jax.jit(add_block, static_argnums=0)
empty = jax.jit(new_store, static_argnums=0)
transitions = compiled(read_transitions)
n_step_of = compiled(returns, 4)
windows_of = compiled(windows, 4)


class Play:
    """Random play in which every observation has a number of its own; truncated at `limit`, or anywhere without one."""

    def __init__(self, layout, limit, seed=0, terminates=0.15):
        self.layout, self.limit, self.terminates = layout, limit, terminates
        self.rng, self.number = np.random.default_rng(seed), 0
        self.shown, self.age = [self.fresh() for _ in range(layout.num_envs)], [0] * layout.num_envs
        self.kept = [[] for _ in range(layout.num_envs)]

    def fresh(self):
        self.number += 1
        return self.number

    def step(self, env):
        now, then = self.shown[env], self.fresh()
        self.age[env] += 1
        terminated = self.rng.random() < self.terminates
        truncated = self.age[env] == self.limit if self.limit else self.rng.random() < 0.2
        truncated = truncated and not terminated
        if terminated or truncated:
            self.shown[env], self.age[env] = self.fresh(), 0
        else:
            self.shown[env] = then
        ends = {"terminated": terminated, "truncated": truncated, "cut": truncated}
        return {"now": now, "then": then, "reward": self.rng.normal(), **ends}

    def block(self):
        """A block, of which the lists keep what a store keeps."""
        if not self.layout.is_continuous:
            self.shown, self.age = [self.fresh() for _ in self.shown], [0 for _ in self.age]
        new = [[self.step(env) for _ in range(self.layout.block_length)] for env in range(self.layout.num_envs)]
        starts = [self.fresh() for _ in new]
        for own, kept, start in zip(new, self.kept, starts):
            if not self.layout.is_continuous:
                own[-1]["cut"] = not own[-1]["terminated"]
            kept += [{**step, "start": start} for step in own]
            del kept[: -self.layout.capacity]

        def of(name, dtype):
            return np.array([[step[name] for step in own] for own in new], dtype)

        number, then = of("now", np.int32), of("then", np.int32)
        return Block(
            steps={"action": number, "reward": of("reward", np.float32)},
            observed=observation(number),
            observed_after=observation(np.array(self.shown, np.int32)),
            final=observation(then),
            terminated=of("terminated", bool),
            truncated=of("truncated", bool),
            start={"memory": np.array(starts, np.float32)[:, None]},
        )


def observation(number):
    """What is observed, as several arrays that tell observations apart."""
    x = number.astype(np.float32)
    return {"obs": np.stack([x, -x], axis=-1), "mask": number % 2 == 0, "number": number}


def assert_observed(found, numbers, where=slice(None)):
    for name, x in observation(np.asarray(numbers, np.int32)).items():
        np.testing.assert_array_equal(found[name][where], x[where], err_msg=name)


def played(layout, num_blocks, limit=None, **settings):
    """`(store, lists)` after so many blocks."""
    play = Play(layout, limit or layout.episode_limit, **settings)
    store = None
    for _ in range(num_blocks):
        block = play.block()
        store = add(layout, empty(layout, block) if store is None else store, block)
    return store, play.kept


def everywhere(layout, store, kept):
    """Places of all stored steps, environment by environment, in the order of time."""
    count = len(kept[0])
    env, position = (x.ravel() for x in np.meshgrid(range(layout.num_envs), range(count), indexing="ij"))
    slot = (int(store.head.next_slot) - count + position) % layout.capacity
    return Places(env.astype(np.int32), slot.astype(np.int32), np.ones(len(env), np.float32))


def column(kept, name):
    return np.array([step[name] for own in kept for step in own])


@pytest.fixture(params=LAYOUTS, scope="module")
def layout(request):
    return LAYOUTS[request.param]


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


def wide_block(layout, lanes=()):
    """Shapes of a block whose observations are most of it."""
    shape = (*lanes, layout.num_envs, layout.block_length)

    def of(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype)

    return Block(
        steps={"action": of(shape, jnp.int32), "reward": of(shape)},
        observed={"obs": of((*shape, 40))},
        observed_after={"obs": of((*lanes, layout.num_envs, 40))},
        final={"obs": of((*shape, 40))},
        terminated=of(shape, bool),
        truncated=of(shape, bool),
        start=(),
    )


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
