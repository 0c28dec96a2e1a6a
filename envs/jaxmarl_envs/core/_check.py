"""The conformance check: tests everything that a learner relies on, in a few seconds."""

import dataclasses

import jax
import numpy as np

from jaxmarl_envs.core._check_play import (
    NUM_ENVS,
    check_auto_reset,
    check_batching,
    check_ends,
    check_long_episodes,
    check_values,
    episode_returns,
    is_cut_at,
    large_entries,
    last_step_metrics,
    play_in_loop,
    random_play,
)
from jaxmarl_envs.core._check_traces import (
    check_hashable,
    check_leaks,
    check_purity,
    check_structure,
    large_constants,
    missing_part,
    raised,
    trace_twice,
)
from jaxmarl_envs.core._check_trees import describe, differences, equal, on_host
from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._keys import seed_key
from jaxmarl_envs.core._metrics import EpisodeStatistics, taken_metrics
from jaxmarl_envs.core._types import EnvSpec

CHECKS = (
    "spec: hashable, of the right type",
    "shapes, dtypes and tree structures, as declared and unchanged by step",
    "pure: every trace gives the same program, without side effects",
    "deterministic: equal keys give equal episodes",
    "vmap and scan agree with a Python loop, in what is shown and in the state",
    "metrics: names that are free",
    "finite values, inside the declared bounds",
    "action masks: something legal for every agent at all times",
    "reset: zero reward, not over",
    "ends: never terminated and truncated at once, within episode_limit, safe to step on",
    "final_obs, final_state and final_mask: as shown, and kept by auto-reset",
    "optimum: not beaten by random play",
)


class ProtocolError(ValueError):
    """An environment breaks the protocol; the message lists every problem found."""

    def __init__(self, name: str, failures: list[str]) -> None:
        self.failures = tuple(failures)
        lines = "".join(f"\n  - {failure}" for failure in failures)
        super().__init__(f"environment {name} breaks the protocol in {len(failures)} way(s):{lines}")


@dataclasses.dataclass(frozen=True)
class Report:
    """The checks of `check_environment`, all of which passed."""

    id: str
    num_envs: int
    num_steps: int
    num_episodes: int
    """Episodes of random play that ended."""
    mean_return: float
    """Mean undiscounted return of these episodes; NaN if none ended."""
    warnings: tuple[str, ...] = ()
    """Problems that do not break the protocol but make learning harder."""
    checks: tuple[str, ...] = CHECKS

    def __str__(self) -> str:
        """One line per check and per warning."""
        head = (
            f"{self.id}: ok after {self.num_steps} steps of random play in {self.num_envs} environments "
            f"({self.num_episodes} episodes, mean return {self.mean_return:.4g})"
        )
        lines = [f"  ok  {check}" for check in self.checks] + [f"  warning  {warning}" for warning in self.warnings]
        return "\n".join([head, *lines])


def check_shapes(env: Environment, *, params: Params = None) -> None:
    """The cheap part of `check_environment`: traces `reset` and `step` without compiling or running anything.

    Environments that are not of this package are traced twice, to see that they depend on nothing but their arguments.

    Args:
      env: one instance, not batched.
      params: traced parameters; `env.default_params` if None.

    Raises:
      ProtocolError: a call fails, or its result does not have the shapes, dtypes, metrics and tree structures that the
        spec and the protocol require.
    """
    spec = read_spec(env)
    params = env.default_params if params is None else params
    if failures := check_structure(env, spec, seed_key(20), params) + _taken(env, spec):
        raise ProtocolError(repr(spec.id), failures)
    if not _is_tested_here(env):
        try:
            traces = trace_twice(env, spec, seed_key(20), params)
        except Exception as error:
            raise ProtocolError(repr(spec.id), [raised("a second trace", error)]) from error
        if failures := check_leaks(traces) or check_purity(traces):
            raise ProtocolError(repr(spec.id), failures)


def _is_tested_here(env: Environment) -> bool:
    """Whether the tests of this package check it; robots take seconds to trace."""
    package, *path = type(getattr(env, "unwrapped", env)).__module__.split(".")
    return package == __name__.split(".")[0] and path[:1] != ["adapters"]


