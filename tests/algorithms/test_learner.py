"""Fitting: sequences, minibatches, separate parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmarl_suite.algorithms.core import Average, Learner, fit, fit_agents, learn_when, to_sequences


def test_sequences_hold_consecutive_steps_of_one_environment():
    array = jnp.arange(6)[:, None] + 100 * jnp.arange(2)[None]  # [T, E], t + 100 e
    cut = to_sequences(array, 3)
    assert cut.shape == (3, 4)
    assert sorted(map(tuple, np.asarray(cut).T)) == [(0, 1, 2), (3, 4, 5), (100, 101, 102), (103, 104, 105)]
    np.testing.assert_array_equal(to_sequences(array, 1), np.asarray(array).reshape(1, 12))


def test_rows_of_different_arrays_stay_together():
    array = jnp.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(to_sequences(array[..., None] * 10, 2)[..., 0], to_sequences(array, 2) * 10)


def record(params, batch):
    """A loss whose gradient with respect to `params` is the batch's one-hot mean."""
    mean = jax.nn.one_hot(batch["i"][0], 6).mean(0)
    return jnp.dot(params, mean), {"largest": batch["i"].max().astype(jnp.float32)}


@pytest.mark.parametrize("minibatches", [1, 2, 3])
def test_every_sequence_is_used_once_an_epoch(minibatches):
    optimizer = optax.sgd(1.0)
    learner = Learner(jnp.zeros(6), optimizer.init(jnp.zeros(6)))
    batch = {"i": jnp.arange(6)[None]}
    learner, metrics = fit(learner, batch, record, optimizer, jax.random.key(0), epochs=4, minibatches=minibatches)
    np.testing.assert_allclose(learner.params, -4 * minibatches / 6, rtol=1e-5)
    assert 0 < metrics["grad_norm"] < 1
    if minibatches == 1:
        assert metrics["largest"] == 5


def test_minibatches_are_drawn_anew_every_epoch():
    optimizer = optax.sgd(1.0)
    batch = {"i": jnp.arange(6)[None]}

    def first_of_each_epoch(key):
        # The parameters only say which rows came first if the step size falls: a decaying schedule does that.
        falling = optax.sgd(lambda count: 0.5**count)
        learner = Learner(jnp.zeros(6), falling.init(jnp.zeros(6)))
        learner, _ = fit(learner, batch, record, falling, key, epochs=2, minibatches=2)
        return np.round(-3 * np.asarray(learner.params), 3)

    del optimizer
    results = [first_of_each_epoch(jax.random.key(seed)) for seed in range(4)]
    # Weights 1, 1/2 in the first epoch and 1/4, 1/8 in the second: each epoch cuts the rows into halves of its own.
    possible = {1 + 0.25, 1 + 0.125, 0.5 + 0.25, 0.5 + 0.125}
    assert all(set(r.tolist()) <= possible for r in results)
    assert any(len(set(r.tolist())) > 2 for r in results)
    assert len({tuple(r.tolist()) for r in results}) > 1


@pytest.mark.parametrize("shared", [True, False])
def test_agents_are_fitted_together_or_apart(shared):
    """Targets 1 and 3: one shared parameter finds the mean, separate ones their own."""
    optimizer = optax.sgd(0.5)
    params = jnp.zeros(()) if shared else jnp.zeros((2,))
    state = optimizer.init(params) if shared else jax.vmap(optimizer.init)(params)
    batch = {"y": jnp.broadcast_to(jnp.array([1.0, 3.0]), (1, 4, 2)), "start": jnp.zeros((1, 4), bool)}

    def loss_fn(params, batch):
        assert batch["start"].shape == (1, 4)
        assert batch["y"].shape == ((1, 4, 2) if shared else (1, 4, 1))
        loss = jnp.square(params - batch["y"]).mean() / 2
        return loss, {"loss": loss}

    learner, _ = fit_agents(
        Learner(params, state), batch, loss_fn, optimizer, jax.random.key(0), shared=shared, epochs=20, minibatches=1
    )
    np.testing.assert_allclose(learner.params, 2.0 if shared else [1.0, 3.0], atol=1e-4)


def test_nothing_is_learned_before_it_is_due():
    def learn(carry):
        return carry + 1, {"loss": carry * 2, "rare": Average(jnp.float32(3), jnp.float32(5))}

    for due in (False, True):
        carry, metrics = jax.jit(lambda due: learn_when(due, learn, jnp.float32(7)))(jnp.bool_(due))
        assert float(carry) == 7 + due
        assert [float(x) for x in jax.tree.leaves(metrics)] == ([14, 1, 3, 5] if due else [0, 0, 0, 0])
