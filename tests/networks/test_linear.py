"""Dense layers' product: the gradients of `x @ kernel`, whatever the axes in front."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks._linear import dense_product, linear

IN, OUT = 5, 4


def draw(shape, seed):
    return jax.random.normal(jax.random.key(seed), shape)


def both_ways(product, x, kernel, weight):
    """Value, and gradients in x and kernel, of a weighted sum of the product."""
    return jax.value_and_grad(lambda x, k: jnp.vdot(product(x, k), weight), argnums=(0, 1))(x, kernel)


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def plain(x, kernel):
    return jnp.tensordot(x, kernel, 1)


@pytest.mark.parametrize("leading", [(), (7,), (3, 7), (6, 3, 2), (0, 3)])
def test_gradients_are_those_of_the_product(leading):
    arrays = draw((*leading, IN), 0), draw((IN, OUT), 1), draw((*leading, OUT), 2)
    assert_close(jax.jit(both_ways, static_argnums=0)(linear, *arrays), both_ways(plain, *arrays))
    assert_close(linear(*arrays[:2]), plain(*arrays[:2]))


@pytest.mark.parametrize("axes", [(0, 0, 0), (0, None, 0), (None, 0, 0)])
def test_gradients_under_vmap(axes):
    """Networks of each agent's own, lanes of one program, and two networks on the same inputs."""
    shapes = (6, 3, 2, IN), (IN, OUT), (6, 3, 2, OUT)
    arrays = tuple(draw(s if axis is None else (3, *s), i) for i, (s, axis) in enumerate(zip(shapes, axes)))
    ours, theirs = (jax.jit(jax.vmap(lambda *a, p=p: both_ways(p, *a), axes))(*arrays) for p in (linear, plain))
    assert_close(ours, theirs)


def test_other_products_are_refused():
    x, kernel = draw((3, IN), 0), draw((IN, OUT), 1)
    assert_close(dense_product(x, kernel, (((1,), (0,)), ((), ())), precision=None), plain(x, kernel))
    with pytest.raises(ValueError, match="last axis of its inputs"):
        dense_product(x, draw((3, OUT), 1), (((0,), (0,)), ((), ())))
    with pytest.raises(ValueError, match="kernel"):
        dense_product(x, draw((IN, OUT, 2), 1), (((1,), (0,)), ((), ())))
