"""The serving task: equal to an event-by-event simulator, and what must hold whatever is done."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import check_environment, make
from jaxmarl_envs.rag import FAMILY
from jaxmarl_envs.rag._replicas import UNITS
from jaxmarl_envs.rag._windows import load_trace, serve_windows, split_bounds

from tests.envs.rag_serve_reference import PlainServeTask
from tests.envs.rag_tools import SAMPLE, needs_sample

SMALL = {"sessions": 900, "windows": 4, "requests": 24, "capacity": 24, "n_agents": 3, "batch": 3}
KINDS = {
    "full": {"rate": 3.0, "slot": 0.25},
    "prefill": {"rate": 8.0, "slot": 0.05, "decode": "off", "batch": 2},
    "mixed": {"rate": 3.0, "slot": 0.25, "speeds": "mixed", "n_agents": 4, "peers": "hidden", "recompute": 0.4},
    "short slots": {"rate": 3.0, "slot": 0.05, "decode_ms": 40.0},
}


def windows_of(env):
    inner = env.unwrapped
    return [inner.layout.unpack(row) for row in inner.default_params.windows]


def random_actions(rng, mask, waiting=0.1):
    """Legal; a replica that could claim mostly does."""
    choose = [np.flatnonzero(row) for row in mask]
    return np.array(
        [0 if rng.random() < waiting else c[1:][rng.integers(len(c) - 1)] if len(c) > 1 else 0 for c in choose]
    )


def assert_invariants(inner, state, window):
    caches, batch = jax.tree.map(np.asarray, (state.caches, state.batch))
    now = int(state.t) * int(inner.default_params.speed.slot)
    arrived = window["arrival"] <= now
    replica, first, done = (np.asarray(x) for x in (state.replica, state.first, state.done))
    status = np.select([done >= 0, first >= 0, replica >= 0, arrived], [4, 3, 2, 1], 0)
    assert np.bincount(status, minlength=5).sum() == inner.requests
    assert (replica[first >= 0] >= 0).all() and (first[done >= 0] >= 0).all() and (done >= first)[done >= 0].all()
    assert (batch.need >= 0).all() and (batch.left >= 0).all() and (batch.carry >= 0).all()
    in_batch = batch.request[batch.request >= 0]
    assert len(set(in_batch.tolist())) == len(in_batch)
    assert sorted(in_batch.tolist()) == np.flatnonzero((replica >= 0) & (done < 0)).tolist()
    for agent in range(inner.n_agents):
        row = batch.request[agent]
        assert (replica[row[row >= 0]] == agent).all() and (np.diff((row >= 0).astype(int)) <= 0).all()
        doc, place = caches.doc[agent], caches.place[agent]
        held = doc[doc >= 0]
        assert len(set(held.tolist())) == len(held)
        assert (place[held] == np.flatnonzero(doc >= 0)).all() and (place >= 0).sum() == len(held)
    pool = np.asarray(state.pool)
    waiting = np.flatnonzero(arrived & (replica < 0))[:8]
    assert pool.tolist() == waiting.tolist() + [-1] * (8 - len(waiting))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_an_event_by_event_simulator(kind):
    env = make("rag/serve-L3", **{**SMALL, **KINDS[kind]})
    # Without the time limit, which is short for so few requests.
    inner, params, key = env.unwrapped, jax.device_put(env.default_params), jax.random.key(0)
    windows = windows_of(env)
    reset, step = jax.jit(inner.reset), jax.jit(inner.step)
    rng, seen = np.random.default_rng(1), set()
    for seed in range(40):
        state, timestep = reset(jax.random.key(seed), params)
        number = int(state.window)
        if number in seen:
            continue
        seen.add(number)
        host = jax.device_get(state)  # once a step: reading entries on the device is slow
        window, plain, total, steps = windows[number], PlainServeTask(inner, windows[number]), 0.0, 0
        while not bool(timestep.done):
            np.testing.assert_array_equal(timestep.action_mask, plain.mask())
            assert_invariants(inner, host, window)
            action = random_actions(rng, np.asarray(timestep.action_mask))
            waited = plain.step(action.tolist())
            state, timestep = step(key, state, jnp.asarray(action, jnp.int32), params)
            host, timestep = jax.device_get((state, timestep))
            np.testing.assert_allclose(timestep.reward, -waited / UNITS / inner.requests, rtol=1e-5)
            total, steps = total + float(timestep.reward[0]), steps + 1
            ours = [x.tolist() for x in (host.first, host.done, host.replica)]
            assert ours == [[-1 if v is None else v for v in c] for c in (plain.first, plain.done, plain.owner)]
            carries = [replica.carry for replica in plain.replicas]
            assert host.batch.carry.tolist() == carries
            for agent, replica in enumerate(plain.replicas):
                assert host.caches.doc[agent].tolist() == replica.cache.doc
                assert host.caches.prio[agent].tolist() == replica.cache.prio
        assert steps > 20
        ttft = (np.array(plain.first) - np.array(plain.arrival)) / UNITS
        assert -total == pytest.approx(ttft.mean(), rel=1e-5)
        metrics = {name: float(value) for name, value in timestep.metrics.items()}
        assert metrics["ttft"] == pytest.approx(ttft.mean(), rel=1e-5)
        assert metrics["request_ttft_p50"] == pytest.approx(np.sort(ttft)[12], rel=1e-5)
        assert metrics["slo"] == pytest.approx((ttft <= 1).mean())
        assert metrics["goodput"] == pytest.approx((ttft <= 1).sum() / (steps * plain.slot / UNITS), rel=1e-5)
        assert metrics["fairness"] == pytest.approx(ttft.sum() ** 2 / (len(ttft) * (ttft**2).sum()), rel=1e-4)
        assert metrics["hit"] == pytest.approx(plain.hits / plain.reads)
        assert int(np.asarray(state.references)[1]) == plain.reads == (window["docs"] >= 0).sum()
        assert metrics["conflicts"] == plain.conflicts and metrics["unfinished"] == 0
        assert metrics["imbalance"] == pytest.approx(
            np.bincount(plain.owner, minlength=inner.n_agents).max() / (inner.requests / inner.n_agents)
        )
        if inner.decodes:
            output = window["output"]
            times = (np.array(plain.done) - np.array(plain.first)) / UNITS / np.maximum(output - 1, 1)
            assert metrics["tpot"] == pytest.approx(times[output > 1].mean(), rel=1e-5)
        else:
            assert plain.done == plain.first
    assert len(seen) >= 3


def claim_oldest(timestep, mode):
    """Replica i claims the i-th waiting request, if there is one."""
    n = timestep.action_mask.shape[0]
    action = 1 + 3 * (jnp.arange(n, dtype=jnp.int32) % 8) + mode
    may = jnp.take_along_axis(timestep.action_mask, action[:, None], axis=1)[:, 0]
    return jnp.where(may, action, jnp.where(timestep.action_mask[:, 1 + mode], 1 + mode, 0)).astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def played(env, choose, episodes, mode, params):
    """Metrics and returns [episodes]; a program for all modes and numbers."""

    def episode(key):
        state, timestep = env.reset(key, params)

        def body(carry):
            state, timestep, total = carry
            state, timestep = env.step(key, state, choose(timestep, mode), params)
            return state, timestep, total + timestep.reward[0]

        carry = state, timestep, jnp.zeros(())
        _, timestep, total = jax.lax.while_loop(lambda carry: ~carry[1].done, body, carry)
        return timestep.metrics, total

    return jax.vmap(episode)(jax.random.split(jax.random.key(0), episodes))


def mean_metrics(env, choose, mode=0, episodes=6):
    metrics, total = played(env, choose, episodes, jnp.int32(mode), env.default_params)
    np.testing.assert_allclose(-total, metrics["ttft"], rtol=1e-4)
    return {name: float(value.mean()) for name, value in metrics.items()}


def test_computing_all_anew_erases_the_gain_of_hits():
    by_mode = {
        share: [
            mean_metrics(make("rag/serve-L2", **{**SMALL, "recompute": share, "batch": 2}), claim_oldest, mode)
            for mode in (1, 2)
        ]
        for share in (0.0, 1.0)
    }
    admits, bypasses = by_mode[0.0]
    assert admits["hit"] > bypasses["hit"] + 0.01 and admits["ttft"] < bypasses["ttft"]
    admits, bypasses = by_mode[1.0]
    assert admits["hit"] > bypasses["hit"] + 0.01 and admits["ttft"] == pytest.approx(bypasses["ttft"], rel=1e-6)


def test_nobody_serves_and_time_runs_out():
    env = make("rag/serve-L2", **{**SMALL, "requests": 8})
    metrics = mean_metrics(env, lambda timestep, mode: jnp.zeros(3, jnp.int32), episodes=2)
    assert metrics["unfinished"] == 1 and metrics["slo"] == 0 and metrics["hit"] == 0
    assert env.spec.episode_limit == int(np.ceil(1.5 * 8 / (8 * 0.05)))


def test_claims_on_one_request_go_round():
    env = make("rag/serve-L2", **SMALL)
    inner, params = env.unwrapped, env.default_params
    state, timestep = jax.jit(inner.reset)(jax.random.key(0), params)
    step = jax.jit(inner.step)
    winners = []
    for _ in range(400):
        waiting = int((np.asarray(state.pool) >= 0).sum())
        everyone = bool(np.asarray(timestep.action_mask)[:, 1].all())
        action = jnp.where(timestep.action_mask[:, 2], 2, 0).astype(jnp.int32)
        before, t, lost = np.asarray(state.replica), int(state.t), int(state.conflicts)
        state, timestep = step(jax.random.key(0), state, action, params)
        new = np.flatnonzero((before < 0) & (np.asarray(state.replica) >= 0))
        if waiting and everyone:
            assert len(new) == 1 and int(state.conflicts) - lost == 2
            winners.append((t, int(state.replica[new[0]])))
    assert all(winner == t % 3 for t, winner in winners) and {w for _, w in winners} == {0, 1, 2}


def test_windows_are_pieces_of_the_trace():
    trace = load_trace("", 900, 0)
    windows = serve_windows("rag/x", trace, "validation", 3, 2, 16, 50, 5.0, UNITS)
    low, _ = split_bounds(trace, "validation")
    window = windows[0]
    part = trace.take(np.arange(low, low + 50))
    np.testing.assert_array_equal(window["input"], part.input_length)
    np.testing.assert_array_equal((window["docs"] >= 0).sum(axis=1), part.n_docs)
    resident = np.where(window["kind"] == 2, 512, 1024)
    tokens = np.where(window["docs"] >= 0, window["length"][window["docs"]], 0).sum(axis=1)
    np.testing.assert_array_equal(window["own"] + tokens + resident, part.input_length)
    assert window["arrival"][0] == 0 and (np.diff(window["arrival"]) >= 0).all()
    assert window["arrival"][-1] / UNITS == pytest.approx(49 / 5.0, abs=1e-5)
    for row, docs in enumerate(window["docs"]):
        for column, doc in enumerate(docs):
            later = [r for r in range(row + 1, 50) if doc in window["docs"][r]]
            assert window["next_use"][row, column] == (later[0] if doc >= 0 and later else 2**31 - 1)


def test_answers_and_next_uses_are_not_observed():
    env = make("rag/serve-L3", **SMALL)
    inner, params = env.unwrapped, env.default_params
    rows = [{**w, "output": 900 + 0 * w["output"], "next_use": 0 * w["next_use"]} for w in windows_of(env)]
    blind = dataclasses.replace(params, windows=np.stack([inner.layout.pack(row) for row in rows]))
    seen = []
    for given in (params, blind):
        state, first = jax.jit(env.reset)(jax.random.key(1), given)
        state, second = jax.jit(env.step)(jax.random.key(1), state, jnp.array([2, 0, 0], jnp.int32), given)
        seen.append((first.obs, first.state, second.obs, second.state))
    jax.tree.map(np.testing.assert_array_equal, *seen)


QUICK = ("serve-L3",)
"""The others have fewer parts or other numbers, and are compared with a simulator above; caching: test_check.py."""


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in FAMILY.variants]
)
def test_check_environment(variant):
    env = make(f"rag/{variant}", windows=4)
    check_environment(env, num_steps=24)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"capacity": 7}, "capacity must be an integer from 8"),
        ({"decode": "yes"}, "decode must be 'on' or 'off'"),
        ({"requests": 9000}, "a window needs 9000 requests, and the trace's split 'train' has"),
        ({"requests": 2000, "rate": 0.1}, "last too long"),
        ({"rounds": 3}, "unknown option 'rounds'"),
    ],
)
def test_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make("rag/serve-L3", **options)


@needs_sample
def test_a_recorded_trace():
    env = make("rag/serve-L5", trace=str(SAMPLE), split="all", requests=64)
    metrics = mean_metrics(env, claim_oldest, 1, episodes=2)
    assert 0 < metrics["hit"] < 1 and metrics["unfinished"] < 0.2
