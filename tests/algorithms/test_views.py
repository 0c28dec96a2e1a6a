"""What actors and critics see, by hand; and that agent k sees the actions of agents before it only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.algorithms.core._views import central_view, local_view, sequential_view
from jaxmarl_suite.ops import categorical

SPEC = EnvSpec(id="test/views", n_agents=3, obs_shape=(2,), num_actions=2, state_size=4)
STATELESS = SPEC.replace(state_size=0)
OBS = jnp.arange(2 * 3 * 2, dtype=jnp.float32).reshape(2, 3, 2)  # [E, N, D]
STATE = 100 + jnp.arange(2 * 4, dtype=jnp.float32).reshape(2, 4)
ACTION = jnp.array([[1, 0, 1], [0, 1, 0]])


def test_local_view():
    view = local_view(SPEC, agent_id=False)
    x, extra = view.encode(OBS, STATE, ACTION)
    assert (view.size, view.extra_size, view.rows, view.outputs) == (2, 0, 3, 3)
    np.testing.assert_array_equal(x, OBS)
    assert extra.shape == (2, 3, 0)


def test_local_view_with_the_agents_index():
    view = local_view(SPEC, agent_id=True)
    x, extra = view.encode(OBS, STATE, ACTION)
    assert (view.size, extra.shape) == (5, (2, 3, 0))
    np.testing.assert_array_equal(x[1], [[6, 7, 1, 0, 0], [8, 9, 0, 1, 0], [10, 11, 0, 0, 1]])


def test_observations_of_any_rank_are_flattened():
    image = SPEC.replace(obs_shape=(2, 2, 1))
    obs = jnp.arange(5 * 2 * 3 * 4, dtype=jnp.float32).reshape(5, 2, 3, 2, 2, 1)  # [T, E, N, ...]
    x, _ = local_view(image, agent_id=False).encode(obs, jnp.zeros((5, 2, 4)), jnp.zeros((5, 2, 3), jnp.int32))
    np.testing.assert_array_equal(x, obs.reshape(5, 2, 3, 4))


def test_central_view():
    view = central_view(SPEC)
    x, extra = view.encode(OBS, STATE, ACTION)
    assert (view.size, view.extra_size, view.rows, view.outputs) == (4, 0, 1, 1)
    np.testing.assert_array_equal(x, STATE[:, None])
    assert extra.shape == (2, 1, 0)


def test_central_view_without_a_global_state_shows_all_observations():
    view = central_view(STATELESS)
    x, _ = view.encode(OBS, jnp.zeros((2, 0)), ACTION)
    assert view.size == 6
    np.testing.assert_array_equal(x, OBS.reshape(2, 1, 6))


@pytest.mark.parametrize("local_context", [False, True])
def test_sequential_view(local_context):
    view = sequential_view(SPEC, categorical(2), local_context=local_context)
    x, extra = view.encode(OBS, STATE, ACTION)
    assert (view.extra_size, view.outputs) == (3 + 3 * 2, 3)
    assert (view.size, view.rows) == ((2, 3) if local_context else (4, 1))
    np.testing.assert_array_equal(x, OBS if local_context else STATE[:, None])
    np.testing.assert_array_equal(
        extra[0],  # one-hot k, then the one-hot actions of agents 0, 1, 2: here 1, 0, 1
        [
            [1, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 1, 0, 1, 1, 0, 0, 0],
        ],
    )


def test_views_take_any_leading_axes():
    for view in (central_view(SPEC), local_view(SPEC, agent_id=True), sequential_view(SPEC, categorical(2))):
        x, extra = view.encode(OBS, STATE, ACTION)
        many = [jnp.broadcast_to(a, (4, *a.shape)) for a in (OBS, STATE, ACTION)]
        xs, extras = view.encode(*many)
        np.testing.assert_array_equal(xs[2], x)
        np.testing.assert_array_equal(extras[2], extra)


_look = jax.jit(sequential_view(SPEC, categorical(2)).encode)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=3, max_size=3), st.lists(st.integers(0, 1), min_size=3, max_size=3))
def test_row_k_depends_on_predecessors_only(first, second):
    a = _look(OBS[:1], STATE[:1], jnp.array([first]))[1][0]
    b = _look(OBS[:1], STATE[:1], jnp.array([second]))[1][0]
    for k in range(3):
        assert (np.asarray(a[k]) == np.asarray(b[k])).all() == (first[:k] == second[:k])
