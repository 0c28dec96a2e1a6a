"""Statistics for few seeds: interquartile means, stratified bootstrap intervals and intervals for fractions.

The choices follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021): point
estimates by the interquartile mean, 95 % percentile intervals from a bootstrap that resamples seeds within each task.
Scores are passed as *strata*: a sequence with one array per task, whose leading axis is the seeds of that task. Tasks
may have different numbers of seeds. Everything is deterministic given `seed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[..., Any]
"""A function `(scores, axis=...)` that reduces one axis, such as `iqm`, `np.median` or `np.mean`."""

DEFAULT_CONFIDENCE = 0.95
DEFAULT_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A point estimate with its confidence interval.

    `low` and `high` are nan if there is no interval (a single seed): a width of zero would claim certainty.
    `count` is the number of scores behind the estimate.
    """

    value: float
    low: float
    high: float
    count: int

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True)
class Band:
    """A point estimate with its interval for each of `T` evaluations; `low` and `high` are nan for a single seed."""

    value: Array  # [T]
    low: Array  # [T]
    high: Array  # [T]
    count: int

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known everywhere."""
        return not bool(np.isnan(self.low).any() or np.isnan(self.high).any())


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean: the mean after dropping `floor(n / 4)` scores at each end.

    With fewer than four scores nothing is dropped, so it is the mean; nan if any score is nan. Reduces `axis`, or
    everything for None.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("interquartile mean of no scores")
    # scipy.stats.trim_mean gives the same, but takes a second to import in the middle of a run.
    along = values.reshape(-1) if axis is None else np.moveaxis(values, axis, -1)
    dropped = along.shape[-1] // 4
    kept = np.sort(along, axis=-1)[..., dropped : along.shape[-1] - dropped]
    return np.where(np.isnan(along).any(axis=-1), np.nan, kept.mean(axis=-1))[()]


def median(scores: ArrayLike, axis: int | None = None) -> Any:
    """Median over `axis`, or over everything for None."""
    return np.median(np.asarray(scores, dtype=np.float64), axis=axis)


def optimality_gap(scores: ArrayLike, axis: int | None = None, *, target: float = 1.0) -> Any:
    """Mean shortfall below `target`; scores above the target count as having reached it."""
    return np.mean(np.maximum(target - np.asarray(scores, dtype=np.float64), 0.0), axis=axis)


def bootstrap_estimate(
    strata: Sequence[ArrayLike],
    statistic: Statistic = iqm,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate of `statistic` over all scores, with a stratified percentile bootstrap interval.

    Args:
        strata: one array `[S]` per task; the statistic is taken over the scores of all tasks together.
        statistic: reduces the last axis of `[resamples, scores]`.
        confidence: coverage of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: no scores, a score that is not finite, or an option out of range.
    """
    columns = [np.asarray(scores, dtype=np.float64).reshape(-1, 1) for scores in strata]
    band = bootstrap_band(columns, statistic, confidence=confidence, resamples=resamples, seed=seed)
    return Estimate(float(band.value[0]), float(band.low[0]), float(band.high[0]), band.count)


def bootstrap_band(
    strata: Sequence[ArrayLike],
    statistic: Statistic = iqm,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Band:
    """Estimates along a curve, each with a pointwise stratified bootstrap interval.

    Args:
        strata: one array `[S, T]` per task, all with the same `T`. A resample draws whole seeds: the same ones for
            every evaluation.
        statistic: as for `bootstrap_estimate`.
        confidence: pointwise coverage of the band, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: no scores, a score that is not finite, or an option out of range.
    """
    _check_options(confidence, resamples)
    tasks = [np.asarray(scores, dtype=np.float64) for scores in strata]
    _check_strata(tasks, rank=2)
    count = sum(len(task) for task in tasks)
    value = np.asarray(statistic(np.concatenate(tasks, axis=0), axis=0), dtype=np.float64)
    if all(len(task) == 1 for task in tasks):
        unknown = np.full_like(value, np.nan)
        return Band(value, unknown, unknown.copy(), count)

    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(task), size=(resamples, len(task))) for task in tasks]
    tail = 100 * (1 - confidence) / 2
    low, high = np.empty_like(value), np.empty_like(value)
    for t in range(value.shape[0]):  # one evaluation at a time: [resamples, scores] stays small
        resampled = np.concatenate([task[:, t][drawn] for task, drawn in zip(tasks, draws, strict=True)], axis=1)
        low[t], high[t] = np.percentile(statistic(resampled, axis=1), [tail, 100 - tail])
    return Band(value, low, high, count)


