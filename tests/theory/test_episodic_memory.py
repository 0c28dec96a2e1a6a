"""The three theorems about episodic-memory targets, and how fast they carry a reward, against exact values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.ops import episodic_targets
from jaxmarl_suite.theory import (
    TabularMemory,
    best_case_values,
    evaluate,
    expected_stopping,
    greedy,
    propagate,
    random_deterministic_mdp,
    sample_stopping,
    value_iteration,
)

GAMMA = 0.9


@pytest.mark.parametrize(("places", "single"), [(2, 0.57), (5, 1.16), (10, 1.54), (50, 2.25)])
def test_the_bias_grows_with_the_stops_for_one_estimator_only(places, single):
    """Values of an independent computation (2e5 draws, 0.02): one estimator, crossed ones, and the floor's own bias."""
    found = expected_stopping(np.zeros(places))
    assert found.single == pytest.approx(single, abs=0.02)
    assert found.double == pytest.approx(0.0, abs=1e-6)
    assert found.floor == pytest.approx(1 / np.sqrt(np.pi), abs=1e-6)
    assert found.evaluator_floor == pytest.approx((1 - 1 / places) / np.sqrt(np.pi), abs=1e-6)
    pairs = expected_stopping(np.zeros(places), group_size=2)
    assert pairs.double == pytest.approx(-0.56, abs=0.02) and pairs.floor == pytest.approx(-0.10, abs=0.02)


@pytest.mark.parametrize(("gap", "single", "double"), [(0.1, 1.16, -0.32), (0.5, 0.49, -0.43), (2.0, 0.05, -0.17)])
def test_later_stops_that_are_worse(gap, single, double):
    found = expected_stopping(-gap * np.arange(10))
    assert found.single == pytest.approx(single, abs=0.02) and found.double == pytest.approx(double, abs=0.02)


def test_the_targets_of_learners_have_the_exact_bias():
    """2e5 trajectories of ten steps: within 0.02, and within five standard errors, of the quadrature."""
    for values, size in ((np.zeros(10), 1), (-0.5 * np.arange(10), 2)):
        found = sample_stopping(jax.random.key(0), values, group_size=size, num_draws=200_000, num_batches=10)
        exact = expected_stopping(values, group_size=size)
        for name, value in exact._asdict().items():
            assert float(getattr(found, name)) == pytest.approx(value, abs=0.01), name


def test_an_estimator_that_evaluates_its_own_choice_is_told_apart():
    """Two estimators that are one give the plain maximum, 1.54 for ten stops, where two give 0."""
    noise = jax.random.normal(jax.random.key(1), (10, 20_000, 2))
    reward, no = jnp.zeros(noise.shape[:2]), jnp.zeros(noise.shape[:2], bool)
    target = jax.jit(functools.partial(episodic_targets, gamma=1.0, floor=False))
    two, one = (float(target(reward, x, no, no)[0].mean()) for x in (noise, noise[..., [0, 0]]))
    assert two == pytest.approx(0.0, abs=0.03) and one == pytest.approx(1.54, abs=0.03)


MDPS = [random_deterministic_mdp(seed, slip=slip) for slip in (0.0, 0.05, 0.2) for seed in range(3)]


@pytest.fixture(scope="module")
def learned():
    """Tables [9, episodes, 2, 12, 3] on three MDPs, without slip and with two."""
    return TabularMemory(num_episodes=600).run(MDPS, jax.random.split(jax.random.key(0), len(MDPS)))


def test_on_deterministic_mdps_tables_rise_to_the_optimum(learned):
    """Theorem 2: never above Q*, and within 0.05 once every pair was updated 50 times."""
    for i in range(3):
        optimal = value_iteration(MDPS[i]).action_value
        assert learned.num_updates[i].min() >= 50
        assert (learned.action_value[i] - optimal).max() <= 1e-3
        assert np.abs(learned.action_value[i, -1] - optimal).max() < 0.05
        assert np.abs(learned.action_value[i, 0] - optimal).max() > 1, "it had something to learn"


def test_with_slip_the_best_supported_return_bounds_the_tables(learned):
    """Theorem 3, and a tenth of half its bound, which is loose."""
    excess = []
    for i in range(3, 9):
        mdp, q = MDPS[i], learned.action_value[i, -1]
        solution, ceiling = value_iteration(mdp), best_case_values(mdp)
        assert (solution.action_value <= ceiling + 1e-9).all()
        assert (learned.action_value[i] <= ceiling + 1e-3).all()
        factor = (ceiling - solution.action_value).max()
        loss = (solution.value - evaluate(mdp, greedy(mdp, q.mean(axis=0)))[0]).max()
        assert loss >= -1e-9 and loss <= 0.1 * factor / (1 - GAMMA) <= 2 * factor / (1 - GAMMA)
        excess.append((q - solution.action_value).mean())
    assert np.mean(excess[3:]) > np.mean(excess[:3]) > 0, "optimism grows with the slip"


def test_the_best_case_by_enumeration():
    """Every trajectory of seven steps that the dynamics allow."""
    mdp = random_deterministic_mdp(3, num_states=4, num_actions=2, gamma=0.1, slip=0.3)

    def best(state, depth):
        if depth == 0:
            return 0.0
        return max(value(state, a, depth) for a in range(2))

    def value(state, action, depth):
        following = np.flatnonzero(mdp.transition[state, action])
        return mdp.reward[state, action] + 0.1 * max(best(s, depth - 1) for s in following)

    expected = [[value(s, a, 7) for a in range(2)] for s in range(4)]
    np.testing.assert_allclose(best_case_values(mdp), expected, atol=1e-6)
    still = random_deterministic_mdp(3, num_states=4, num_actions=2)
    np.testing.assert_allclose(best_case_values(still), value_iteration(still).action_value, atol=1e-9)


def test_one_refresh_carries_a_reward_down_the_chain():
    """Fifty steps: one refresh along the trajectory, ten with five rewards each, fifty with one-step targets."""
    worth = 0.99**49
    for max_steps, needed in ((None, 1), (5, 10), (1, 50)):
        first = propagate(50, gamma=0.99, num_refreshes=52, max_steps=max_steps)[:, 0]
        assert (first[: needed - 1] == 0).all()
        np.testing.assert_allclose(first[needed - 1 :], worth, rtol=1e-5)


def test_wrong_sizes_are_named():
    for call, message in (
        (lambda: expected_stopping([]), "values must be a list of at least one finite number"),
        (lambda: expected_stopping([0.0], group_size=0), "group_size must be a whole number of at least 1, got 0"),
        (lambda: sample_stopping(jax.random.key(0), [0.0], num_draws=7), "got 7 and 20"),
        (lambda: TabularMemory(0), "num_episodes and horizon must be at least 1"),
        (lambda: TabularMemory(1, exponent=0.5), "exponent must lie above 0.5 and not above 1, got 0.5"),
        (lambda: random_deterministic_mdp(0, slip=2.0), "slip must lie in 0..1, got 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
