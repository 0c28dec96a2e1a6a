"""Networks: unrolling, memory, chunks, separate parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks import Network, append_parameters, make_network, per_agent

L, E, N, D, X, OUT, H = 8, 3, 2, 4, 3, 5, 6


def random_params(network, seed=0):
    """Parameters of the right shapes, all of them random, biases too."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.5, jnp.float32), shapes)


def random_inputs(memory_size, rows=N, seed=1):
    rng = np.random.default_rng(seed)
    carry = rng.normal(size=(E, rows, memory_size))
    x = rng.normal(size=(L, E, rows, D))
    extra = rng.normal(size=(L, E, N, X))
    return *(jnp.asarray(a, jnp.float32) for a in (carry, x, extra)), jnp.asarray(rng.random((L, E)) < 0.25)


@pytest.fixture(scope="module", params=["forward", "recurrent", "recurrent, separate"])
def built(request):
    network = make_network(D, OUT, extra_size=X, hidden=(7,), memory_size=0 if request.param == "forward" else H)
    if request.param.endswith("separate"):
        network = per_agent(network, N)
    return network, random_params(network), jax.jit(network.unroll)


def test_unroll_is_a_loop_of_steps(built):
    network, params, unroll = built
    carry, x, extra, start = random_inputs(network.initial_carry(()).shape[-1])
    y, carries = unroll(params, carry, x, extra, start)
    assert y.shape == (L, E, N, OUT)
    assert carries.shape == (L, *carry.shape)
    step = jax.jit(Network.step, static_argnums=0)
    for t in range(L):
        y_t, carry = step(network, params, carry, x[t], extra[t], start[t])
        np.testing.assert_allclose(y_t, y[t], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carry, carries[t], rtol=1e-4, atol=1e-5)


def test_two_chunks_with_the_memory_handed_on_are_one(built):
    network, params, unroll = built
    carry, x, extra, start = random_inputs(network.initial_carry(()).shape[-1])
    whole, carries = unroll(params, carry, x, extra, start)
    first, first_carries = unroll(params, carry, x[:4], extra[:4], start[:4])
    second, second_carries = unroll(params, first_carries[-1], x[4:], extra[4:], start[4:])
    np.testing.assert_allclose(whole, jnp.concatenate([first, second]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(carries, jnp.concatenate([first_carries, second_carries]), rtol=1e-4, atol=1e-5)


def test_a_start_clears_the_memory_before_the_step():
    network = make_network(D, OUT, hidden=(7,), memory_size=H)
    params, unroll = random_params(network), jax.jit(network.unroll)
    carry, x, extra, _ = random_inputs(H)
    extra = extra[..., :0]
    start = jnp.zeros((L, E), bool).at[3, 1].set(True)
    y, carries = unroll(params, carry, x, extra, start)
    y_other, carries_other = unroll(params, carry + 1.0, x.at[:3].add(1.0), extra, start)
    # What was before the start of environment 1 is forgotten; the others remember.
    np.testing.assert_array_equal(y[3:, 1], y_other[3:, 1])
    np.testing.assert_array_equal(carries[3:, 1], carries_other[3:, 1])
    assert np.abs(y[3:, 0] - y_other[3:, 0]).max() > 1e-3
    # And the step itself starts from zeros.
    fresh, _ = network.step(params, jnp.zeros((E, N, H)), x[3], extra[3], jnp.zeros((E,), bool))
    np.testing.assert_allclose(y[3, 1], fresh[1], rtol=1e-5, atol=1e-6)


def test_gru_equations():
    """Cho et al. 2014 in the form with the reset gate after the product: one step in numpy."""
    network = make_network(D, OUT, hidden=(), memory_size=H)
    params = random_params(network)
    carry, x, extra, _ = random_inputs(H)
    _, after = network.step(params, carry, x[0], extra[0, ..., :0], jnp.zeros((E,), bool))
    cell = jax.tree.map(np.asarray, params["cell"]["params"])

    def dense(name, v):
        return v @ cell[name]["kernel"] + cell[name].get("bias", 0.0)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    h, v = np.asarray(carry), np.asarray(x[0])
    reset = sigmoid(dense("ir", v) + dense("hr", h))
    update = sigmoid(dense("iz", v) + dense("hz", h))
    candidate = np.tanh(dense("in", v) + reset * dense("hn", h))
    np.testing.assert_allclose(after, (1 - update) * candidate + update * h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_size", [0, H])
def test_separate_parameters_are_a_loop_over_agents(memory_size):
    single = make_network(D, OUT, extra_size=X, hidden=(7,), memory_size=memory_size)
    separate = per_agent(single, N)
    params = random_params(separate)
    carry, x, extra, start = random_inputs(memory_size)
    y, carries = jax.jit(separate.unroll)(params, carry, x, extra, start)
    unroll = jax.jit(single.unroll)
    for i in range(N):
        own = jax.tree.map(lambda p, i=i: p[i], params)
        y_i, carries_i = unroll(own, carry[:, i], x[:, :, i], extra[:, :, i], start)
        np.testing.assert_allclose(y[:, :, i], y_i, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carries[:, :, i], carries_i, rtol=1e-4, atol=1e-5)


def test_separate_parameters_differ_from_the_start():
    params = per_agent(make_network(2, 2, hidden=()), 2).init(jax.random.key(0))
    kernel = params["head"]["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (2, 2, 2)
    assert np.abs(kernel[0] - kernel[1]).max() > 1e-3


@pytest.mark.parametrize("memory_size", [0, H])
def test_one_memory_serves_all_outputs(memory_size):
    network = make_network(D, OUT, extra_size=X, hidden=(7,), memory_size=memory_size)
    params, unroll = random_params(network), jax.jit(network.unroll)
    carry, x, extra, start = random_inputs(memory_size, rows=1)
    y, carries = unroll(params, carry, x, extra, start)
    assert y.shape == (L, E, N, OUT)
    assert carries.shape == (L, E, 1, memory_size)
    for i in range(N):
        y_i, _ = unroll(params, carry, x, extra[:, :, i : i + 1], start)
        np.testing.assert_allclose(y[:, :, i : i + 1], y_i, rtol=1e-4, atol=1e-5)


def test_initial_memory_is_zero_and_the_output_scale_is_kept():
    network = make_network(D, D, hidden=(), memory_size=H, out_scale=0.01)
    np.testing.assert_array_equal(network.initial_carry((2, 3)), np.zeros((2, 3, H)))
    assert make_network(D, OUT).initial_carry((2, 3)).shape == (2, 3, 0)
    kernel = make_network(D, D, hidden=(), out_scale=0.01).init(jax.random.key(0))["head"]["params"]["Dense_0"][
        "kernel"
    ]
    np.testing.assert_allclose(kernel @ kernel.T, 1e-4 * np.eye(D), atol=1e-7)


def test_appended_parameters_follow_the_outputs_whatever_is_seen():
    plain = make_network(D, OUT, extra_size=X, hidden=(7,))
    network = per_agent(append_parameters(plain, 2), N)
    params = random_params(network)
    assert params["appended"].shape == (N, 2)
    carry, x, extra, start = random_inputs(0)
    y, carries = jax.jit(network.unroll)(params, carry, x, extra, start)
    expected, same_carries = jax.jit(per_agent(plain, N).unroll)(params["network"], carry, x, extra, start)
    np.testing.assert_array_equal(y[..., :OUT], expected)
    np.testing.assert_array_equal(y[..., OUT:], np.broadcast_to(params["appended"], (L, E, N, 2)))
    assert carries.shape == same_carries.shape
    assert (append_parameters(plain, 2).init(jax.random.key(0))["appended"] == 0).all()
