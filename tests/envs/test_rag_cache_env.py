"""Compiled caches and the caching task, equal to plain Python in every integer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import check_environment, make
from jaxmarl_envs.rag import simulate_compiled
from jaxmarl_envs.rag._windows import Snapshot, cache_windows, choose_starts, load_trace, split_bounds
from jaxmarl_envs.rag.trace import POLICIES, next_uses, simulate

from tests.envs.rag_reference import PlainCacheTask
from tests.envs.rag_tools import SAMPLE, needs_sample
from tests.envs.test_rag_caches import random_stream

SMALL = {"sessions": 900, "windows": 20, "rounds": 24, "capacity": 8, "n_agents": 3}


@pytest.mark.parametrize("policy", POLICIES)
def test_compiled_caches_hit_as_simulated(policy):
    for seed, capacity in ((0, 1), (1, 5), (2, 17), (3, 60)):
        stream = random_stream(seed)
        sizes = np.random.default_rng(seed + 9).integers(1, 9, 40)
        future = jnp.asarray(next_uses(stream).astype(np.int32))
        of_each = jnp.asarray(sizes[stream].astype(np.int32))
        hits = simulate_compiled(policy, jnp.asarray(stream.astype(np.int32)), capacity, 40, future, of_each)
        if policy == "GDSF":  # slots are equal, values are not: an independent count
            np.testing.assert_array_equal(hits, weighted_slots(stream, sizes, capacity))
        else:
            np.testing.assert_array_equal(hits, simulate(policy, stream, capacity))


def weighted_slots(stream, sizes, capacity):
    held, count, age, hits = {}, {}, 0, []
    slots = [None] * capacity
    for item in stream.tolist():
        count[item] = count.get(item, 0) + 1
        hits.append(item in held)
        if item not in held:
            slot = slots.index(None) if None in slots else min(range(capacity), key=lambda s: (held[slots[s]], s))
            if slots[slot] is not None:
                age = held.pop(slots[slot])
            slots[slot] = item
        held[item] = age + count[item] * 2**20 // int(sizes[item])
    return hits


def test_caches_are_warmed_as_simulated():
    stream = random_stream(5, 600, 60)
    cache, hits = Snapshot(12), []
    for item in stream.tolist():
        hits.append(item in cache.doc)
        cache.refer(item)
    assert hits == simulate("LFU-DA", stream, 12).tolist()
    assert cache.time == 600 and cache.count[0] == (stream == 0).sum()


def windows_of(env):
    inner = env.unwrapped
    return [inner.layout.unpack(row) for row in inner.default_params.windows]


def test_windows_are_pieces_of_the_trace():
    trace = load_trace("", 900, 0)
    windows = cache_windows("rag/x", trace, "test", 3, 3, 8, 24)
    low, high = split_bounds(trace, "test")
    assert trace.time[low] >= 1.5 * 604_800 > trace.time[low - 1] and high == len(trace)
    for window in windows:
        assert window["refs"].shape == (25, 3, 5)
        for agent in range(3):
            docs = window["refs"][:, agent, 0]
            after = window["refs"][:, agent, 4]
            np.testing.assert_array_equal(after, next_uses(docs))
            slots = window["slot_doc"][agent]
            assert len(set(slots[slots >= 0])) == (slots >= 0).sum()
            assert (window["count"][agent][slots[slots >= 0]] > 0).all()
    assert choose_starts(0, 400, 3).tolist() == [200, 300, 400]
    assert choose_starts(0, 4000, 3).tolist() == [800, 2400, 4000]
    assert choose_starts(900, 1000, 5).tolist() == [900, 925, 950, 975, 1000]


def test_splits_share_no_request():
    trace = load_trace("", 900, 0)
    bounds = [split_bounds(trace, name) for name in ("train", "validation", "test")]
    assert bounds[0][1] == bounds[1][0] and bounds[1][1] == bounds[2][0] and bounds[2][1] == len(trace)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_task_equals_plain_python_round_by_round(weight):
    env = make("rag/cache-L1", token_weight=weight, peer_cost=0.25, **SMALL)
    windows, params = windows_of(env), env.default_params
    assert len(windows) == 20
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    rng = np.random.default_rng(0)
    seen, chosen = set(), set()
    for seed in range(200):
        state, timestep = reset(jax.random.key(seed), params)
        window = int(state.inner.window)
        if window in seen:
            continue
        seen.add(window)
        plain = PlainCacheTask(windows[window], 0.25, weight)
        for t in range(24):
            mask = np.asarray(timestep.action_mask)
            np.testing.assert_array_equal(mask, plain.mask())
            action = np.array([rng.choice(np.flatnonzero(row)) for row in mask], np.int32)
            chosen |= set(action.tolist())
            costs = plain.step(action)
            state, timestep = step(jax.random.key(t), state, jnp.asarray(action), params)
            np.testing.assert_allclose(timestep.reward, -np.mean(costs), rtol=1e-6)
            for agent, cache in enumerate(plain.caches):
                ours = jax.tree.map(lambda x, agent=agent: np.asarray(x)[agent], state.inner.caches)
                assert ours.doc.tolist() == cache.doc and ours.prio.tolist() == cache.prio
                assert ours.count.tolist() == list(cache.count.values())
                assert ours.seen.tolist() == list(cache.seen.values())
                assert (int(ours.age), int(ours.time)) == (cache.age, cache.time)
                inverse = [cache.doc.index(d) if d in cache.doc else -1 for d in range(len(ours.place))]
                assert ours.place.tolist() == inverse
        assert bool(timestep.truncated) and not bool(timestep.terminated)
    assert seen == set(range(20)) and chosen == {0, 1, 2, 3, 4}


def play(env, choose, episodes=20):
    """Mean cost by episode of `choose(mask) -> action`, and the window of each."""
    return _play(env, choose, episodes, env.default_params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _play(env, choose, episodes, params):
    def episode(key):
        state, timestep = env.reset(key, params)

        def body(carry, key):
            state, timestep = carry
            state, timestep = env.step(key, state, choose(timestep), params)
            return (state, timestep), None

        window = state.inner.window
        (_, timestep), _ = jax.lax.scan(body, (state, timestep), jax.random.split(key, env.spec.episode_limit))
        return timestep.metrics["cost"], window

    return jax.vmap(episode)(jax.random.split(jax.random.key(3), episodes))


@functools.cache
def expert(number):
    """Admits always, evicting as one action does where it may, else as LRU."""

    def choose(timestep):
        mask = timestep.action_mask
        return jnp.where(mask[:, number], number, jnp.where(mask[:, 1], 1, 0)).astype(jnp.int32)

    return choose


def test_costs_are_not_below_the_bound_and_lru_is_lru():
    env = make("rag/cache-L0", sessions=900, windows=6, rounds=60, capacity=8)
    costs, windows = play(env, expert(1))
    for cost, window in zip(np.asarray(costs), np.asarray(windows)):
        arrays = windows_of(env)[window]
        docs = arrays["refs"][:60, 0, 0]
        order = np.argsort(arrays["seen"][0][arrays["slot_doc"][0]])
        warm = arrays["slot_doc"][0][order]  # references that leave the cache as it was
        stream = np.concatenate([warm, docs])
        assert 1 - simulate("LRU", stream, 8)[8:].mean() == pytest.approx(cost, abs=1e-6)
        assert 1 - simulate("MIN-BYPASS", stream, 8)[8:].mean() <= cost + 1e-6


def test_peers_are_worthless_at_the_price_of_computing():
    cheap, dear = (make("rag/cache-L1", peer_cost=cost, **SMALL) for cost in (0.0, 1.0))
    costs = [np.asarray(play(env, expert(3))[0]).mean() for env in (cheap, dear)]
    assert costs[0] < costs[1]
    timestep = jax.jit(cheap.reset)(jax.random.key(0), cheap.default_params)[1]
    assert float(timestep.metrics["cost"]) == 0.0


def test_next_uses_are_not_observed():
    env = make("rag/cache-L1", **SMALL)
    inner, params = env.unwrapped, env.default_params
    rows = [dict(window) for window in windows_of(env)]
    for window in rows:
        window["refs"] = np.concatenate([window["refs"][..., :4], 7 + 0 * window["refs"][..., 4:]], axis=2)
    blind = dataclasses.replace(params, windows=np.stack([inner.layout.pack(w) for w in rows]))
    key = jax.random.key(1)
    seen = []
    for given in (params, blind):
        state, first = jax.jit(env.reset)(key, given)
        _, second = jax.jit(env.step)(key, state, jnp.zeros(3, jnp.int32), given)
        seen.append((first, second))
    assert not np.array_equal(params.windows, blind.windows)
    jax.tree.map(np.testing.assert_array_equal, *seen)


LISTED = ({}, {"n_agents": 1})  # as `cache-L1` and `cache-L0`, which test_check.py checks


@pytest.mark.parametrize(
    "options", [*(pytest.param(own, marks=pytest.mark.slow) for own in LISTED), {"actions": "sampled"}], ids=str
)
def test_check_environment(options):
    check_environment(make("rag/cache-L1", **{**SMALL, **options}))


def test_sampled_candidates_are_distinct_slots():
    env = make("rag/cache-L1", actions="sampled", **{**SMALL, "capacity": 32})
    assert env.spec.num_actions == 17
    state, _ = env.reset(jax.random.key(0), env.default_params)
    slots = np.asarray(state.inner.candidates)
    assert all(len(set(row)) == 16 for row in slots.tolist()) and slots.max() < 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "tset"}, "split must be 'train' or 'validation' or 'test' or 'all', got 'tset'"),
        ({"rounds": 99_000}, "a window needs 99001 passage references per agent, and the trace's split 'train' has"),
        ({"trace": "nowhere"}, "'nowhere' is not one"),
        ({"trace": 3}, "trace must be the folder"),
        ({"capacty": 3}, "did you mean 'capacity'"),
        ({"peer_cost": -1}, "peer_cost must be a number from 0"),
    ],
)
def test_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make("rag/cache-L1", **options)


@needs_sample
def test_a_recorded_trace():
    env = make("rag/cache-L1", trace=str(SAMPLE), split="all", rounds=64)
    state, timestep = env.reset(jax.random.key(0), env.default_params)
    assert np.isfinite(timestep.obs).all() and (np.asarray(state.inner.caches.doc) >= 0).any()
    with pytest.raises(ValueError, match="split 'test' has 0"):
        make("rag/cache-L1", trace=str(SAMPLE), split="test")
