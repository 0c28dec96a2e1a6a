"""Targets of episodic memory against tables over all pairs (t, h) in plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodic_oracle import brute_force, table

from jaxmarl_suite.ops import (
    asymmetric_loss,
    capped_episodic_targets,
    critic_targets,
    episodic_targets,
    group_minimum,
    mean_episodic_targets,
    target_jump,
)

STEPS, COLUMNS = 24, 200
SWITCHES = [
    {},
    {"own": "evaluator"},
    {"floor": False},
    {"zero_tail": True},
    {"zero_tail": True, "floor": False, "own": "evaluator"},
]


def trajectories(seed, *, estimators=2, ties=False, steps=STEPS, columns=COLUMNS):
    """Random [T, N] stretches: both kinds of ends, episodes of one step, a hole or a tail that is not stored.

    With `ties`, rewards and bootstraps are small whole numbers and γ is 1/2, so that all sums are exact in float32.
    """
    rng = np.random.default_rng(seed)
    if ties:
        # γ = 1/2: a step of reward x followed by the value 2x is worth as much as stopping at 2x.
        reward, bootstrap = rng.integers(-1, 2, (steps, columns)), 2 * rng.integers(-1, 2, (steps, columns, estimators))
    else:
        reward, bootstrap = rng.normal(size=(steps, columns)), 3 * rng.normal(size=(steps, columns, estimators))
    terminated = rng.random((steps, columns)) < rng.choice([0.0, 0.1, 0.5], columns)
    truncated = rng.random((steps, columns)) < rng.choice([0.0, 0.1, 0.5], columns)
    time = np.arange(steps)[:, None]
    first, last = rng.integers(0, steps // 3, columns), rng.integers(steps // 2, steps + 1, columns)
    valid = (time >= first) & (time < last)
    valid[:, ::4] = True
    valid[:, 1::4] = (rng.random((steps, columns)) < 0.8)[:, 1::4]
    return reward.astype(np.float32), bootstrap.astype(np.float32), terminated, truncated, valid


def expected_of(data, **switches):
    return np.stack([brute_force(*(x[:, n] for x in data), **switches) for n in range(data[0].shape[1])], axis=1)


def found_by(function, data, **switches):
    reward, bootstrap, terminated, truncated, valid = map(jnp.asarray, data)
    compiled = jax.jit(functools.partial(function, **switches))
    return np.asarray(compiled(reward, bootstrap, terminated, truncated, valid=valid))


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()) or "default")
@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "ties"])
def test_both_scans_are_the_table_over_all_stops(switches, ties):
    data, gamma = trajectories(1 + ties, ties=ties), 0.5 if ties else 0.9
    expected = expected_of(data, gamma=gamma, **switches)
    for method in ("scan", "associative"):
        found = found_by(episodic_targets, data, gamma=gamma, method=method, **switches)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=method)


def test_ties_in_the_data_matter():
    """The data with ties hold steps where the first and the last of the best stops are evaluated differently."""
    data = trajectories(2, ties=True)
    reward, bootstrap, terminated, truncated, valid = (x[:, 0] for x in data)
    differ = 0
    for t in np.flatnonzero(valid):
        v = [table(reward, bootstrap, terminated, truncated, valid, t, k, gamma=0.5, zero_tail=False) for k in (0, 1)]
        best = np.flatnonzero(v[0] == v[0].max())
        differ += v[1][best[0]] != v[1][best[-1]]
    assert differ > 0


def test_one_estimator_takes_the_plain_maximum():
    data = trajectories(3, estimators=1)
    expected = expected_of(data, gamma=0.9)
    for method in ("scan", "associative"):
        np.testing.assert_allclose(found_by(episodic_targets, data, gamma=0.9, method=method), expected, atol=1e-5)
    reward, bootstrap, terminated, truncated, valid = (x[:, 0] for x in data)
    best = [
        table(reward, bootstrap, terminated, truncated, valid, t, 0, gamma=0.9, zero_tail=False).max()
        for t in range(STEPS)
    ]
    np.testing.assert_allclose(expected[:, 0, 0], best)


@pytest.mark.parametrize("max_steps", [1, 3, STEPS])
def test_a_cap_is_the_table_with_fewer_columns(max_steps):
    for zero_tail in (False, True):
        data = trajectories(4, columns=60)
        expected = expected_of(data, gamma=0.9, max_steps=max_steps, zero_tail=zero_tail)
        found = found_by(capped_episodic_targets, data, gamma=0.9, max_steps=max_steps, zero_tail=zero_tail)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_cap_of_the_whole_length_changes_nothing_with_ties():
    data = trajectories(5, ties=True)
    found = found_by(capped_episodic_targets, data, gamma=0.5, max_steps=STEPS)
    np.testing.assert_array_equal(found, found_by(episodic_targets, data, gamma=0.5))


@pytest.mark.parametrize("switches", SWITCHES[:4], ids=str)
def test_the_weighted_mean_is_that_of_the_table(switches):
    data = trajectories(6, columns=60)
    expected = expected_of(data, gamma=0.9, beta=0.7, **switches)
    np.testing.assert_allclose(
        found_by(mean_episodic_targets, data, gamma=0.9, beta=0.7, **switches), expected, atol=1e-5
    )


def test_without_a_discount_only_the_next_reward_counts():
    data = trajectories(7, columns=8)
    for function, switches in (
        (episodic_targets, {"method": "scan"}),
        (episodic_targets, {"method": "associative"}),
        (capped_episodic_targets, {"max_steps": 4}),
        (mean_episodic_targets, {"beta": 0.5}),
    ):
        found = found_by(function, data, gamma=0.0, **switches)
        expected = np.where(data[4], data[0], 0.0)[..., None] * np.ones(2, np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_long_stretch_without_ends():
    """0.9 ** 1100 is 0 in single precision: a block's discount vanishes without a cut."""
    rng = np.random.default_rng(8)
    reward, bootstrap = rng.normal(size=(1100, 1)).astype(np.float32), rng.normal(size=(1100, 1, 2)).astype(np.float32)
    no, yes = np.zeros((1100, 1), bool), np.ones((1100, 1), bool)
    data = (reward, bootstrap, no, no, yes)
    found = [found_by(episodic_targets, data, gamma=0.9, method=m) for m in ("scan", "associative")]
    np.testing.assert_allclose(*found, atol=1e-5)
    tail = [x[-40:, 0] for x in data]
    np.testing.assert_allclose(found[0][-40:, 0], brute_force(*tail, gamma=0.9), atol=1e-5)


