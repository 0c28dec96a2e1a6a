"""Scalars as categories against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.ops import ScalarBins, compress_scalar, expand_scalar


def test_compression_and_its_inverse():
    x = np.array([-300.0, -4.99, -1.0, -1e-3, 0.0, 1e-3, 1.0, 4.99, 20.0, 300.0])
    wanted = np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 0.001 * x
    found = compress_scalar(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(expand_scalar(found), x, rtol=2e-5, atol=1e-6)


def test_two_hot_by_hand():
    bins = ScalarBins(-1.0, 1.0, 5)  # -1, -0.5, 0, 0.5, 1
    y = jnp.array([-1.0, -0.4, 0.0, 0.75, 2.0])
    wanted = [[1, 0, 0, 0, 0], [0, 0.8, 0.2, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0.5, 0.5], [0, 0, 0, 0, 1]]
    np.testing.assert_allclose(bins.encode(expand_scalar(y)), wanted, atol=1e-5)


@pytest.mark.parametrize("x", [0.0, 1.0, -1.0, 4.99, -4.99, 3.0, -0.02])
def test_there_and_back(x):
    bins = ScalarBins()
    target = bins.encode(jnp.full((2, 3), x))
    assert target.shape == (2, 3, 11)
    np.testing.assert_allclose(target.sum(-1), 1.0, atol=1e-6)  # an exact bin too: no target is empty
    np.testing.assert_allclose(bins.decode(jnp.log(target)), np.full((2, 3), x), atol=2e-5)


def test_what_the_bins_hold():
    bins = ScalarBins(-5.0, 5.0, 11)
    low, high = bins.bounds
    assert low == -high
    np.testing.assert_allclose(expand_scalar(jnp.array([-5.0, 5.0])), [low, high], rtol=1e-5)
    np.testing.assert_allclose(bins.encode(jnp.array([1e4])), jax.nn.one_hot(jnp.array([10]), 11))
    assert bins.num_for(low, high) == 11 and bins.num_for(0.0, high) == 6 and bins.num_for(0.0, 1.01 * high) == 7
    assert bins.num_for(-80.0, 80.0) == 2 * 9 + 1  # h(80) = 8.08


@pytest.mark.parametrize("change", [{"low": 5.0}, {"high": float("inf")}, {"num": 1}, {"num": 2.0}])
def test_rows_that_are_none(change):
    with pytest.raises(ValueError, match="bins"):
        ScalarBins(**change)
