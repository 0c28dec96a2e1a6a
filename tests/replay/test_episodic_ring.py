"""The episodic ring against deques of transitions whose targets are computed by the definition."""

import collections
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))

from episodic_oracle import brute_force

from jaxmarl_suite.ops import episodic_targets
from jaxmarl_suite.replay import Transition, make_episodic_ring

STEPS, ENVS, BATCH, CHUNK, NEW, GAMMA = 7, 3, 4, 5, 3, 0.9  # 21 places in chunks of 5; 3 new steps wrap at 7
ITEM = Transition(
    obs={"x": jnp.zeros(2)},
    action=jnp.zeros((), jnp.int32),
    reward=jnp.zeros(()),
    next_obs={"x": jnp.zeros(2)},
    terminated=jnp.zeros((), bool),
    truncated=jnp.zeros((), bool),
)


def values(transitions, key):
    """[B, 2] bootstraps that tell transitions apart."""
    x = transitions.next_obs["x"][:, 0]
    return 3 * jnp.stack([jnp.sin(x), jnp.cos(x)], axis=-1)


def play(seed, num_chunks):
    """Chunks [NEW, ENVS, ...] in which every transition has a number of its own, `action`."""
    rng = np.random.default_rng(seed)
    shape = (num_chunks * NEW, ENVS)
    number = np.arange(num_chunks * NEW * ENVS).reshape(shape).astype(np.float32)
    whole = Transition(
        obs={"x": np.stack([number, -number], axis=-1)},
        action=number.astype(np.int32),
        reward=rng.normal(size=shape).astype(np.float32),
        next_obs={"x": np.stack([number + 0.5, number], axis=-1)},
        terminated=rng.random(shape) < 0.15,
        truncated=rng.random(shape) < 0.15,
    )
    return [jax.tree.map(lambda x, i=i: jnp.asarray(x[i * NEW : (i + 1) * NEW]), whole) for i in range(num_chunks)]


@pytest.fixture(scope="module")
def ring():
    made = make_episodic_ring(STEPS, ENVS, BATCH, chunk_size=CHUNK)

    @jax.jit
    def refresh(state, num_steps):
        return made.refresh(
            state, values, functools.partial(episodic_targets, gamma=GAMMA), jax.random.key(0), num_steps
        )

    return made._replace(add=jax.jit(made.add), refresh=refresh, sample=jax.jit(made.sample))


def test_targets_are_those_of_what_is_stored(ring):
    """Through several turns of the ring, in each environment apart; the newest step bootstraps, whatever lies behind."""
    state, kept = ring.init(ITEM), [collections.deque(maxlen=STEPS) for _ in range(ENVS)]
    for chunk in play(0, 8):
        state = ring.add(state, chunk)
        for t in range(NEW):
            for e in range(ENVS):
                kept[e].append(jax.tree.map(lambda x, t=t, e=e: np.asarray(x[t, e]), chunk))
        fresh = ring.refresh(state, STEPS)
        sparing = ring.refresh(state, int(state.filled))
        np.testing.assert_array_equal(fresh.target, sparing.target)
        found = {
            int(number): np.asarray(target)
            for number, target in zip(fresh.experience.action.ravel(), fresh.target.reshape(-1, 2))
            if np.isfinite(target).all()
        }
        assert len(found) == len(kept[0]) * ENVS == int(state.filled) * ENVS
        for stored in kept:
            x = np.array([s.next_obs["x"][0] for s in stored], np.float64)
            arrays = [np.array([getattr(s, n) for s in stored]) for n in ("reward", "terminated", "truncated")]
            bootstrap = 3 * np.stack([np.sin(x), np.cos(x)], axis=-1)
            expected = brute_force(arrays[0], bootstrap, *arrays[1:], np.ones(len(x), bool), gamma=GAMMA)
            np.testing.assert_allclose([found[int(s.action)] for s in stored], expected, atol=1e-5)


def test_a_missed_refresh_shows(ring):
    first, second = play(1, 2)
    state = ring.refresh(ring.add(ring.init(ITEM), first), STEPS)
    assert np.isfinite(state.target[:NEW]).all() and np.isnan(state.target[NEW:]).all()
    state = ring.add(state, second)
    drawn = [ring.sample(state, jax.random.key(i)) for i in range(20)]
    is_new = np.concatenate([d.indices >= NEW * ENVS for d in drawn])
    assert 0 < is_new.sum() < is_new.size
    np.testing.assert_array_equal(np.isnan(np.concatenate([d.target[:, 0] for d in drawn])), is_new)
    state = ring.refresh(state, STEPS)
    assert np.isfinite(ring.sample(state, jax.random.key(0)).target).all()


