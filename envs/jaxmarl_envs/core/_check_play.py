"""The part of the conformance check that uses random play."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core._check_trees import close, differences, equal, on_host
from jaxmarl_envs.core._environment import Environment, Params, Wrapper
from jaxmarl_envs.core._episode import random_action
from jaxmarl_envs.core._types import EnvSpec, TimeStep
from jaxmarl_envs.core._vector import VectorEnv, environment_keys
from jaxmarl_envs.core._wrappers import TimeLimit

NUM_ENVS = 8
_LOOP_STEPS = 4
_LOOP_ENVS = (0, NUM_ENVS - 1)  # two, since a batching error may show the first instance's values in all
_LONGEST = 5_000  # maximum length of an episode that is played to its limit
_LEAST_ENDS = 4  # minimum number of ended episodes before their metrics are judged
LARGE = 10.0
"""Entries of observations and states beyond this magnitude cause a warning."""


def random_play(env: Environment, spec: EnvSpec, key: jax.Array, params: Params, num_steps: int) -> dict[str, Any]:
    """Random play [T, E, ...] twice with the same keys: `plain` continues past the ends, `vector` restarts.

    `start` and `start_state` are the results of `reset` [E, ...], `states` the states of `_LOOP_ENVS` after each step
    of `plain`.
    """
    vector = VectorEnv(env, NUM_ENVS)
    reset_key, scan_key = jax.random.split(key)
    start_state, start = jax.vmap(env.reset, (0, None))(environment_keys(reset_key, NUM_ENVS), params)

    def body(carry: Any, key: jax.Array) -> Any:
        state, timestep, restarting = carry
        action_key, step_key = jax.random.split(key)
        action = random_action(spec, action_key, timestep.action_mask)
        restarting_action = random_action(spec, action_key, restarting.timestep.action_mask)
        keys = environment_keys(step_key, NUM_ENVS)
        state, timestep = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params)
        restarting = vector.step(step_key, restarting, restarting_action, params)
        watched = jax.tree.map(lambda x: x[jnp.array(_LOOP_ENVS)], state)
        return (state, timestep, restarting), (timestep, restarting.timestep, action, watched)

    carry = start_state, start, vector.reset(reset_key, params)
    _, (plain, restarted, action, states) = jax.lax.scan(body, carry, jax.random.split(scan_key, num_steps))
    return {
        "start": start,
        "start_state": start_state,
        "plain": plain,
        "vector": restarted,
        "action": action,
        "states": states,
    }


def play_in_loop(env: Environment, key: jax.Array, played: dict[str, Any], params: Params) -> list[list[Any]]:
    """For each of `_LOOP_ENVS`, pairs (state, TimeStep) of `reset` and of the first steps, with one call each.

    The first step starts from the state returned by `reset` here, later ones from the recorded states.
    """
    reset, step = jax.jit(lambda k, p: env.reset(k, p)), jax.jit(lambda k, s, a, p: env.step(k, s, a, p))
    reset_key, scan_key = jax.random.split(key)
    step_keys = jax.random.split(scan_key, len(played["action"]))[:_LOOP_STEPS]
    pairs = []
    for place, i in enumerate(_LOOP_ENVS):
        pairs.append([on_host(reset(environment_keys(reset_key, NUM_ENVS)[i], params))])
        state, _ = pairs[-1][0]
        for t, step_key in enumerate(step_keys):
            step_key = environment_keys(jax.random.split(step_key)[1], NUM_ENVS)[i]
            pairs[-1].append(on_host(step(step_key, state, played["action"][t, i], params)))
            state = jax.tree.map(lambda x, at=(t, place): x[at], played["states"])
    return pairs


def check_batching(played: dict[str, Any], loop: list[list[Any]]) -> list[str]:
    """The first few differences between `random_play` and `play_in_loop`."""
    failures = []
    for place, (i, pairs) in enumerate(zip(_LOOP_ENVS, loop)):
        for t, (state, timestep) in enumerate(pairs):
            if t == 0:
                call = "reset"
                shown, reached = jax.tree.map(lambda x, at=i: x[at], (played["start"], played["start_state"]))
            else:
                call = f"step {t}"
                shown = jax.tree.map(lambda x, at=(t - 1, i): x[at], played["plain"])
                reached = jax.tree.map(lambda x, at=(t - 1, place): x[at], played["states"])
            where = differences(shown, timestep, close=close)
            # Each array of a state has numbers of one kind: forces of hundreds of newtons may cancel.
            inside = differences(reached, state, close=partial(close, most=np.inf))
            where += [f"state{path}" for path in inside]
            failures += [
                f"vmap and scan disagree with a Python loop over step: {path} at {call} of instance {i}"
                for path in where
            ]
    return failures[:3]


def check_values(spec: EnvSpec, played: dict[str, Any]) -> list[str]:
    failures = []
    low, high = spec.obs_bounds
    n, limits = spec.n_agents, spec.agent_num_actions
    for where, timestep in (("reset", played["start"]), ("step", played["plain"])):
        for field, values in (
            *((f, getattr(timestep, f)) for f in ("obs", "state", "reward", "final_obs", "final_state")),
            *((f"metrics[{k!r}]", v) for k, v in timestep.metrics.items()),
        ):
            bad = ~np.isfinite(values)
            if bad.any():
                failures.append(f"{where}: {field} has {_short_values(values[bad])}, expected finite numbers")
            elif field in ("obs", "state") and values.size and (values.min() < low or values.max() > high):
                failures.append(
                    f"{where}: {field} spans [{values.min():g}, {values.max():g}], outside spec.obs_bounds "
                    f"[{low:g}, {high:g}]"
                )
        mask = timestep.action_mask
        empty = ~mask.any(axis=-1)
        if empty.any():
            agents = sorted(set(np.nonzero(empty)[-1].tolist()))
            failures.append(
                f"{where}: action_mask allows nothing for agent(s) {agents}; expected at least one legal action each, "
                "also once the episode is over"
            )
        if not spec.is_discrete and (mask != spec.real_actions).any():
            failures.append(
                f"{where}: action_mask must be true for real entries of continuous actions and false for padded ones, at "
                f"all times (spec.real_actions); expected {spec.actions_per_agent} true ones, got "
                f"{sorted(set(map(tuple, mask.sum(-1).reshape(-1, n).tolist())))[:3]}"
            )
        if limits and any(mask[..., i, limits[i] :].any() for i in range(n)):
            failures.append(f"{where}: action_mask allows padded actions beyond spec.agent_num_actions {limits}")
    start = played["start"]
    if start.reward.any():
        failures.append(f"reset: reward is {_short_values(start.reward[start.reward != 0])}, expected 0")
    if (start.terminated | start.truncated).any():
        failures.append("reset: the episode is over at once; expected terminated and truncated to be false")
    return failures


def _short_values(values: np.ndarray) -> str:
    return ", ".join(f"{v:g}" for v in np.unique(values)[:3])


def check_ends(spec: EnvSpec, plain: TimeStep, num_steps: int) -> list[str]:
    failures = []
    if (plain.terminated & plain.truncated).any():
        failures.append(
            "terminated and truncated are both true in one step; expected at most one (terminated where the task ends)"
        )
    done = plain.terminated | plain.truncated
    limit = spec.episode_limit
    if limit is not None and num_steps >= limit and not done[:limit].any(axis=0).all():
        failures.append(_too_long(np.where(done.any(axis=0), done.argmax(axis=0) + 1, num_steps).max(), limit))
    for shown, final in (("obs", "final_obs"), ("state", "final_state"), ("action_mask", "final_mask")):
        if not equal(getattr(plain, shown), getattr(plain, final)):
            failures.append(f"{final} differs from {shown}: only auto-reset may show anything else than the step's own")
    return failures


def _too_long(steps: int, limit: int) -> str:
    return (
        f"an episode of random play ran for {steps} steps or more, but spec.episode_limit is {limit}: "
        "terminate or truncate there (jaxmarl_envs.TimeLimit)"
    )


def is_cut_at(env: Environment, limit: int | None) -> bool:
    """Whether a `TimeLimit` around the task enforces its episode limit."""
    while isinstance(env, Wrapper):
        if isinstance(env, TimeLimit) and env.limit == limit:
            return True
        env = env.env
    return False


def check_long_episodes(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    """Checks the limit like `check_ends`, with two episodes played up to it, without recording their steps."""
    limit, num_envs = spec.episode_limit or 0, len(_LOOP_ENVS)
    most = min(limit, _LONGEST)

    def step(carry: Any) -> Any:
        t, done, state, timestep, key = carry
        action_key, step_key, key = jax.random.split(key, 3)
        action = random_action(spec, action_key, timestep.action_mask)
        keys = environment_keys(step_key, num_envs)
        state, timestep = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params)
        return t + 1, done | timestep.done, state, timestep, key

    @jax.jit
    def longest(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        reset_key, key = jax.random.split(key)
        start = jax.vmap(env.reset, (0, None))(environment_keys(reset_key, num_envs), params)
        carry = jnp.zeros((), jnp.int32), jnp.zeros(num_envs, bool), *start, key
        t, done, *_ = jax.lax.while_loop(lambda c: ~c[1].all() & (c[0] < most), step, carry)
        return t, done

    t, done = longest(key)
    return [] if done.all() or most < limit else [_too_long(int(t), limit)]


def check_auto_reset(played: dict[str, Any]) -> list[str]:
    """Up to the first end both kinds of play must agree, and at the end its values must be kept."""
    plain, vector = played["plain"], played["vector"]
    done = plain.terminated | plain.truncated
    first = np.cumsum(done, axis=0) - done == 0  # [T, E] up to and including the first end
    failures = []
    for field in ("reward", "terminated", "truncated", "final_obs", "final_state", "final_mask"):
        if not close(getattr(plain, field)[first], getattr(vector, field)[first]):
            failures.append(f"auto-reset changes {field}: reset and step do not depend on their arguments alone")
    return failures


def episode_returns(vector: TimeStep) -> np.ndarray:
    """Undiscounted returns (mean over agents) of all episodes that ended."""
    reward, done = vector.reward.mean(axis=-1), vector.terminated | vector.truncated
    returns, total = [], np.zeros(reward.shape[1])
    for r, d in zip(reward, done):
        total = total + r
        returns += total[d].tolist()
        total = np.where(d, 0.0, total)
    return np.array(returns)


def large_entries(played: dict[str, Any]) -> list[str]:
    """One line each for obs and state if entries are beyond `LARGE`: which, and their range."""
    start, vector = played["start"], played["vector"]
    warnings = []
    for field in ("obs", "state"):
        first = getattr(start, field)
        seen = np.concatenate([first[None], getattr(vector, field), getattr(vector, f"final_{field}")])  # [T, E, ...]
        low, high = seen.min(axis=(0, 1)), seen.max(axis=(0, 1))
        size = np.maximum(np.abs(low), np.abs(high))
        count = int((size > LARGE).sum())
        if count:
            largest = [np.unravel_index(i, size.shape) for i in np.argsort(-size, axis=None)[: min(count, 3)]]
            named = ", ".join(f"[{', '.join(map(str, at))}] in [{low[at]:.4g}, {high[at]:.4g}]" for at in largest)
            warnings.append(
                f"{count} of {size.size} entries of {field} go beyond {LARGE:g} in magnitude, most of all {named}: "
                "networks learn badly from large inputs, so scale them"
            )
    return warnings


def last_step_metrics(vector: TimeStep) -> list[str]:
    """One line per metric that seems to describe single steps: it rose in some episode, but is 0 at the end of all of
    them. Episodes that have not ended say nothing.
    """
    done = vector.terminated | vector.truncated
    is_first = np.concatenate([np.ones_like(done[:1]), done[:-1]])
    ends_later = np.maximum.accumulate(done[::-1])[::-1]
    warnings = []
    for name, values in vector.metrics.items():
        ends = values[done]
        rises = np.concatenate([np.zeros_like(done[:1]), values[1:] > values[:-1]]) & ~is_first & ends_later
        if len(ends) >= _LEAST_ENDS and not ends.any() and rises.any():
            warnings.append(
                f"metrics[{name!r}] is 0 at the end of all {len(ends)} episodes and was not before: rows hold what it is at "
                "the end, so let it describe the episode so far (jaxmarl_envs.EpisodeMetrics)"
            )
    return warnings