def test_only_a_termination_stops_the_bootstrap():
    """One step with reward -1 and bootstrap -10, γ = 1/2, by hand: what a zero tail overestimates."""
    reward, bootstrap = jnp.full((1,), -1.0), jnp.full((1, 2), -10.0)
    yes, no = jnp.ones(1, bool), jnp.zeros(1, bool)
    for terminated, truncated, zero_tail, expected in (
        (yes, no, False, -1.0),
        (yes, yes, True, -1.0),
        (no, yes, False, -6.0),
        (no, no, True, -6.0),  # the write head is no time limit
        (no, yes, True, -1.0),
    ):
        for method in ("scan", "associative"):
            found = episodic_targets(
                reward, bootstrap, terminated, truncated, gamma=0.5, zero_tail=zero_tail, method=method
            )
            np.testing.assert_array_equal(found, [[expected, expected]])


@pytest.mark.parametrize("method", ["scan", "associative"])
def test_what_is_not_finite_stays_in_its_episode(method):
    reward, bootstrap = jnp.arange(6.0), jnp.ones((6, 2))
    truncated = jnp.zeros(6, bool).at[2].set(True)
    clean = episodic_targets(reward, bootstrap, truncated & False, truncated, gamma=0.9, method=method)
    spoiled = bootstrap.at[4].set(jnp.nan)
    found = episodic_targets(reward, spoiled, truncated & False, truncated, gamma=0.9, method=method)
    np.testing.assert_array_equal(found[:3], clean[:3])
    assert np.isnan(found[4]).all()
    ended = truncated.at[4].set(True)
    found = episodic_targets(reward, spoiled, ended, truncated & False, gamma=0.9, method=method)
    assert np.isfinite(found).all(), "a bootstrap behind a termination is not read"


def test_targets_of_stored_steps_ignore_what_is_not_stored():
    data = trajectories(9, columns=12)
    valid = data[4]
    spoiled = [x.copy() for x in data]
    spoiled[0][~valid], spoiled[1][~valid] = np.nan, np.inf
    spoiled[2][~valid] = True
    for method in ("scan", "associative"):
        clean, found = (found_by(episodic_targets, d, gamma=0.9, method=method) for d in (data, spoiled))
        np.testing.assert_array_equal(found, clean)


