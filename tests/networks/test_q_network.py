"""The network of Q-learning: layers before the memory, PyTorch's start; and that PPO's networks are as they were."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import mixer_oracles as oracle
import numpy as np
import pytest

from jaxmarl_suite.networks import make_network, per_agent

L, B, D, H, A = 7, 5, 6, 8, 3


def test_the_recurrent_q_network_is_its_formula():
    network = make_network(D, A, encoder=(9,), memory_size=H, hidden=(), initializer="torch")
    params = network.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(L, B, D)), jnp.float32)
    carry = jnp.asarray(rng.normal(size=(B, H)), jnp.float32)
    start = jnp.asarray(rng.random((L, B)) < 0.3)
    y, carries = jax.jit(network.unroll)(params, carry, x, jnp.zeros((L, B, 0)), start)
    y_expected, carries_expected = oracle.q_network(params, carry, x, start)
    np.testing.assert_allclose(y, y_expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(carries, carries_expected, rtol=1e-5, atol=1e-5)


def test_a_feed_forward_q_network_is_its_formula():
    network = make_network(D, A, extra_size=2, encoder=(9, 5), hidden=(4,), activation="relu", initializer="torch")
    params = network.init(jax.random.key(1))
    rng = np.random.default_rng(1)
    x, extra = (jnp.asarray(rng.normal(size=(L, B, size)), jnp.float32) for size in (D, 2))
    y, _ = network.unroll(params, jnp.zeros((B, 0)), x, extra, jnp.zeros((L, B), bool))
    encoded = oracle.relu(oracle.mlp(params["encoder"]["params"], np.asarray(x)))
    joined = np.concatenate([encoded, np.asarray(extra)], axis=-1)
    np.testing.assert_allclose(y, oracle.mlp(params["head"]["params"], joined), rtol=1e-5, atol=1e-5)


def test_every_parameter_starts_as_in_torch():
    network = make_network(100, 50, encoder=(64,), memory_size=64, hidden=(), initializer="torch")
    params = network.init(jax.random.key(0))
    fans = {"encoder": 100, "cell": 64, "head": 64}
    for part, fan_in in fans.items():
        for leaf in jax.tree.leaves(params[part]):
            drawn = np.asarray(leaf) * fan_in**0.5
            assert 0.9 < np.abs(drawn).max() <= 1.0
            np.testing.assert_allclose(drawn.std(), 3**-0.5, rtol=0.15)


def test_separate_parameters_with_an_encoder():
    network = per_agent(make_network(D, A, encoder=(9,), memory_size=H, hidden=(), initializer="torch"), 2)
    params = network.init(jax.random.key(0))
    kernel = params["encoder"]["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (2, D, 9)
    y, carries = network.unroll(
        params, jnp.zeros((B, 2, H)), jnp.ones((L, B, 2, D)), jnp.zeros((L, B, 2, 0)), jnp.zeros((L, B), bool)
    )
    assert y.shape == (L, B, 2, A)
    assert carries.shape == (L, B, 2, H)


class _PPOHead(nn.Module):
    """The layers after the memory as they were when all networks were PPO's."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(7, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(A, kernel_init=nn.initializers.orthogonal(0.01))(x)


@pytest.mark.parametrize("memory_size", [0, H])
def test_networks_without_an_encoder_start_where_they_always_did(memory_size):
    params = make_network(D, A, hidden=(7,), memory_size=memory_size, out_scale=0.01).init(jax.random.key(3))
    head_key, cell_key = jax.random.split(jax.random.key(3))
    expected = {"head": _PPOHead().init(head_key, jnp.zeros((1, memory_size or D)))}
    if memory_size:
        expected["cell"] = nn.GRUCell(H).init(cell_key, jnp.zeros((1, H)), jnp.zeros((1, D)))
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "elu"}, "activation must be 'tanh' or 'relu', got 'elu'"),
        ({"initializer": "lecun"}, "initializer must be 'orthogonal' or 'torch', got 'lecun'"),
        ({"initializer": "torch", "out_scale": 0.01}, "out_scale is the gain of initializer 'orthogonal'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_network(D, A, **options)
