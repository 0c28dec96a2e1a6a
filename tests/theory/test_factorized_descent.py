"""Gradient descent on tabular QMIX and QPLEX, a hundred fixed seeds each: what it finds on G1 and G3."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest

from jaxmarl_suite.theory import FactorizedDescent, igm_complete
from jaxmarl_suite.theory._descent import _qmix, _qplex

SEEDS = 100


def game(variant):
    return np.asarray(jaxmarl_envs.make(f"matrix/{variant}").default_params.payoff, np.float64).reshape(3, 3)


def descend(variant, mixer, init_sd, **settings):
    keys = jax.vmap(jax.random.key)(np.arange(SEEDS))
    return FactorizedDescent(mixer=mixer, init_sd=init_sd, **settings).run(game(variant), keys)


def test_qmix_from_a_small_start_misses_the_solution_that_its_class_has():
    result = descend("G1", "qmix", 0.01, steps=3000)
    usual = np.abs(result.squared_error - 320.0) < 0.5
    assert usual.sum() >= 95
    fitted = result.total[usual]
    np.testing.assert_allclose(fitted[:, 0, :], -8.0, atol=0.3)
    np.testing.assert_allclose(fitted[:, :, 0], -8.0, atol=0.3)
    np.testing.assert_allclose(fitted[:, 1:, 1:], 0.0, atol=0.3)
    assert (result.payoff[usual] == 0.0).all()


@pytest.mark.parametrize("init_sd", [0.01, 1.0])
def test_qplex_solves_g1(init_sd):
    result = descend("G1", "qplex", init_sd)
    assert (result.payoff == 8.0).sum() >= 95
    assert (result.squared_error < 0.05).sum() >= 95


@pytest.mark.parametrize("init_sd", [0.01, 1.0])
def test_qplex_without_the_stopped_gradient_is_stuck_at_error_32(init_sd):
    result = descend("G1", "qplex", init_sd, stop_gradient=False)
    stuck = result.payoff < 8.0
    assert 20 <= stuck.sum() <= 80
    np.testing.assert_allclose(result.squared_error[stuck], 32.0, atol=0.05)
    # Each is at the best fit that its greedy action leaves: 4 at the optimum and at the greedy cell, the rest right.
    for total, greedy in zip(result.total[stuck], result.greedy[stuck]):
        np.testing.assert_allclose(total, igm_complete(game("G1"), greedy=greedy).total, atol=0.2)


def test_weights_that_start_at_one_have_a_second_trap():
    """A miscoordinated greedy cell holds: it and the five cells above it share their mean, -2/3."""
    result = descend("G1", "qplex", 0.01, stop_gradient=False, initial_weight=1.0)
    second = result.payoff == -12.0
    assert second.sum() >= 20
    np.testing.assert_allclose(result.squared_error[second], 616 / 3, atol=0.05)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_qplex_rarely_solves_g3(stop_gradient):
    assert (descend("G3", "qplex", 0.01, stop_gradient=stop_gradient).payoff == 8.0).sum() < 50


def test_mixers_against_loops():
    rng = np.random.default_rng(0)
    local = tuple(rng.normal(size=(a, 2)).astype(np.float32) for a in (2, 3))
    shapes = {"w1": (2, 4), "b1": (4,), "w2": (4,), "v": ()}
    mixing = {name: rng.normal(size=(*shape, 2)).astype(np.float32) for name, shape in shapes.items()}
    weights = rng.normal(size=(2, 2, 3, 2)).astype(np.float32)
    given = jax.tree.map(jnp.asarray, {"local": local, **mixing, "log_weight": weights})
    qmix, qplex = np.asarray(jax.jit(_qmix)(given)), np.asarray(jax.jit(partial(_qplex, stop_gradient=True))(given))
    for a, b, seed in np.ndindex(2, 3, 2):
        q = np.array([local[0][a, seed], local[1][b, seed]])
        x = q @ np.abs(mixing["w1"][:, :, seed]) + mixing["b1"][:, seed]
        hidden = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        expected = hidden @ np.abs(mixing["w2"][:, seed]) + mixing["v"][seed]
        np.testing.assert_allclose(qmix[a, b, seed], expected, rtol=1e-5, atol=1e-6)
        advantage = q - np.array([local[0][:, seed].max(), local[1][:, seed].max()])
        expected = q.sum() + ((np.exp(weights[:, a, b, seed]) - 1) * advantage).sum()
        np.testing.assert_allclose(qplex[a, b, seed], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mixer", ["qmix", "qplex"])
def test_igm_a_seed_alone_and_three_agents(mixer):
    payoff = np.random.default_rng(3).normal(size=(2, 3, 2))
    keys = jax.random.split(jax.random.key(1), 5)
    descent = FactorizedDescent(mixer=mixer, init_sd=1.0, steps=300)
    result = descent.run(payoff, keys)
    assert result.total.shape == (5, 2, 3, 2) and [q.shape for q in result.local] == [(5, 2), (5, 3), (5, 2)]
    for s in range(5):  # local argmaxes maximize Q_tot
        assert result.total[s][tuple(result.greedy[s])] >= result.total[s].max() - 1e-5
    alone = descent.run(payoff, keys[2:3])
    np.testing.assert_allclose(alone.total[0], result.total[2], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(descent.run(payoff, keys).total, result.total)


def test_default_dtype_is_untouched():
    FactorizedDescent(mixer="qplex", init_sd=1.0, steps=2).run(game("G1"), jax.random.split(jax.random.key(0), 2))
    assert jnp.zeros(()).dtype == np.float32 and not jax.config.read("jax_enable_x64")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixer": "vdn"}, "unknown mixer 'vdn'; accepted: qmix, qplex"),
        ({"init_sd": -1.0}, "init_sd must be finite and not negative, got -1"),
        ({"mixer_sd": float("nan")}, "mixer_sd must be finite and not negative, got nan"),
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"embed": 1.5}, "embed must be a positive integer, got 1.5"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0"),
        ({"initial_weight": -2.0}, "initial_weight must be positive and finite, got -2"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        FactorizedDescent(**{"mixer": "qplex", "init_sd": 1.0, **change})


def test_bad_keys_and_payoffs():
    descent = FactorizedDescent(mixer="qplex", init_sd=1.0)
    with pytest.raises(ValueError, match=r"keys must be a vector.*got key.* \(\)"):
        descent.run(game("G1"), jax.random.key(0))
    with pytest.raises(ValueError, match="target must be finite, got 1 entries"):
        descent.run([[0.0, np.inf]], jax.random.split(jax.random.key(0), 2))
