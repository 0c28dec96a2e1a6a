"""The masked categorical head against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.ops import categorical

HEAD = categorical(4)


def softmax(logits, mask):
    weights = np.where(mask, np.exp(logits - np.max(np.where(mask, logits, -np.inf), axis=-1, keepdims=True)), 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


def random_inputs(seed=0, rows=6):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 4)) * 3
    mask = rng.random((rows, 4)) < 0.6
    mask[np.arange(rows), rng.integers(4, size=rows)] = True
    return logits.astype(np.float32), mask


def test_log_prob_and_entropy():
    logits, mask = random_inputs()
    p = softmax(logits.astype(np.float64), mask)
    for action in range(4):
        legal = mask[:, action]
        found = HEAD.log_prob(jnp.asarray(logits), jnp.asarray(mask), jnp.full((6,), action, jnp.int32))
        np.testing.assert_allclose(found[legal], np.log(p[legal, action]), rtol=1e-5)
        assert (np.asarray(found)[~legal] < -1e30).all()
        assert np.isfinite(found).all()
    entropy = -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0), axis=-1)
    np.testing.assert_allclose(HEAD.entropy(jnp.asarray(logits), jnp.asarray(mask)), entropy, rtol=1e-5, atol=1e-6)


def test_mode_is_the_best_legal_action_and_ties_go_to_the_lowest_index():
    logits, mask = random_inputs(1)
    expected = np.argmax(np.where(mask, logits, -np.inf), axis=-1)
    np.testing.assert_array_equal(HEAD.mode(jnp.asarray(logits), jnp.asarray(mask)), expected)
    ties = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 1.0, 2.0], [5.0, 1.0, 1.0, 0.0]])
    legal = jnp.array([[True] * 4, [True] * 4, [False, True, True, True]])
    np.testing.assert_array_equal(HEAD.mode(ties, legal), [0, 1, 1])


def test_sample_frequencies():
    logits, mask = random_inputs(2, rows=3)
    draws = 20_000
    shape = (draws, 3, 4)
    samples = HEAD.sample(
        jax.random.key(0), jnp.broadcast_to(jnp.asarray(logits), shape), jnp.broadcast_to(jnp.asarray(mask), shape)
    )
    assert samples.dtype == jnp.int32
    found = np.stack([(np.asarray(samples) == a).mean(axis=0) for a in range(4)], axis=-1)
    expected = softmax(logits, mask)
    assert (found[~mask] == 0).all()
    np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(draws))


def test_embedding_is_one_hot():
    np.testing.assert_array_equal(HEAD.embed(jnp.array([[3, 0]])), [[[0, 0, 0, 1], [1, 0, 0, 0]]])
    assert (HEAD.num_outputs, HEAD.embed_size) == (4, 4)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
@pytest.mark.parametrize("legal", [[False, False, True, False], [True, False, True, True]])
def test_values_and_gradients_are_finite(scale, legal):
    logits = jnp.array([3.0, -1.0, 0.5, 2.0]) * scale
    mask = jnp.array(legal)

    def total(logits):
        return HEAD.log_prob(logits, mask, jnp.int32(2)) + HEAD.entropy(logits, mask)

    value, gradient = jax.value_and_grad(total)(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~np.asarray(mask)] == 0).all()
    if sum(legal) == 1:
        assert value == 0.0
        np.testing.assert_array_equal(gradient, 0.0)
    assert np.isfinite(HEAD.log_prob(logits, mask, jnp.int32(1)))  # an illegal action


def test_illegal_logits_do_not_matter():
    mask = jnp.array([True, False, True, True])
    a, b = jnp.array([0.1, 0.0, 0.3, 0.2]), jnp.array([0.1, 1e6, 0.3, 0.2])
    np.testing.assert_array_equal(HEAD.log_prob(a, mask, jnp.int32(2)), HEAD.log_prob(b, mask, jnp.int32(2)))
    np.testing.assert_array_equal(HEAD.entropy(a, mask), HEAD.entropy(b, mask))
    assert HEAD.mode(b, mask) == 2
