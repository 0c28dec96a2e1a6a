"""Targets along rings of steps against deques whose targets are computed by the definition."""

import collections
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import pytree_dataclass

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))

from episodic_oracle import brute_force

from jaxmarl_suite.ops import episodic_targets
from jaxmarl_suite.replay import make_step_replay, num_stored, refresh_targets

STEPS, ENVS, CHUNK, NEW, GAMMA = 7, 3, 6, 3, 0.9  # 7 steps in chunks of 2; 3 new steps wrap at 7


@pytree_dataclass
class Item:
    number: jax.Array
    x: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def values(items, key):
    """[B, 2] bootstraps that tell steps apart."""
    return 3 * jnp.stack([jnp.sin(items.x), jnp.cos(items.x)], axis=-1)


def play(seed, num_chunks):
    """Chunks [ENVS, NEW] in which every step has a number of its own."""
    rng = np.random.default_rng(seed)
    shape = (ENVS, num_chunks * NEW)
    number = np.arange(num_chunks * NEW * ENVS, dtype=np.int32).reshape(shape)
    reward = rng.normal(size=shape).astype(np.float32)
    ends = (rng.random(shape) < 0.15, rng.random(shape) < 0.15)
    whole = Item(number, number.astype(np.float32) + 0.5, reward, *ends)
    return [jax.tree.map(lambda x, i=i: jnp.asarray(x[:, i * NEW : (i + 1) * NEW]), whole) for i in range(num_chunks)]


@pytest.fixture(scope="module")
def ring():
    """`(replay, add, refresh)`, compiled."""
    replay = make_step_replay(ENVS, STEPS)

    @jax.jit
    def refresh(state, at_most):
        how = functools.partial(episodic_targets, gamma=GAMMA)
        return refresh_targets(state, values, how, jax.random.key(0), at_most=at_most, chunk_size=CHUNK)

    empty = replay.init(jax.tree.map(lambda x: x[0, 0], play(0, 1)[0]))
    return empty, jax.jit(replay.add), refresh


def test_targets_are_those_of_what_is_stored(ring):
    """Through several turns of the ring, in each environment apart; the newest step bootstraps, whatever lies behind."""
    state, add, refresh = ring
    kept = [collections.deque(maxlen=STEPS) for _ in range(ENVS)]
    for chunk in play(0, 8):
        state = add(state, chunk)
        for e in range(ENVS):
            kept[e] += [jax.tree.map(lambda x, e=e, t=t: np.asarray(x[e, t]), chunk) for t in range(NEW)]
        found = refresh(state, STEPS)
        assert found.shape == (ENVS, STEPS, 2)
        np.testing.assert_array_equal(found, refresh(state, num_stored(state)))
        is_stored = np.isfinite(found).all(-1)
        assert is_stored.sum() == len(kept[0]) * ENVS and np.isnan(found[~is_stored]).all()
        targets = dict(zip(np.asarray(state.experience.number)[is_stored].tolist(), np.asarray(found)[is_stored]))
        for stored in kept:
            reward, x, terminated, truncated = (
                np.array([getattr(s, name) for s in stored]) for name in ("reward", "x", "terminated", "truncated")
            )
            bootstrap = 3 * np.stack([np.sin(x), np.cos(x)], axis=-1).astype(np.float64)
            expected = brute_force(reward, bootstrap, terminated, truncated, np.ones(len(x), bool), gamma=GAMMA)
            np.testing.assert_allclose([targets[int(s.number)] for s in stored], expected, atol=1e-5)


def test_steps_that_were_not_refreshed_show(ring):
    """Bootstraps of steps beyond `at_most` are missing, so that too small a number changes targets."""
    state, add, refresh = ring
    for chunk in play(1, 2):
        state = add(state, chunk)
    assert not np.array_equal(refresh(state, 6), refresh(state, 2), equal_nan=True)


def test_lanes_are_what_each_is_alone(ring):
    state, add, refresh = ring
    states = [functools.reduce(add, play(seed, 3), state) for seed in (2, 3)]
    both = jax.vmap(refresh, (0, None))(jax.tree.map(lambda *x: jnp.stack(x), *states), STEPS)
    for i in range(2):
        np.testing.assert_allclose(both[i], refresh(states[i], STEPS), atol=1e-5)


def test_bootstraps_of_another_shape_are_refused(ring):
    state, _, _ = ring
    with pytest.raises(ValueError, match=r"bootstrap_fn must give \[B, K\] for B steps, got \(6,\) for 6 steps"):
        refresh_targets(state, lambda items, key: items.x, episodic_targets, jax.random.key(0), chunk_size=CHUNK)
