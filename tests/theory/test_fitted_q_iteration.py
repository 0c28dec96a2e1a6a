"""Fitted Q-iteration with factorized classes: where it diverges, and where it does not."""

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest

from jaxmarl_suite.theory import (
    EpsilonGreedy,
    FiniteMMDP,
    fitted_q_iteration,
    igm_complete,
    linear_least_squares,
    monotone_least_squares,
    value_iteration,
)


def mmdp(gamma):
    """The divergence MMDP, from the tables of the environment."""
    env = jaxmarl_envs.make("matrix/mmdp")
    params = env.default_params
    return FiniteMMDP.from_stages(params.payoff, params.successor, num_actions=(2, 2), gamma=gamma)


def significant(value, digits=4):
    return float(f"{value:.{digits - 1}e}")


def test_the_tables_are_the_divergence_mmdp():
    problem = mmdp(0.9)
    np.testing.assert_array_equal(problem.reward, [[[0, 0], [0, 0]], [[1, 0], [0, 0]]])
    assert problem.transition[1, 1, 1].tolist() == [1.0, 0.0] and problem.transition[0, ..., 0].min() == 1.0
    assert problem.transition[1, 0, 0, 1] == problem.transition[1, 0, 1, 1] == problem.transition[1, 1, 0, 1] == 1.0
    assert not problem.terminal.any()  # no time limit: continuing


@pytest.mark.parametrize(
    ("gamma", "iterations", "norm"),
    [
        (0.75, 1000, 12.0),
        (0.79, 3000, 60.0),
        (0.8, 100, 75.0),
        (0.81, 100, 147.8),
        (0.9, 100, 7.823e5),
        (0.99, 10, 23.44),
        (0.99, 100, 5.674e9),
    ],
)
def test_linear_class_under_uniform_data(gamma, iterations, norm):
    result = fitted_q_iteration(mmdp(gamma), "linear", iterations=iterations)
    assert significant(result.norm[-1]) == norm
    v = 0.0  # the recursion by hand: V <- 3/4 + 5/4 gamma V
    for t in range(min(iterations, 60)):
        np.testing.assert_allclose(result.value[t, 1], v, rtol=1e-11)
        v = 0.75 + 1.25 * gamma * v
    assert np.abs(result.action_value[0]).max() == 0.0  # nothing pays in the absorbing state


def test_at_the_threshold_it_grows_by_three_quarters_an_iteration():
    norm = fitted_q_iteration(mmdp(0.8), "linear", iterations=400).norm
    np.testing.assert_allclose(np.diff(norm), 0.75, atol=1e-9)


@pytest.mark.parametrize(("epsilon", "limit"), [(0.05, 106.529), (0.1, 132.558), (0.15, 224.401), (0.19, 930.27)])
def test_linear_class_converges_near_on_policy(epsilon, limit):
    result = fitted_q_iteration(mmdp(0.99), "linear", iterations=20_000, data=EpsilonGreedy(epsilon))
    np.testing.assert_allclose(result.norm[-1], limit, rtol=5e-6 if epsilon < 0.19 else 1e-5)
    q = epsilon / 2
    np.testing.assert_allclose(result.norm[-1], (1 - q**2) / (1 - 0.99 * (1 + q**2)), rtol=1e-5)
    assert result.action_value[1].argmax() == 0 and not result.diverged  # greedy stays optimal
    assert np.abs(result.norm[-1] - result.norm[-100]) < 1e-2


def test_threshold_of_epsilon():
    bounded = fitted_q_iteration(mmdp(0.99), "linear", iterations=20_000, data=EpsilonGreedy(0.2))
    np.testing.assert_allclose(bounded.norm[-1], 8560.3, atol=0.05)
    assert bounded.norm.max() < 9900 and not bounded.diverged
    below, above = (
        fitted_q_iteration(mmdp(0.99), "linear", iterations=20_000, data=EpsilonGreedy(e)) for e in (0.2, 0.21)
    )
    assert below.norm[-1] - below.norm[-2] < below.norm[1] - below.norm[0] < above.norm[-1] - above.norm[-2]
    assert above.norm[-1] > 1e10  # unbounded: the steps themselves grow
    for epsilon in (0.3, 1.0):
        result = fitted_q_iteration(mmdp(0.99), "linear", iterations=20_000, data=EpsilonGreedy(epsilon))
        assert result.diverged and 1e12 < result.norm[-1] < 1e13 and len(result.norm) < 20_001


def test_epsilon_one_is_uniform_data():
    one = fitted_q_iteration(mmdp(0.9), "linear", iterations=50, data=EpsilonGreedy(1.0))
    uniform = fitted_q_iteration(mmdp(0.9), "linear", iterations=50)
    table = fitted_q_iteration(mmdp(0.9), "linear", iterations=50, data=np.full((2, 2, 2), 0.25))
    np.testing.assert_allclose(one.norm, uniform.norm, rtol=1e-12)
    np.testing.assert_array_equal(table.norm, uniform.norm)


