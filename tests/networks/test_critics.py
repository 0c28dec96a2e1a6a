"""Stacked critics against their formula, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks import make_critics, make_network

D, X, C = 3, 2, 4


def normalize(x, layer):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * layer["scale"] + layer["bias"]


def critic(params, context, action, layer_norm, action_twice):
    x, number = np.concatenate([context, action], -1), 2
    for i in range(number):
        dense = params[f"Dense_{i}"]
        x = x @ dense["kernel"] + dense["bias"]
        if action_twice and i == 0:
            x = np.concatenate([x, action], -1)
        if layer_norm:
            x = normalize(x, params[f"LayerNorm_{i}"])
        x = np.maximum(x, 0.0)
    return (x @ params[f"Dense_{number}"]["kernel"] + params[f"Dense_{number}"]["bias"])[..., 0]


@pytest.mark.parametrize("layer_norm, action_twice", [(False, False), (True, False), (True, True)])
def test_critics_are_their_formula(layer_norm, action_twice):
    critics = make_critics(D, X, num=C, hidden=(5, 4), layer_norm=layer_norm, action_twice=action_twice)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), jax.eval_shape(critics.init, jax.random.key(0))
    )
    context, action = rng.normal(size=(3, 2, D)), rng.normal(size=(3, 2, X))
    found = jax.jit(critics.values)(params, jnp.asarray(context, jnp.float32), jnp.asarray(action, jnp.float32))
    assert found.shape == (C, 3, 2)
    for c in range(C):
        own = jax.tree.map(lambda x, c=c: np.asarray(x[c], np.float64), params["params"])
        expected = critic(own, context, action, layer_norm, action_twice)
        np.testing.assert_allclose(found[c], expected, rtol=1e-4, atol=1e-4)


def test_critics_start_apart_and_as_in_torch():
    params = make_critics(100, 28, num=2, hidden=(64,)).init(jax.random.key(0))["params"]
    for name, fan_in in (("Dense_0", 128), ("Dense_1", 64)):
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.shape[0] == 2 and (kernel[0] != kernel[1]).all()
        assert np.abs(kernel).max() <= fan_in**-0.5
        np.testing.assert_allclose(kernel.std(), (3 * fan_in) ** -0.5, rtol=0.15)


def test_networks_can_be_normalized():
    network = make_network(D, X, hidden=(5,), activation="relu", initializer="torch", layer_norm=True)
    params = network.init(jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(1, 6, D))
    y, _ = network.unroll(
        params, jnp.zeros((6, 0)), jnp.asarray(x, jnp.float32), jnp.zeros((1, 6, 0)), jnp.zeros((1, 6), bool)
    )
    own = jax.tree.map(lambda a: np.asarray(a, np.float64), params["head"]["params"])
    hidden = np.maximum(normalize(x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"], own["LayerNorm_0"]), 0.0)
    np.testing.assert_allclose(y, hidden @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes, message", [({"num": 0}, "num must be"), ({"hidden": (3, 0)}, r"hidden\[1\] must be")])
def test_sizes_must_be_positive(sizes, message):
    with pytest.raises(ValueError, match=f"make_critics: {message} a whole number of at least 1, got 0"):
        make_critics(D, X, **{"num": 2, "hidden": (3,)} | sizes)
