"""The model of rewards and ends: its cache, the ends of episodes, and what it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmarl_suite.worldmodels import OutcomeSequences, OutcomeSizes, make_outcome_model

TINY = OutcomeSizes(layers=2, agent_layers=1, heads=2, agent_heads=2, width=8)
MODEL = make_outcome_model(3, 2, 1, length=5, sizes=TINY)


def data(batch: int = 4, key: int = 0) -> tuple[jax.Array, jax.Array]:
    """States [B, 5, 3] and actions [B, 5, 2, 1]."""
    one, two = jax.random.split(jax.random.key(key))
    return (
        jax.random.normal(one, (batch, 5, 3), jnp.float32),
        jax.random.normal(two, (batch, 5, 2, 1), jnp.float32),
    )


def test_the_cache_gives_what_the_whole_sequence_gives() -> None:
    states, actions = data()
    params = jax.jit(MODEL.init)(jax.random.key(1))
    start = jnp.zeros((4, 5), bool).at[:, 0].set(True)
    reward, end = jax.jit(lambda *x: MODEL.unroll(params, *x, None))(states, actions, start)

    def cached(states: jax.Array, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(cache, inputs):
            reward, end, cache = MODEL.step(params, cache, *inputs)
            return cache, (reward, end)

        return jax.lax.scan(step, MODEL.empty(), (states, actions))[1]

    found = jax.jit(jax.vmap(cached))(states, actions)
    np.testing.assert_allclose(found[0], reward, atol=1e-5)
    np.testing.assert_allclose(found[1], end, atol=1e-5)


def test_ends_are_rare_before_training() -> None:
    states, actions = data(64)
    params = jax.jit(MODEL.init)(jax.random.key(1))
    _, end = jax.jit(lambda *x: MODEL.unroll(params, *x, jnp.zeros((64, 5), bool), None))(states, actions)
    assert 0.001 < float(jax.nn.sigmoid(end).mean()) < 0.02


def test_nothing_is_seen_across_episodes_nor_ahead() -> None:
    states, actions = data(1)
    params = jax.jit(MODEL.init)(jax.random.key(1))
    start = jnp.array([[True, False, True, False, False]])
    unroll = jax.jit(lambda states, actions, start: MODEL.unroll(params, states, actions, start, None))
    whole = np.asarray(unroll(states, actions, start))
    # Changing the third step changes itself and what follows it, but nothing before it.
    moved = np.asarray(unroll(states.at[:, 2].add(1.0), actions, start))
    changed = np.abs(moved - whole).max(0)[0] > 1e-6
    assert changed.tolist() == [False, False, True, True, True]
    # The first episode has no effect on the second one, which counts its time from its own start.
    moved = np.asarray(unroll(states.at[:, 1].add(1.0), actions, start))
    assert (np.abs(moved - whole).max(0)[0] > 1e-6).tolist() == [False, True, False, False, False]
    rolled = (jnp.roll(x, -2, axis=1) for x in (states, actions))
    alone = np.asarray(unroll(*rolled, jnp.array([[True, False, False, True, False]])))
    np.testing.assert_allclose(alone[:, :, :3], whole[:, :, 2:], atol=1e-5)


def test_only_valid_steps_count() -> None:
    states, actions = data()
    params = jax.jit(MODEL.init)(jax.random.key(1))
    valid = jnp.ones((4, 5), bool).at[:, 3:].set(False)
    known = OutcomeSequences(
        state=states,
        action=actions,
        reward=jnp.ones((4, 5)),
        terminated=jnp.zeros((4, 5), bool),
        start=jnp.zeros((4, 5), bool).at[:, 0].set(True),
        is_valid=valid,
    )
    changed = OutcomeSequences(**{**vars(known), "reward": jnp.where(valid, 1.0, 99.0), "terminated": ~valid})
    loss = jax.jit(MODEL.loss)
    key = jax.random.key(2)
    np.testing.assert_array_equal(loss(params, key, known)[0], loss(params, key, changed)[0])


@pytest.mark.optimized
def test_it_learns_a_reward_and_an_end() -> None:
    model = make_outcome_model(1, 2, 1, length=3, sizes=OutcomeSizes(1, 1, 2, 2, 16, 0.0))
    optimizer = optax.adam(3e-3)

    def draw(key: jax.Array) -> OutcomeSequences:
        one, two = jax.random.split(key)
        states = jax.random.normal(one, (64, 3, 1), jnp.float32)
        actions = jax.random.uniform(two, (64, 3, 2, 1), jnp.float32, -1.0)
        reward = states[..., 0] * 0.5 + actions.sum((2, 3)) * 0.5
        start = jnp.zeros((64, 3), bool).at[:, 0].set(True)
        return OutcomeSequences(states, actions, reward, states[..., 0] > 0.5, start, jnp.ones((64, 3), bool))

    def step(carry, key):
        params, opt = carry
        data_key, loss_key = jax.random.split(key)
        (_, found), grads = jax.value_and_grad(model.loss, has_aux=True)(params, loss_key, draw(data_key))
        with jax.numpy_dtype_promotion("standard"):
            updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), found

    params = jax.jit(model.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 500)
    _, found = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((params, optimizer.init(params)))
    assert float(found["reward_loss"][-30:].mean()) < 0.01  # 0.25 without learning
    assert float(found["end_loss"][-30:].mean()) < 0.15  # 0.62 without learning


def test_what_cannot_work_is_rejected() -> None:
    with pytest.raises(ValueError, match="heads must divide the width 10, got 4"):
        OutcomeSizes(width=10)
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and below 1, got 1\.0"):
        OutcomeSizes(dropout=1.0)
    with pytest.raises(ValueError, match="length must be a whole number of at least 1, got 0"):
        make_outcome_model(3, 2, 1, length=0)
