"""The networks of a team's model against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks import make_team_model
from jaxmarl_suite.networks._team_model import position_code

D, N, A, H, R, B = 5, 3, 4, 8, 7, 2
SIZES = {"width": H, "hidden": (6,), "head_hidden": (4,), "predictor_hidden": 3, "num_bins": R, "num_heads": 2}


def made(num_layers):
    model = make_team_model(D, N, A, num_layers=num_layers, **SIZES)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)  # everything away from what it starts at
    return model, jax.tree.map(lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(size=(B, N, D)), jnp.float32), jnp.asarray(rng.integers(A, size=(B, N)), jnp.int32)


def norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def stack(x, p, layers, head=False):
    for i in range(layers):
        x = norm(np.maximum(dense(x, p[f"Dense_{i}"]), 0.0), p[f"LayerNorm_{i}"])
    return dense(x, p[f"Dense_{layers}"]) if head else x


def attention(x, p):
    query, key, value = (
        np.einsum("bnd,dhk->bnhk", x, p[n]["kernel"]) + p[n]["bias"] for n in ("query", "key", "value")
    )
    logits = np.einsum("bnhk,bmhk->bhnm", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bhnm,bmhk->bnhk", weights, value)
    return np.einsum("bnhk,hkd->bnd", mixed, p["out"]["kernel"]) + p["out"]["bias"]


def communication(own, p, layers):
    x = np.maximum(dense(own, p["Dense_0"]), 0.0) + position_code(N, H)
    for i in range(layers):
        x = norm(x + attention(x, p[f"MultiHeadDotProductAttention_{i}"]), p[f"LayerNorm_{2 * i}"])
        inner = np.maximum(dense(x, p[f"Dense_{1 + 2 * i}"]), 0.0)
        x = norm(x + dense(inner, p[f"Dense_{2 + 2 * i}"]), p[f"LayerNorm_{2 * i + 1}"])
    return x


@pytest.mark.parametrize("num_layers", [0, 2])
def test_networks_are_their_formulas(num_layers, inputs):
    model, params = made(num_layers)
    obs, action = inputs
    state = jax.jit(model.represent)(params, obs)
    moved, reward = jax.jit(model.advance)(params, state, action)
    policy, value = jax.jit(model.assess)(params, state)
    p = jax.tree.map(np.asarray, params["params"])
    wanted = stack(norm(np.asarray(obs), p["observe"]["layers_0"]), p["observe"]["layers_1"], 2)
    np.testing.assert_allclose(state, wanted, atol=2e-5)
    chosen = np.eye(A)[np.asarray(action)]
    own = np.concatenate([wanted, chosen], -1)
    heard = own
    if num_layers:
        heard = np.concatenate([own, communication(own, p["communicate"], num_layers)], -1)
    after = wanted + stack(heard, p["change"], 2)
    np.testing.assert_allclose(moved, after, atol=1e-4)
    joined = np.concatenate([after, chosen], -1).reshape(B, -1)  # the next state, not the last one
    np.testing.assert_allclose(reward, stack(joined, p["reward"], 1, head=True), atol=2e-4)
    np.testing.assert_allclose(value, stack(wanted.reshape(B, -1), p["value"], 1, head=True), atol=1e-4)
    np.testing.assert_allclose(policy, stack(wanted, p["policy"], 1, head=True), atol=1e-4)
    projected = norm(stack(wanted.reshape(B, -1), p["projector"]["layers_0"], 2), p["projector"]["layers_1"])
    np.testing.assert_allclose(jax.jit(model.project)(params, state), projected, atol=1e-4)
    predicted = stack(projected, p["predictor"], 2)
    np.testing.assert_allclose(jax.jit(model.predict_projection)(params, state), predicted, atol=2e-4)


def test_position_code_by_hand():
    code = position_code(3, 4)
    np.testing.assert_allclose(code[0], [0, 1, 0, 1], atol=1e-7)
    np.testing.assert_allclose(code[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)], rtol=1e-6)


def test_agents_hear_of_each_other_only_by_communication(inputs):
    for num_layers in (0, 1):
        model, params = made(num_layers)
        state, advance = jax.jit(model.represent)(params, inputs[0]), jax.jit(model.advance)
        other = inputs[1].at[:, 0].set((inputs[1][:, 0] + 1) % A)
        change = np.abs(advance(params, state, inputs[1])[0] - advance(params, state, other)[0]).max((0, 2))
        assert change[0] > 1e-3 and ((change[1:] > 1e-4) == bool(num_layers)).all()


def test_heads_start_flat_and_dropout_needs_a_key(inputs):
    model = make_team_model(D, N, A, num_layers=1, **SIZES)
    params = jax.jit(model.init)(jax.random.key(0))
    state = jax.jit(model.represent)(params, inputs[0])
    moved, reward = jax.jit(model.advance)(params, state, inputs[1])
    policy, value = jax.jit(model.assess)(params, state)
    assert not np.any(reward) and not np.any(policy) and not np.any(value)
    advance = jax.jit(model.advance)
    again = [advance(params, state, inputs[1], jax.random.key(seed))[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(again[0], again[1])
    assert np.abs(again[0] - again[2]).max() > 1e-3 and np.abs(again[0] - moved).max() > 1e-3


def test_sizes_that_are_refused():
    for change, message in (
        ({"num_bins": 0}, "num_bins must be a whole number of at least 1, got 0"),
        ({"width": 6, "num_heads": 4}, "width must be a multiple of num_heads, got 6 and 4"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make_team_model(D, N, A, **{**SIZES, **change})