@pytest.mark.parametrize("function_class", ["igm-complete", "monotone"])
def test_richer_classes_contract(function_class):
    problem = mmdp(0.99)
    optimum = value_iteration(problem.joint()).action_value.reshape(2, 2, 2)
    np.testing.assert_allclose(optimum[1], [[100, 99], [99, 0]], atol=1e-6)
    result = fitted_q_iteration(problem, function_class, iterations=500, reference=optimum)
    np.testing.assert_allclose(result.norm[[100, 500]], [63.397, 99.343], atol=5e-4)
    np.testing.assert_allclose(result.distance[1:] / result.distance[:-1], 0.99, atol=1e-8)
    uneven = fitted_q_iteration(problem, function_class, iterations=50, data=[[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(uneven.norm, result.norm[:51], rtol=1e-12)  # whatever the data


def test_one_iteration_on_a_random_mmdp_is_a_fit_of_the_bellman_target_in_every_state():
    rng = np.random.default_rng(0)
    problem = FiniteMMDP.random(rng, num_states=4, num_actions=(2, 3), gamma=0.9, num_terminal=1)
    start = rng.normal(size=problem.reward.shape)
    data = rng.dirichlet(np.ones(6), size=4).reshape(4, 2, 3)
    target = problem.reward.copy()
    for s, a, b in np.ndindex(4, 2, 3):
        following = [problem.transition[s, a, b, x] * start[x].max() * (x != 3) for x in range(4)]
        target[s, a, b] += 0.9 * sum(following)
    target[3] = 0.0
    fits = {
        "linear": linear_least_squares,
        "monotone": monotone_least_squares,
        "igm-complete": lambda y, p: igm_complete(y),
    }
    for name, fit in fits.items():
        result = fitted_q_iteration(problem, name, iterations=1, data=data, initial=start)
        for s in range(4):
            np.testing.assert_allclose(result.action_value[s], fit(target[s], data[s]).total, atol=1e-10)
    greedy = EpsilonGreedy(0.3)
    result = fitted_q_iteration(problem, "linear", iterations=1, data=greedy, initial=start)
    for s in range(4):
        best = np.unravel_index(start[s].argmax(), (2, 3))
        fit = linear_least_squares(target[s], greedy.table(best, (2, 3)))
        np.testing.assert_allclose(result.action_value[s], fit.total, atol=1e-10)


def test_igm_complete_is_value_iteration():
    problem = FiniteMMDP.random(np.random.default_rng(1), num_states=3, num_actions=(2, 2, 2), gamma=0.8)
    result = fitted_q_iteration(problem, "igm-complete", iterations=200)
    np.testing.assert_allclose(result.value[-1], value_iteration(problem.joint()).value, atol=1e-10)


def test_stages_that_end_get_a_terminal_state():
    params = jaxmarl_envs.make("matrix/two-step").default_params
    problem = FiniteMMDP.from_stages(params.payoff, params.successor, num_actions=(2, 2), gamma=1.0)
    assert problem.terminal.tolist() == [False, False, False, True]
    result = fitted_q_iteration(problem, "igm-complete", iterations=2)
    assert result.value[-1].tolist() == [8.0, 7.0, 8.0, 0.0]
    linear = fitted_q_iteration(problem, "linear", iterations=2)  # averages hide the 8: it plays safe
    assert linear.value[-1][1] == pytest.approx(7.0) and linear.value[-1][2] == pytest.approx(6.5)
    assert linear.action_value[0].argmax() in (0, 1)


def test_epsilon_greedy_table():
    table = EpsilonGreedy(0.3).table((1, 0), (2, 3))
    np.testing.assert_allclose(table, np.multiply.outer([0.15, 0.85], [0.8, 0.1, 0.1]))


def test_float64_without_touching_jax():
    before = jnp.zeros(()).dtype
    result = fitted_q_iteration(mmdp(0.9), "linear", iterations=3, data=EpsilonGreedy(0.1))
    assert result.action_value.dtype == result.norm.dtype == result.value.dtype == np.float64
    assert jnp.zeros(()).dtype == before == np.float32 and not jax.config.read("jax_enable_x64")


def test_bad_input():
    problem = mmdp(0.9)
    with pytest.raises(ValueError, match="unknown class 'vdn'; accepted: linear, monotone, igm-complete"):
        fitted_q_iteration(problem, "vdn", iterations=1)
    for bad in (-1, 1.5, True):
        with pytest.raises(ValueError, match="iterations must be an integer of at least 0, got"):
            fitted_q_iteration(problem, "linear", iterations=bad)
    with pytest.raises(ValueError, match=r"gamma must lie in 0\.\.1, got -0\.1"):
        mmdp(-0.1)
    with pytest.raises(ValueError, match=r"epsilon must lie in 0\.\.1, got 1\.2"):
        EpsilonGreedy(1.2)
    with pytest.raises(ValueError, match=r"data must be a distribution.*got the sum 1\.2"):
        fitted_q_iteration(problem, "linear", iterations=1, data=np.full((2, 2), 0.3))
    with pytest.raises(ValueError, match="data by state must hold 2 tables, one a state, got 3"):
        fitted_q_iteration(problem, "linear", iterations=1, data=np.full((3, 2, 2), 0.25))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), got \(4,\)"):
        fitted_q_iteration(problem, "linear", iterations=1, data=np.full(4, 0.25))
    with pytest.raises(
        ValueError, match=r"initial must be finite and have the shape \(2, 2, 2\), got the shape \(2, 2\)"
    ):
        fitted_q_iteration(problem, "linear", iterations=1, initial=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="limit must be positive, got 0"):
        fitted_q_iteration(problem, "linear", iterations=1, limit=0)
    with pytest.raises(ValueError, match=r"payoff must have the shape \[S or 1, 4\]"):
        FiniteMMDP.from_stages(np.zeros((2, 3)), np.zeros((2, 1), int), num_actions=(2, 2), gamma=0.9)
    with pytest.raises(ValueError, match=r"successor must hold stages 0\.\.1, or 2 for the end, got int64 in 0\.\.3"):
        FiniteMMDP.from_stages(np.zeros((2, 4)), np.array([[0], [3]]), num_actions=(2, 2), gamma=0.9)
    assert len(fitted_q_iteration(problem, "linear", iterations=0).norm) == 1