def read_spec(env: Environment) -> EnvSpec:
    """The spec of a supposed environment.

    Raises:
      ProtocolError: it has no spec, or lacks another part of the protocol.
    """
    name = type(env).__name__
    lacks = [lack for part in ("spec", "default_params", "reset", "step") if (lack := missing_part(env, part))]
    if lacks:
        raise ProtocolError(name, lacks)
    if not isinstance(env.spec, EnvSpec):
        raise ProtocolError(name, [f"spec is {describe(env.spec)}, expected an EnvSpec"])
    return env.spec


def _taken(env: Environment, spec: EnvSpec) -> list[str]:
    taken = taken_metrics(env.env.spec if isinstance(env, EpisodeStatistics) else spec)
    return [taken] if taken else []


def check_environment(
    env: Environment,
    *,
    params: Params = None,
    key: jax.Array | None = None,
    num_steps: int | None = None,
) -> Report:
    """Checks that `env` follows the protocol, with random play in a few environments; returns a report.

    The first steps are repeated in a Python loop over single instances: `reset` and the first step from the same keys,
    every later step from the state in the batch's scan, so that physics that amplifies rounding from step to step is
    compared as closely as a game on a grid. The `TimeStep` and the whole state are compared: integers, booleans and
    keys must be equal, floats equal up to rounding. The tolerance depends on the largest number in an array, so each
    array of the state should contain numbers of one kind: next to a clock of 10,000, an error of 1 in another entry is
    not noticed. To check that auto-reset changes nothing before an end, two plays of `num_steps` are compared, in
    which rounding does accumulate: choose fewer steps if contacts amplify it.

    Args:
      env: one instance, not batched.
      params: traced parameters; `env.default_params` if None (the optimum is checked only then).
      key: random key; a fixed one if None.
      num_steps: steps of random play; by default enough to pass `episode_limit`, at most 256. If the default is less
        than the limit and there is no `TimeLimit` to enforce it, two more environments are played to their end, for at
        most 5,000 steps.

    Raises:
      ProtocolError: lists every problem, with the value found and the value expected.
    """
    spec = read_spec(env)
    name = repr(spec.id)
    key = seed_key(20) if key is None else key
    at_default = params is None
    params = env.default_params if at_default else params
    is_usual_length = num_steps is None
    if num_steps is None:
        num_steps = min(spec.episode_limit + 2, 256) if spec.episode_limit else 64
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")

    failures = check_hashable(env, spec) + check_structure(env, spec, key, params) + _taken(env, spec)
    if failures:  # nothing can run, or the results would mean nothing
        raise ProtocolError(name, failures)
    try:
        traces = trace_twice(env, spec, key, params)
    except Exception as error:
        raise ProtocolError(name, [raised("a second trace", error)]) from error
    if leaks := check_leaks(traces):
        raise ProtocolError(name, leaks)
    failures, warnings = check_purity(traces), large_constants(env, traces)

    play = jax.jit(lambda key: random_play(env, spec, key, params, num_steps))
    try:
        first, again = on_host(play(key)), on_host(play(key))
        loop = play_in_loop(env, key, first, params)
    except Exception as error:
        problem = raised("random play under jit, vmap and scan", error)
        raise ProtocolError(name, [*failures, *warnings, problem]) from error
    if differences(first, again, close=equal):
        failures.append("not deterministic: the same program with the same key gave different episodes")
    elif not failures:
        failures += check_batching(first, loop)
    failures += check_values(spec, first)
    failures += check_ends(spec, first["plain"], num_steps)
    if is_usual_length and num_steps < (spec.episode_limit or 0) and not is_cut_at(env, spec.episode_limit):
        failures += check_long_episodes(env, spec, key, params)
    failures += check_auto_reset(first)
    returns = episode_returns(first["vector"])
    if at_default and spec.optimum is not None and np.isfinite(returns).all() and len(returns):
        error_bar = 4 * returns.std() / np.sqrt(len(returns)) + 1e-3 * (1 + abs(spec.optimum))
        if returns.mean() > spec.optimum + error_bar:
            failures.append(
                f"spec.optimum is {spec.optimum:g}, but random play returned {returns.mean():g} on average over "
                f"{len(returns)} episodes"
            )
    if failures:
        raise ProtocolError(name, failures)
    mean = float(returns.mean()) if len(returns) else float("nan")
    warnings += large_entries(first) + last_step_metrics(first["vector"])
    return Report(spec.id, NUM_ENVS, num_steps, len(returns), mean, tuple(warnings))
