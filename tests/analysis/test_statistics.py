"""Statistics against values worked by hand, plain Python loops and scipy."""

from __future__ import annotations

import itertools
import math
import random
import statistics as standard

import numpy as np
import pytest
import scipy.stats

from jaxmarl_suite.analysis import (
    bootstrap_band,
    bootstrap_estimate,
    fraction_estimate,
    iqm,
    median,
    optimality_gap,
    probability_of_improvement,
)


def plain_iqm(scores):
    scores = sorted(scores)
    cut = len(scores) // 4
    return standard.fmean(scores[cut : len(scores) - cut])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0, 6.0], 3.0),  # too few to drop any
        ([0.0, 1.0, 3.0, 100.0], 2.0),
        ([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 900.0], 3.5),
    ],
)
def test_iqm_by_hand(scores, expected):
    assert iqm(scores) == pytest.approx(expected)


def test_iqm_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    for size in range(1, 14):
        scores = rng.normal(size=(3, size))
        np.testing.assert_allclose(iqm(scores, axis=1), [plain_iqm(row) for row in scores])
        assert iqm(scores) == pytest.approx(plain_iqm(scores.ravel()))
    with pytest.raises(ValueError, match="no scores"):
        iqm([])


def test_median_and_optimality_gap_by_hand():
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert optimality_gap([0.5, 1.0, 3.0]) == pytest.approx(0.5 / 3)  # what exceeds the target makes up for nothing
    np.testing.assert_allclose(optimality_gap([[0.0, 10.0], [10.0, 10.0]], axis=1, target=10.0), [5.0, 0.0])


def test_bootstrap_of_two_scores_is_known():
    # Means of resamples of {0, 1} are 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    wide = bootstrap_estimate([[0.0, 1.0]], np.mean, resamples=4000)
    assert (wide.value, wide.low, wide.high, wide.count) == (0.5, 0.0, 1.0, 2)
    narrow = bootstrap_estimate([[0.0, 1.0]], np.mean, confidence=0.4, resamples=4000)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_bootstrap_approaches_the_exhaustive_one():
    tasks = [[0.1, 0.9, 0.4], [2.0, 3.5]]
    draws = itertools.product(itertools.product(tasks[0], repeat=3), itertools.product(tasks[1], repeat=2))
    every = [plain_iqm([*first, *second]) for first, second in draws]  # 27 x 4 resamples, equally likely
    for confidence in (0.5, 0.8, 0.95):
        found = bootstrap_estimate(tasks, confidence=confidence, resamples=40000)
        for end, below in ((found.low, (1 - confidence) / 2), (found.high, (1 + confidence) / 2)):
            # The distribution is discrete: a quantile has at most its share below it, at least its share up to it.
            assert np.mean([value < end - 1e-9 for value in every]) <= below + 0.01
            assert np.mean([value <= end + 1e-9 for value in every]) >= below - 0.01


def test_bootstrap_matches_a_plain_loop_in_distribution():
    tasks = [np.random.default_rng(1).normal(size=10), np.random.default_rng(2).normal(5.0, 3.0, size=6)]
    source = random.Random(0)
    values = sorted(plain_iqm([x for task in tasks for x in source.choices(task, k=len(task))]) for _ in range(4000))
    found = bootstrap_estimate(tasks, resamples=4000)
    assert found.value == pytest.approx(plain_iqm(np.concatenate(tasks)))
    assert found.low == pytest.approx(values[100], abs=0.15)
    assert found.high == pytest.approx(values[3900], abs=0.15)


def test_bootstrap_of_one_task_matches_scipy():
    scores = np.random.default_rng(3).normal(size=20)
    reference = scipy.stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=9999, rng=0)
    found = bootstrap_estimate([scores], np.mean, resamples=9999)
    interval = reference.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.02)


def test_strata_are_resampled_within_themselves():
    # Equal scores within each task: no resample can differ, though the tasks lie far apart.
    found = bootstrap_estimate([[1.0] * 5, [9.0] * 5], np.mean)
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)


def test_bootstrap_is_deterministic_and_its_seed_matters():
    scores = [np.random.default_rng(0).normal(size=9)]
    assert bootstrap_estimate(scores, seed=4) == bootstrap_estimate(scores, seed=4)
    assert bootstrap_estimate(scores, seed=4) != bootstrap_estimate(scores, seed=5)


