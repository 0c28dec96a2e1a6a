"""Metrics of episodes: wrappers that compute them, and the names that they may have."""

import dataclasses
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._environment import Params, Wrapper
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass

RESERVED = ("return", "length", "episode_return", "episode_length")
"""Names that rows of training and evaluation use for the metrics defined here."""


def taken_metrics(spec: EnvSpec) -> str:
    """The problem with the names of the metrics of `spec`; empty if there is none.

    `/` separates a source from a metric: `learner/entropy`, `teacher/return`.
    """
    taken = [name for name in spec.metrics if name in RESERVED or "/" in name]
    if not taken:
        return ""
    return (
        f"metrics cannot be called {', '.join(map(repr, taken))}: {', '.join(RESERVED)} and all names with '/' are the "
        "runner's; rename them"
    )


@pytree_dataclass
class EpisodeMetricsState:
    """State of `EpisodeMetrics`."""

    inner: Any
    t: jax.Array  # [] int32, steps taken
    totals: dict[str, jax.Array]  # [] float32 each


@dataclasses.dataclass(frozen=True)
class EpisodeMetrics(Wrapper):
    """Turns metrics of single steps into metrics of the episode so far, which at its end describe the whole episode.

    Rows of training and evaluation contain the values at the last step of an episode.
    """

    keeps_observations: ClassVar[bool] = True

    sums: tuple[str, ...] = ()
    """Metrics to sum over the steps, like a part of the reward."""
    means: tuple[str, ...] = ()
    """Metrics to average over the steps, like "is upright now"."""

    def __post_init__(self) -> None:
        """Rejects unknown names, and names given twice."""
        names = (*self.sums, *self.means)
        unknown = [name for name in names if name not in self.env.spec.metrics]
        if unknown or len(set(names)) < len(names):
            raise ValueError(
                f"EpisodeMetrics around {self.env.spec.id!r}: sums and means must name each of the metrics "
                f"{self.env.spec.metrics} at most once, got sums={self.sums} and means={self.means}"
            )

    def inner_state(self, state: EpisodeMetricsState) -> Any:
        """The state of the wrapped environment."""
        return state.inner

    def reset(self, key: jax.Array, params: Params) -> tuple[EpisodeMetricsState, TimeStep]:
        """A new episode with nothing counted."""
        inner, timestep = self.env.reset(key, params)
        zero = jnp.zeros((), jnp.float32)
        totals = dict.fromkeys((*self.sums, *self.means), zero)
        return EpisodeMetricsState(inner, jnp.zeros((), jnp.int32), totals), self._show(timestep, totals)

    def step(
        self, key: jax.Array, state: EpisodeMetricsState, action: jax.Array, params: Params
    ) -> tuple[EpisodeMetricsState, TimeStep]:
        """The next step."""
        inner, timestep = self.env.step(key, state.inner, action, params)
        t = state.t + 1
        totals = {name: total + timestep.metrics[name] for name, total in state.totals.items()}
        means = {name: totals[name] / t.astype(jnp.float32) for name in self.means}
        return EpisodeMetricsState(inner, t, totals), self._show(timestep, totals | means)

    @staticmethod
    def _show(timestep: TimeStep, counted: dict[str, jax.Array]) -> TimeStep:
        return timestep.replace(metrics={**timestep.metrics, **counted})


@pytree_dataclass
class EpisodeStatisticsState:
    """State of `EpisodeStatistics`."""

    inner: Any
    episode_return: jax.Array  # [] float32, mean over agents
    episode_length: jax.Array  # [] float32, steps


@dataclasses.dataclass(frozen=True)
class EpisodeStatistics(Wrapper):
    """Adds `episode_return` (undiscounted, mean over agents) and `episode_length` (steps) so far to the metrics.

    Where `done` is true, they are those of the whole episode. The runner puts this wrapper around every environment,
    and reports the two as `return` and `length`.
    """

    keeps_observations: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Rejects an environment whose metrics have reserved names."""
        taken = taken_metrics(self.env.spec)
        if taken:
            raise ValueError(f"environment {self.env.spec.id!r}: {taken}")

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with the two metrics."""
        return self.env.spec.replace(metrics=(*self.env.spec.metrics, "episode_return", "episode_length"))

    def inner_state(self, state: EpisodeStatisticsState) -> Any:
        """The state of the wrapped environment."""
        return state.inner

    def reset(self, key: jax.Array, params: Params) -> tuple[EpisodeStatisticsState, TimeStep]:
        """A new episode with nothing counted."""
        inner, timestep = self.env.reset(key, params)
        zero = jnp.zeros((), jnp.float32)
        return EpisodeStatisticsState(inner, zero, zero), self._show(timestep, zero, zero)

    def step(
        self, key: jax.Array, state: EpisodeStatisticsState, action: jax.Array, params: Params
    ) -> tuple[EpisodeStatisticsState, TimeStep]:
        """The next step."""
        inner, timestep = self.env.step(key, state.inner, action, params)
        total, length = state.episode_return + timestep.reward.mean(), state.episode_length + 1
        return EpisodeStatisticsState(inner, total, length), self._show(timestep, total, length)

    @staticmethod
    def _show(timestep: TimeStep, total: jax.Array, length: jax.Array) -> TimeStep:
        return timestep.replace(metrics={**timestep.metrics, "episode_return": total, "episode_length": length})
