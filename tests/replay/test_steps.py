"""Rings of steps against lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.replay import make_step_replay, num_stored, read_steps, slot_of

ENVS, CAPACITY = 2, 5


@pytest.mark.parametrize("lengths", [(2,), (5,), (2, 2, 2), (3, 3, 3, 3), (1,) * 13])
def test_a_ring_keeps_the_newest_steps_in_order(lengths):
    replay = make_step_replay(ENVS, CAPACITY)
    ring, played = replay.init({"x": jnp.zeros(())}), []
    for length in lengths:
        new = [len(played) + i for i in range(length)]
        ring = replay.add(ring, {"x": jnp.asarray([new, [-x for x in new]], jnp.float32)})
        played += new
    kept = played[-CAPACITY:]
    assert num_stored(ring) == len(kept)
    position = jnp.arange(len(kept))
    for env, sign in ((0, 1), (1, -1)):
        found = read_steps(ring.experience, jnp.full(len(kept), env), slot_of(ring, position))
        np.testing.assert_array_equal(found["x"], sign * np.asarray(kept))


@pytest.mark.parametrize("steps, filled", [(3, 3), (8, 5)])
def test_draws_are_uniform_over_what_is_stored(steps, filled):
    replay, count = make_step_replay(ENVS, CAPACITY), 4000
    ring = replay.init({"x": jnp.zeros(())})
    for _ in range(steps):
        ring = replay.add(ring, {"x": jnp.ones((ENVS, 1))})
    draw = replay.draw(ring, jax.random.key(0), (40, 100))
    assert draw.env.shape == draw.position.shape == (40, 100)
    hits = np.bincount((np.asarray(draw.env) * CAPACITY + np.asarray(draw.position)).ravel(), minlength=10)
    hits = hits.reshape(ENVS, CAPACITY)
    assert not hits[:, filled:].any()
    p = 1 / (ENVS * filled)
    assert (np.abs(hits[:, :filled] - count * p) < 4 * np.sqrt(count * p * (1 - p))).all()
    assert (np.asarray(read_steps(ring.experience, draw.env, slot_of(ring, draw.position))["x"]) == 1).all()


@pytest.mark.parametrize("sizes", [(0, 5), (2, 0)])
def test_empty_rings_are_refused(sizes):
    with pytest.raises(ValueError, match=f"of at least 1, got {sizes[0]} and {sizes[1]}"):
        make_step_replay(*sizes)
