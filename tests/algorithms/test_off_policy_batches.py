"""What off-policy methods draw from their replay, against a loop over what was played."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from off_policy_tools import as_steps, compiled, history

from jaxmarl_suite.algorithms.off_policy._parts import draw_batch
from jaxmarl_suite.replay import Draw, make_step_replay


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_batches_hold_n_step_returns_of_what_is_stored(blocks):
    """Every stored step, against a loop over the episodes as they were played; rings that wrap, too."""
    num_envs, length, capacity, n, gamma = 2, 6, 14, 3, 0.9
    rng = np.random.default_rng(blocks)
    replay = make_step_replay(num_envs, capacity)
    played = [history(rng, blocks * length) for _ in range(num_envs)]
    one = as_steps([own[:1] for own in played])
    ring = replay.init(jax.tree.map(lambda x: x[0, 0], one))
    for block in range(blocks):
        ring = replay.add(ring, as_steps([own[block * length : (block + 1) * length] for own in played]))
    kept = [own[-capacity:] for own in played]
    count = len(kept[0])
    env, position = (x.ravel().astype(np.int32) for x in np.meshgrid(range(num_envs), range(count), indexing="ij"))
    beside = ring.experience.reward * 2.0
    draw = compiled(lambda ring, beside, draw: draw_batch(ring, beside, draw, n_step=n, gamma=jnp.float32(gamma)))
    batch = draw(ring, beside, Draw(jnp.asarray(env), jnp.asarray(position)))
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
        np.testing.assert_allclose(batch.next_obs[row], last["next_obs"], rtol=1e-6)
        np.testing.assert_allclose(batch.prepared[row], 2 * kept[e][t]["reward"], rtol=1e-6)
    if blocks == 5:
        assert {(kind, k) for kind in ("terminated", "truncated") for k in range(n)} <= stops
        assert (True, 0) in stops and (False, n - 1) in stops
