"""The GRU over time is flax's cell, step by step: values and gradients, starts inside, and under vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks._gru import gru

L, E, N, D, H = 7, 3, 2, 5, 6
CELL = nn.GRUCell(H)


def steps_of_the_cell(params, carry, x, start):
    """Memories after each step, one call of the cell after another."""
    after = []
    for x_t, start_t in zip(x, start, strict=True):
        carry = jnp.where(start_t.reshape(start_t.shape + (1,) * (carry.ndim - start_t.ndim)), 0.0, carry)
        carry, _ = CELL.apply(params, carry, x_t)
        after.append(carry)
    return jnp.stack(after)


def draw(*leading, seed=0):
    """Parameters (biases too), memory, inputs, starts and a weight of each output, with `leading` axes in front of all."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(CELL.init, jax.random.key(0), jnp.zeros((1, H)), jnp.zeros((1, D)))

    def normal(*shape):
        return jnp.asarray(rng.normal(size=(*leading, *shape)) * 0.5, jnp.float32)

    params = jax.tree.map(lambda s: normal(*s.shape), shapes)
    start = jnp.asarray(rng.random((L, E)) < 0.3).at[0, 0].set(True).at[3, 1].set(True)
    return params, normal(E, N, H), normal(L, E, N, D), start, normal(L, E, N, H)


def both_ways(unroll, params, carry, x, start, weight):
    """Memories, and gradients of a weighted sum of them in parameters, memory and inputs."""

    def weighted(params, carry, x):
        after = unroll(params, carry, x, start)
        return jnp.vdot(after, weight), after

    return jax.grad(weighted, argnums=(0, 1, 2), has_aux=True)(params, carry, x)


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_values_and_gradients_are_those_of_the_cell():
    arrays = draw()
    found = jax.jit(both_ways, static_argnums=0)(gru, *arrays)
    assert_close(found, jax.jit(both_ways, static_argnums=0)(steps_of_the_cell, *arrays))
    assert_close(gru(*arrays[:4]), found[1])  # without differentiation


@pytest.mark.parametrize("shared_inputs", [False, True])
def test_under_vmap_over_parameters(shared_inputs):
    """Lanes have parameters and inputs of their own; networks of each agent's own may read the same inputs."""
    params, carry, x, start, weight = draw(4)
    if shared_inputs:
        carry, x, axes = carry[0], x[0], (0, None, None, None, 0)
    else:
        axes = (0, 0, 0, None, 0)
    own, cell = (jax.jit(jax.vmap(lambda *arrays, f=f: both_ways(f, *arrays), axes)) for f in (gru, steps_of_the_cell))
    assert_close(own(params, carry, x, start, weight), cell(params, carry, x, start, weight))


def test_what_a_start_clears_may_be_anything():
    """Not even a memory that is not finite gets past a start, forwards or backwards."""
    params, carry, x, start, weight = draw()
    start = start.at[0].set(True)
    broken = both_ways(gru, params, carry * jnp.nan, x, start, weight)
    assert_close(broken, both_ways(gru, params, carry, x, start, weight))
    assert (broken[0][1] == 0).all()


@pytest.mark.parametrize("batch", [(), (4,), (4, 1), (2, 3, 2)])
def test_any_batch_axes(batch):
    params, rng = draw()[0], np.random.default_rng(1)
    carry, x = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((*batch, H), (L, *batch, D)))
    start = jnp.asarray(rng.random((L, *batch[:1])) < 0.3)
    assert_close(gru(params, carry, x, start), steps_of_the_cell(params, carry, x, start))
