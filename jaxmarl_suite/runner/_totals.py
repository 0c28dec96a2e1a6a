"""Metrics of updates, summed on the device until a row is written."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.algorithms import Average, Metrics
from jaxmarl_suite.algorithms.core._types import episode_names


@pytree_dataclass
class Totals:
    """Metrics summed over the updates of one log row. [L] in front."""

    total: dict[str, jax.Array]  # [] float32 each
    weight: dict[str, jax.Array]  # [] float32 each
    first_bad: dict[str, jax.Array]  # [] int32 each: first update at which the metric was not finite, -1 for never


def row_metrics(metrics: Any) -> dict[str, Any]:
    """The metrics of an update by their names in rows: the environment's are bare, the learner's are `learner/NAME`."""
    episodes, learner = metrics if isinstance(metrics, Metrics) else ({}, metrics)
    return {**episode_names(episodes), **{f"learner/{name}": value for name, value in learner.items()}}


def zero_totals(names: list[str]) -> Totals:
    """Empty totals for the metrics of one lane."""
    return Totals(
        {n: jnp.zeros((), jnp.float32) for n in names},
        {n: jnp.zeros((), jnp.float32) for n in names},
        {n: jnp.full((), -1, jnp.int32) for n in names},
    )


def add_metrics(totals: Totals, metrics: Any, update: jax.Array) -> Totals:
    """`totals` after one more update's metrics."""
    total, weight, first_bad = {}, {}, {}
    for name, metric in metrics.items():
        value, amount = metric if isinstance(metric, Average) else (metric, jnp.ones((), jnp.float32))
        total[name] = totals.total[name] + value
        weight[name] = totals.weight[name] + amount
        is_new = ~jnp.isfinite(value) & (totals.first_bad[name] < 0)
        first_bad[name] = jnp.where(is_new, update, totals.first_bad[name])
    return Totals(total, weight, first_bad)