def test_a_single_seed_has_a_value_but_no_interval():
    found = bootstrap_estimate([[2.0], [4.0]], np.mean)
    assert found.value == 3.0
    assert math.isnan(found.low) and math.isnan(found.high) and not found.has_interval
    band = bootstrap_band([np.ones((1, 3))])
    assert band.value.tolist() == [1, 1, 1] and not band.has_interval


def test_a_band_is_the_estimates_of_its_columns():
    rng = np.random.default_rng(0)
    tasks = [rng.normal(size=(5, 4)), rng.normal(size=(3, 4))]
    band = bootstrap_band(tasks, seed=2)
    assert band.count == 8 and band.has_interval
    for t in range(4):
        one = bootstrap_estimate([task[:, t] for task in tasks], seed=2)
        assert (band.value[t], band.low[t], band.high[t]) == (one.value, one.low, one.high)


def test_probability_of_improvement_by_hand_and_by_loop():
    found = probability_of_improvement([[1.0, 3.0], [0.0]], [[2.0, 3.0], [0.0]])
    assert found.value == pytest.approx((1.5 / 4 + 0.5) / 2)
    rng = np.random.default_rng(0)
    xs = [rng.integers(0, 5, 7).astype(float) for _ in range(3)]
    ys = [rng.integers(0, 5, 4).astype(float) for _ in range(3)]
    by_task = [
        sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in x_s for y in y_s) / (len(x_s) * len(y_s))
        for x_s, y_s in zip(xs, ys, strict=True)
    ]
    found = probability_of_improvement(xs, ys)
    assert found.value == pytest.approx(standard.fmean(by_task))
    assert found.low < found.value < found.high
    turned = probability_of_improvement(ys, xs)
    assert turned.value == pytest.approx(1 - found.value)


def test_probability_of_improvement_interval_matches_a_plain_loop():
    x, y = [1.0, 2.0, 5.0, 7.0], [0.0, 3.0, 6.0]
    source = random.Random(1)
    values = []
    for _ in range(4000):
        drawn_x, drawn_y = source.choices(x, k=4), source.choices(y, k=3)
        values.append(sum(a > b for a in drawn_x for b in drawn_y) / 12)
    found = probability_of_improvement([x], [y], resamples=4000)
    low, high = np.percentile(values, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05)


def test_probability_of_improvement_degenerate():
    certain = probability_of_improvement([[2.0, 2.0]], [[1.0, 1.0]])
    assert (certain.value, certain.low, certain.high) == (1.0, 1.0, 1.0)
    assert not probability_of_improvement([[2.0]], [[1.0]]).has_interval
    with pytest.raises(ValueError, match="same tasks for both; got 1 and 2"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])


@pytest.mark.parametrize("method", ["exact", "wilson"])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 8), (3, 8), (8, 8), (17, 40)])
def test_fraction_intervals_match_scipy(successes, trials, method):
    reference = scipy.stats.binomtest(successes, trials).proportion_ci(method=method)
    found = fraction_estimate(successes, trials, method=method)
    assert found.value == successes / trials and found.count == trials
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_exact_fraction_by_hand():
    # All of n: the lower end solves low ** n = tail.
    assert fraction_estimate(8, 8).low == pytest.approx(0.025 ** (1 / 8))
    assert fraction_estimate(0, 5).high == pytest.approx(1 - 0.025 ** (1 / 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fraction_estimate(3, 2), "got 3 of 2"),
        (lambda: fraction_estimate(0, 0), "got 0 of 0"),
        (lambda: fraction_estimate(1, 2, method="guess"), "unknown interval method 'guess'"),
        (lambda: bootstrap_estimate([]), "at least one score"),
        (lambda: bootstrap_estimate([[1.0], []]), "at least one score"),
        (lambda: bootstrap_estimate([[1.0, math.nan]]), "task 0 are not all finite"),
        (lambda: bootstrap_estimate([[1.0]], confidence=95), "between 0 and 1; got 95"),
        (lambda: bootstrap_estimate([[1.0]], resamples=0), "at least 1; got 0"),
        (lambda: bootstrap_band([np.ones((2, 3)), np.ones((2, 4))]), r"task 1 have shape \(2, 4\)"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(1,), (3,), (4,), (7,), (8, 5), (9, 3, 2)])
def test_iqm_matches_scipy(shape):
    scores = np.random.default_rng(0).normal(size=shape)
    for axis in (None, *range(len(shape))):
        np.testing.assert_allclose(iqm(scores, axis), scipy.stats.trim_mean(scores, 0.25, axis=axis), rtol=1e-12)


def test_iqm_of_nan_is_nan():
    assert np.isnan(iqm([1.0, 2.0, 3.0, np.nan]))