def test_wrong_arguments_are_named():
    reward, bootstrap, flag = jnp.zeros(3), jnp.zeros((3, 2)), jnp.zeros(3, bool)
    for change, message in (
        ({"bootstrap": jnp.zeros((3, 3))}, r"bootstrap must be \(3, 'K'\) with 1 or 2 estimators K last, got \(3, 3\)"),
        ({"bootstrap": jnp.zeros(3)}, r"got \(3,\)"),
        ({"reward": jnp.zeros(())}, "at least one step"),
        ({"truncated": jnp.zeros(3)}, "truncated must be bool of shape"),
        ({"valid": jnp.ones(2, bool)}, r"valid must be bool of shape \(3,\), got bool of shape \(2,\)"),
        ({"own": "choice"}, "unknown own 'choice'; accepted: selector, evaluator"),
        ({"method": "loop"}, "unknown method 'loop'; accepted: auto, scan, associative"),
    ):
        arguments = {"reward": reward, "bootstrap": bootstrap, "terminated": flag, "truncated": flag, **change}
        with pytest.raises(ValueError, match=message):
            episodic_targets(**arguments, gamma=0.9)
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1, got 0"):
        capped_episodic_targets(reward, bootstrap, flag, flag, gamma=0.9, max_steps=0)


def test_groups_of_critics():
    """Critics 0 and 1 give and get the first target, 2 and 3 the second."""
    values = jnp.array([[1.0, 5.0], [2.0, 4.0], [9.0, 7.0], [8.0, 9.0]])
    np.testing.assert_array_equal(group_minimum(values), [[1.0, 8.0], [4.0, 7.0]])
    np.testing.assert_array_equal(group_minimum(values, 1), [[1.0], [4.0]])
    np.testing.assert_array_equal(group_minimum(values[:2]), [[1.0, 2.0], [5.0, 4.0]])
    targets = jnp.array([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])
    np.testing.assert_array_equal(critic_targets(targets, 4), [[10.0, 30.0, 50.0]] * 2 + [[20.0, 40.0, 60.0]] * 2)
    for call in (lambda: group_minimum(values[:3]), lambda: critic_targets(targets, 3)):
        with pytest.raises(ValueError, match="equal groups, got 3 critics for 2 groups"):
            call()


def test_overshooting_costs_four_times_as_much():
    prediction, target = jnp.array([3.0, -1.0, 1.0]), jnp.ones(3)
    np.testing.assert_allclose(asymmetric_loss(prediction, target), [4.0, 1.0, 0.0])
    leaky = jnp.where(prediction - target > 0, prediction - target, 0.5 * (prediction - target))
    np.testing.assert_allclose(asymmetric_loss(prediction, target), jnp.square(leaky))
    np.testing.assert_allclose(asymmetric_loss(prediction, target, kappa=1.0), [4.0, 4.0, 0.0])
    # Huber: |δ| - ½ beyond 1.
    np.testing.assert_allclose(asymmetric_loss(prediction, target, kappa=0.5, kind="huber"), [1.5, 0.75, 0.0])
    slope = jax.grad(lambda p: asymmetric_loss(p, target).sum())(prediction)
    np.testing.assert_allclose(slope, [4.0, -1.0, 0.0])
    assert (jax.grad(lambda t: asymmetric_loss(prediction, t).sum())(target) == 0).all()
    with pytest.raises(ValueError, match=r"equal shapes, got \(3,\) and \(3, 1\)"):
        asymmetric_loss(prediction, target[:, None])
    with pytest.raises(ValueError, match="unknown kind 'mae'; accepted: mse, huber"):
        asymmetric_loss(prediction, target, kind="mae")


def test_a_jump_is_that_many_moving_averages():
    assert float(target_jump(0.005, 200)) == pytest.approx(0.633, abs=1e-3)
    target = 0.0
    for _ in range(200):
        target += 0.005 * (1.0 - target)
    assert float(target_jump(0.005, 200)) == pytest.approx(target, rel=1e-6)
    assert float(target_jump(1e-9, 1)) == pytest.approx(1e-9, rel=1e-6)
    assert float(target_jump(1.0, 3)) == 1.0
