"""What off-policy methods draw from their replay, against a loop over what was played."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from off_policy_tools import as_block, compiled, history, store_of

from jaxmarl_suite.algorithms.off_policy._parts import read_batch
from jaxmarl_suite.replay import Places, StoreLayout, add_block, new_store, slots_in_time


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_batches_hold_n_step_returns_of_what_is_stored(blocks):
    """Every stored step, against a loop over the episodes as they were played; rings that wrap, too."""
    num_envs, length, kept_blocks, n, gamma = 2, 6, 3, 3, 0.9
    rng = np.random.default_rng(blocks)
    played = [history(rng, blocks * length) for _ in range(num_envs)]
    layout, store = store_of(played, length, kept_blocks)
    kept = [own[-kept_blocks * length :] for own in played]
    count = len(kept[0])
    env, position = (x.ravel().astype(np.int32) for x in np.meshgrid(range(num_envs), range(count), indexing="ij"))
    beside = store.contents.steps.reward * 2.0
    slot = slots_in_time(layout, store.head, jnp.asarray(position))
    places = Places(jnp.asarray(env), slot, jnp.ones(len(env)))
    read = compiled(partial(read_batch, layout, n_step=n, gamma=jnp.float32(gamma)))
    batch = read(store, beside, places)
    stops = set()
    for row, (e, t) in enumerate(zip(env, position)):
        total, discount = 0.0, 1.0
        for k in range(t, t + n):
            last = kept[e][k]
            total, discount = total + discount * last["reward"], discount * gamma
            stops.add(
                ("terminated" if last["terminated"] else "truncated" if last["truncated"] else k == count - 1, k - t)
            )
            if last["terminated"] or last["truncated"] or k == count - 1:
                break
        discount *= not last["terminated"]
        np.testing.assert_allclose(batch.obs[row], kept[e][t]["obs"], rtol=1e-6)
        np.testing.assert_allclose(batch.reward[row], total, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.discount[row], discount, rtol=1e-5)
        if not last["terminated"]:  # nothing follows there
            np.testing.assert_allclose(batch.next_obs[row], last["next_obs"], rtol=1e-6)
        np.testing.assert_allclose(batch.prepared[row], 2 * kept[e][t]["reward"], rtol=1e-6)
    if blocks == 5:
        assert {(kind, k) for kind in ("terminated", "truncated") for k in range(n)} <= stops
        assert (True, 0) in stops and (False, n - 1) in stops


def test_steps_that_were_cut_too_often_are_not_learned_from():
    """An environment that truncates more often than its limit says loses some of its last observations."""
    rows = [
        {"obs": float(i), "reward": 0.0, "terminated": False, "truncated": True, "next_obs": -1.0 - i} for i in range(6)
    ]
    layout = StoreLayout(1, 1, 6, episode_limit=3)  # room for two of six
    store = add_block(layout, new_store(layout, as_block([rows])), as_block([rows]))
    places = Places(jnp.zeros(6, jnp.int32), jnp.arange(6, dtype=jnp.int32), jnp.ones(6))
    batch = compiled(partial(read_batch, layout, n_step=1, gamma=jnp.float32(0.9)))(store, (), places)
    obs, after = np.asarray(batch.obs).ravel(), np.asarray(batch.next_obs).ravel()
    np.testing.assert_array_equal(after, -1.0 - obs)
    assert set(obs) == {4.0, 5.0}