@pytest.mark.parametrize("num_chunks", [1, 2, 4])
def test_what_is_stored_is_drawn_alike(ring, num_chunks):
    state = ring.init(ITEM)
    for chunk in play(2, num_chunks):
        state = ring.add(state, chunk)
    state = ring.refresh(state, STEPS)
    drawn = jax.jit(jax.vmap(ring.sample, (None, 0)))(state, jax.random.split(jax.random.key(3), 2000))
    stored = range(max(0, num_chunks * NEW - STEPS) * ENVS, num_chunks * NEW * ENVS)
    counts = np.bincount(np.asarray(drawn.transitions.action).ravel(), minlength=stored.stop)
    assert counts[: stored.start].sum() == 0
    counts, mean = counts[stored.start :], 2000 * BATCH / len(stored)
    assert np.abs(counts - mean).max() < 4.5 * np.sqrt(mean)
    # The parts of a transition and its target stay together.
    np.testing.assert_array_equal(drawn.transitions.obs["x"][..., 0], drawn.transitions.action)
    at = np.asarray(drawn.indices)
    np.testing.assert_array_equal(np.asarray(state.target).reshape(-1, 2)[at], drawn.target)
    np.testing.assert_array_equal(np.asarray(state.experience.action).ravel()[at], drawn.transitions.action)


def test_a_block_of_training_runs_in_place_and_in_lanes():
    """Donated rings are written where they lie; two lanes at once give what each gives alone."""
    made = make_episodic_ring(512, 2, BATCH, chunk_size=128)
    item = jax.tree.map(lambda x: x, ITEM)
    wide = Transition(jnp.zeros(64), item.action, item.reward, jnp.zeros(64), item.terminated, item.truncated)

    def block(state, key):
        play_key, refresh_key, sample_key = jax.random.split(key, 3)
        new = jax.tree.map(lambda x: jnp.zeros((4, 2, *x.shape), x.dtype), wide)
        noise = jax.random.normal(play_key, (4, 2))
        state = made.add(state, Transition(new.obs, new.action, noise, new.next_obs, new.terminated, new.truncated))
        state = made.refresh(
            state,
            lambda t, key: t.next_obs[:, :2] + jax.random.normal(key, (t.reward.shape[0], 2)),
            functools.partial(episodic_targets, gamma=GAMMA),
            refresh_key,
        )

        def learn(total, key):
            drawn = made.sample(state, key)
            return total + drawn.target.sum() + drawn.transitions.obs.sum(), None

        total, _ = jax.lax.scan(learn, jnp.zeros(()), jax.random.split(sample_key, 5))
        return state, total

    state = made.init(wide)
    compiled = jax.jit(block, donate_argnums=0).lower(state, jax.random.key(0)).compile()
    memory = compiled.memory_analysis()
    size = sum(x.nbytes for x in jax.tree.leaves(state.experience))
    assert memory.alias_size_in_bytes > size
    assert memory.temp_size_in_bytes < size / 4, "the transitions are not copied"
    keys = jax.random.split(jax.random.key(1), 2)
    alone = [compiled(made.init(wide), key) for key in keys]
    both = jax.jit(jax.vmap(block))(jax.tree.map(lambda x: jnp.stack([x, x]), state), keys)
    for i in range(2):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a, b[i], atol=1e-5), alone[i], both)


def test_transitions_can_be_left_behind_and_taken_up(ring):
    state = ring.add(ring.init(ITEM), play(3, 1)[0])
    light = ring.split(state)
    assert not jax.tree.leaves(light.experience)
    jax.tree.map(np.testing.assert_array_equal, ring.join(light, state), state)


def test_what_cannot_work_is_refused(ring):
    good = {"num_steps": 7, "num_envs": 3, "batch_size": 4}
    for change, message in (
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1, got 0"),
        ({"chunk_size": 2.5}, "chunk_size must be a whole number of at least 1, got 2.5"),
        ({"num_targets": 3}, "num_targets must be 1 or 2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            make_episodic_ring(**{**good, **change})
    made = make_episodic_ring(**good)
    state, chunk = made.init(ITEM), play(4, 1)[0]
    with pytest.raises(ValueError, match=r"\[T, 3, ...\] with T from 1 to 7, got rewards of shape \(3, 2\)"):
        made.add(state, jax.tree.map(lambda x: x[:, :2], chunk))
    with pytest.raises(ValueError, match=r"got rewards of shape \(9, 3\)"):
        made.add(state, jax.tree.map(lambda x: jnp.concatenate([x, x, x]), chunk))
    with pytest.raises(ValueError, match=r"bootstrap_fn must give \[B, 2\] for B transitions, got \(21,\) for 21"):
        made.refresh(state, lambda t, key: t.reward, None, jax.random.key(0))
    team = Transition(ITEM.obs, ITEM.action, jnp.zeros(2), ITEM.next_obs, ITEM.terminated, ITEM.truncated)
    with pytest.raises(ValueError, match=r"reward must be one float32, got float32 of shape \(2,\); a team's reward"):
        made.init(team)
