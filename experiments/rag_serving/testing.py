"""Tests: rules and learned policies play every window of an environment once, and are compared by window."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import EpisodeStatistics, TimeStep, seed_key
from numpy.typing import NDArray

from jaxmarl_suite import analysis, runner

Metrics = dict[str, NDArray[np.float64]]
"""Metrics of whole episodes by name, [W] or [S, W] each: by window, and by seed if policies were learned."""
Act = Callable[[Any, TimeStep, jax.Array], tuple[jax.Array, Any]]


def play_windows(env: Any, params: Any, act: Act, carry: Any) -> dict[str, jax.Array]:
    """[W] metrics of one episode in each window of `params`. Traced; arguments as for `runner.play`."""

    def one(window: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        own = dataclasses.replace(params, windows=window[None])
        found, *_ = runner.play(env, act, carry, own, key, episodes=1, max_steps=env.spec.episode_limit)
        return {name: values[0] for name, values in found.items()}

    windows = jnp.asarray(params.windows)
    return jax.vmap(one)(windows, jax.random.split(seed_key(0), windows.shape[0]))


def rule_metrics(env_id: str, names: Sequence[str], env_options: Mapping[str, Any]) -> dict[str, Metrics]:
    """[W] metrics of each rule in every window, by rule. One program plays them all, since compiling takes longest."""
    env = EpisodeStatistics(jaxmarl_envs.make(env_id, **env_options))
    rules = [jax.vmap(env.unwrapped.rules[name]) for name in names]

    @jax.jit
    def program(index: jax.Array) -> dict[str, jax.Array]:
        def act(carry: Any, timestep: TimeStep, _: jax.Array) -> tuple[jax.Array, Any]:
            return jax.lax.switch(index, rules, timestep), carry

        return play_windows(env, env.default_params, act, ())

    return {name: _to_numpy(program(jnp.int32(index))) for index, name in enumerate(names)}


def learned_metrics(run: Path, env_options: Mapping[str, Any]) -> Metrics:
    """[S, W] metrics of each seed's best policy (of those evaluated in training) in every window."""
    waves = runner.restore_policies(run, eval_env_options=env_options)
    taken = [(wave, runner.take_policy(wave, lane.index)) for wave in waves for lane in wave.lanes]
    env, (algorithm, _, context) = waves[0].group.eval_env, taken[0][1]
    params = context.env_params  # not those of `env`, which may serve several environments of equal sizes
    policies, contexts = jax.tree.map(lambda *x: jnp.stack(x), *[one[1:] for _, one in taken])

    def one_seed(policy: Any, ctx: Any) -> dict[str, jax.Array]:
        def act(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any]:
            return algorithm.act(policy, carry, timestep, key, ctx)

        return play_windows(env, params, act, algorithm.init_carry(1))

    return _to_numpy(jax.jit(lambda: jax.vmap(one_seed)(policies, contexts))())


def mean_interval(values: NDArray[np.float64], resamples: int = 4000) -> analysis.Estimate:
    """Mean of values [W] or [S, W] with a 95 % interval from a bootstrap that resamples windows and, independently, seeds.

    Of paired differences, the interval says whether one policy is better than the other.
    """
    values = np.atleast_2d(values)
    rng = np.random.default_rng(0)
    seeds = rng.integers(len(values), size=(resamples, len(values), 1))
    windows = rng.integers(values.shape[1], size=(resamples, 1, values.shape[1]))
    low, high = np.percentile(values[seeds, windows].mean(axis=(1, 2)), [2.5, 97.5])
    return analysis.Estimate(float(values.mean()), float(low), float(high), values.size)


def _to_numpy(metrics: Mapping[str, jax.Array]) -> Metrics:
    return {name: np.asarray(values, np.float64) for name, values in metrics.items()}