def probability_of_improvement(
    scores_x: Sequence[ArrayLike],
    scores_y: Sequence[ArrayLike],
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Probability that a run of X scores above a run of Y on the same task, averaged over tasks; a tie counts half.

    Args:
        scores_x: one array `[S]` per task.
        scores_y: one array `[S']` per task, in the same order of tasks.
        confidence: coverage of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: seed of the resampling; X and Y are resampled independently.

    Raises:
        ValueError: different numbers of tasks, no scores, or a score that is not finite.
    """
    _check_options(confidence, resamples)
    xs = [np.asarray(scores, dtype=np.float64) for scores in scores_x]
    ys = [np.asarray(scores, dtype=np.float64) for scores in scores_y]
    if len(xs) != len(ys):
        raise ValueError(f"probability of improvement needs the same tasks for both; got {len(xs)} and {len(ys)}")
    _check_strata(xs, rank=1)
    _check_strata(ys, rank=1)
    wins = [(x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :]) for x, y in zip(xs, ys, strict=True)]
    value = float(np.mean([won.mean() for won in wins]))
    count = sum(map(len, xs)) + sum(map(len, ys))
    if all(won.shape == (1, 1) for won in wins):
        return Estimate(value, math.nan, math.nan, count)

    rng = np.random.default_rng(seed)
    resampled = np.zeros(resamples)
    for won in wins:
        # How often each run is drawn: sum over drawn pairs = weights_x . won . weights_y.
        weights_x = rng.multinomial(won.shape[0], np.full(won.shape[0], 1 / won.shape[0]), size=resamples)
        weights_y = rng.multinomial(won.shape[1], np.full(won.shape[1], 1 / won.shape[1]), size=resamples)
        resampled += np.sum((weights_x @ won) * weights_y, axis=1) / won.size
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(resampled / len(wins), [tail, 100 - tail])
    return Estimate(value, float(low), float(high), count)


def fraction_estimate(
    successes: int,
    trials: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    method: Literal["exact", "wilson"] = "exact",
) -> Estimate:
    """The fraction `successes / trials` with a binomial interval, for instance of solved seeds.

    Args:
        successes: number of successes, in `[0, trials]`.
        trials: number of trials, at least 1.
        confidence: coverage of the interval, in (0, 1).
        method: "exact" is Clopper and Pearson's (never covers less than `confidence`), "wilson" the score interval
            (narrower; covers `confidence` on average).

    Raises:
        ValueError: a count or an option out of range.
    """
    _check_options(confidence, 1)
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"a fraction needs 0 <= successes <= trials and trials >= 1; got {successes} of {trials}")
    fraction = successes / trials
    if method == "exact":
        from scipy.stats import beta

        tail = (1 - confidence) / 2
        low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
        high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    elif method == "wilson":
        from scipy.stats import norm

        z = float(norm.ppf(0.5 + confidence / 2))
        center = (fraction + z * z / (2 * trials)) / (1 + z * z / trials)
        radius = z / (1 + z * z / trials) * math.sqrt(fraction * (1 - fraction) / trials + (z / (2 * trials)) ** 2)
        low, high = max(0.0, center - radius), min(1.0, center + radius)
    else:
        raise ValueError(f"unknown interval method {method!r}; accepted: 'exact', 'wilson'")
    return Estimate(fraction, low, high, trials)


def _check_options(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")


def _check_strata(tasks: Sequence[Array], rank: int) -> None:
    if not tasks or any(len(np.atleast_1d(task)) == 0 for task in tasks):
        raise ValueError("every task needs at least one score")
    for index, task in enumerate(tasks):
        if task.ndim != rank or (rank == 2 and task.shape[1] != tasks[0].shape[1]):
            raise ValueError(f"scores of task {index} have shape {task.shape}; expected rank {rank} and equal lengths")
        if not np.isfinite(task).all():
            raise ValueError(f"scores of task {index} are not all finite")
