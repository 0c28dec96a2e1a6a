"""Value normalization and value losses against numpy and hand-computed numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.ops import ValueNorm, value_loss


def test_running_moments():
    """Debiased exponential averages: weights (1 - d) d^k, normalized to sum to one."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(loc=5.0, scale=3.0, size=(4, 3)).astype(np.float32) for _ in range(5)]
    decay = 0.8
    norm = ValueNorm.create()
    for batch in batches:
        norm = norm.update(jnp.asarray(batch), decay)
    weights = np.array([decay ** (4 - i) for i in range(5)])
    weights /= weights.sum()
    mean = sum(w * b.mean() for w, b in zip(weights, batches))
    variance = sum(w * np.square(b).mean() for w, b in zip(weights, batches)) - mean**2
    x = jnp.array([-1.0, 0.0, 7.5])
    np.testing.assert_allclose(norm.normalize(x), (np.asarray(x) - mean) / np.sqrt(variance), rtol=1e-4)


def test_one_batch_is_normalized_to_mean_0_and_variance_1():
    batch = jnp.array([1.0, 3.0, 8.0, -4.0])
    normal = ValueNorm.create().update(batch, 0.99).normalize(batch)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0.0, 1.0], atol=1e-4)


def test_before_any_data_nothing_changes():
    x = jnp.array([-2.0, 0.0, 30.0])
    np.testing.assert_array_equal(ValueNorm.create().normalize(x), x)
    np.testing.assert_array_equal(ValueNorm.create().denormalize(x), x)


@pytest.mark.parametrize("targets", [[1.0, 2.0, 3.0], [7.0, 7.0, 7.0], [-1e4, 1e4, 0.0]])
def test_round_trip(targets):
    norm = ValueNorm.create().update(jnp.array(targets), 0.9).update(jnp.array(targets), 0.9)
    x = jnp.array([-3.0, 0.0, 11.0, *targets])
    np.testing.assert_allclose(norm.denormalize(norm.normalize(x)), x, rtol=1e-4, atol=1e-2)


def test_constant_targets_are_not_blown_up():
    norm = ValueNorm.create().update(jnp.full((8,), 11.0), 0.99)
    np.testing.assert_allclose(norm.normalize(jnp.array([11.0, 11.1])), [0.0, 1.0], atol=1e-3)


def loss(p, target, old, kind, clip=None, delta=1.0):
    arrays = (jnp.array([float(x)]) for x in (p, target, old))
    return float(value_loss(*arrays, kind=kind, huber_delta=delta, clip=clip)[0])


def test_squared_and_huber_loss_by_hand():
    assert loss(1.0, 4.0, 0.0, "mse") == pytest.approx(4.5)
    assert loss(1.0, 4.0, 0.0, "huber") == pytest.approx(1.0 * (3.0 - 0.5))
    assert loss(1.0, 1.5, 0.0, "huber") == pytest.approx(0.125)
    assert loss(1.0, 4.0, 0.0, "huber", delta=10.0) == pytest.approx(4.5)


def test_clipped_loss_by_hand():
    # Moved from 0 to 1 towards the target 2; only 0.2 of that counts, so the loss stays that of 0.2: it pulls no more.
    assert loss(1.0, 2.0, 0.0, "mse", clip=0.2) == pytest.approx(1.8**2 / 2)
    # Moved away from the target: the clipped prediction is better, the plain loss counts.
    assert loss(-1.0, 2.0, 0.0, "mse", clip=0.2) == pytest.approx(9 / 2)
    # Inside the bounds clipping changes nothing.
    assert loss(0.1, 2.0, 0.0, "mse", clip=0.2) == pytest.approx(1.9**2 / 2)
    assert loss(1.0, 2.0, 0.0, "huber", clip=0.2) == pytest.approx(1.0 * (1.8 - 0.5))


@pytest.mark.parametrize("shapes", [((3, 1), (3,), (3,)), ((3,), (3,), (1,)), ((2, 3), (2, 3), (3,))])
def test_unequal_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="equal shapes"):
        value_loss(*(jnp.zeros(shape) for shape in shapes), kind="mse", huber_delta=1.0, clip=None)
