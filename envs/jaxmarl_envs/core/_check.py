"""Does an environment keep the protocol? Everything a learner relies on, tried in a few seconds."""

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._episode import random_action
from jaxmarl_envs.core._types import EnvSpec, TimeStep
from jaxmarl_envs.core._vector import VectorEnv, environment_keys

_NUM_ENVS = 8
_LOOP_STEPS = 4
_LOOP_ENVS = (0, _NUM_ENVS - 1)  # two, since a slip in batching may show the first instance's values in all
_ROUNDING = 1e-4
"""Relative difference that counts as rounding where one step is compiled alone and within a larger program."""
CHECKS = (
    "spec: hashable, of the right type",
    "shapes, dtypes and tree structures, as declared and unchanged by step",
    "pure: every trace gives the same program, without side effects",
    "deterministic: equal keys give equal episodes",
    "vmap and scan agree with a Python loop, in what is shown and in the state",
    "finite values, inside the declared bounds",
    "action masks: something legal for every agent at all times",
    "reset: zero reward, not over",
    "ends: never terminated and truncated at once, within episode_limit, safe to step on",
    "final_obs, final_state and final_mask: as shown, and kept by auto-reset",
    "optimum: not beaten by random play",
)


class ProtocolError(ValueError):
    """An environment breaks the protocol; the message lists every way that was found."""

    def __init__(self, name: str, failures: list[str]) -> None:
        self.failures = tuple(failures)
        lines = "".join(f"\n  - {failure}" for failure in failures)
        super().__init__(f"environment {name} breaks the protocol in {len(failures)} way(s):{lines}")


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check_environment` tried, all of it passed."""

    id: str
    num_envs: int
    num_steps: int
    num_episodes: int
    """Episodes of random play that ended."""
    mean_return: float
    """Their mean undiscounted return; NaN if none ended."""
    checks: tuple[str, ...] = CHECKS

    def __str__(self) -> str:
        """A line a check."""
        head = (
            f"{self.id}: ok after {self.num_steps} steps of random play in {self.num_envs} environments "
            f"({self.num_episodes} episodes, mean return {self.mean_return:.4g})"
        )
        return "\n".join([head, *(f"  ok  {check}" for check in self.checks)])


def check_environment(
    env: Environment,
    *,
    params: Params = None,
    key: jax.Array | None = None,
    num_steps: int | None = None,
) -> Report:
    """A report that `env` keeps the protocol, from random play in a few environments.

    The first steps are taken once more in a Python loop over single instances: `reset` and the first step from the same
    keys, every later step from the state that the scan over the batch was in, so that physics which amplifies rounding
    from step to step is compared as closely as a game on a grid. Compared are the `TimeStep` and all of the state:
    integers, booleans and keys must be equal, floats up to rounding. What rounding is follows from the largest number of an
    array, so that an array of the state should hold numbers of one kind: beside a clock of 10,000 an error of 1 in another
    entry goes unseen. That auto-reset changes nothing before an end is seen from two plays of `num_steps`, whose rounding
    does grow: where contacts amplify it, give fewer.

    Args:
      env: one instance, not batched.
      params: traced parameters; `env.default_params` if None (the optimum is checked only then).
      key: random key; a fixed one if None.
      num_steps: steps of random play; by default enough to pass `episode_limit`, at most 256.

    Raises:
      ProtocolError: listing everything that is wrong, what came and what was expected.
    """
    name = f"{type(env).__name__}"
    lacks = [lack for part in ("spec", "default_params", "reset", "step") if (lack := _lack(env, part))]
    if lacks:
        raise ProtocolError(name, lacks)
    spec = env.spec
    if not isinstance(spec, EnvSpec):
        raise ProtocolError(name, [f"spec is {_describe(spec)}, expected an EnvSpec"])
    name = repr(spec.id)
    key = jax.random.key(20) if key is None else key
    at_default = params is None
    params = env.default_params if at_default else params
    if num_steps is None:
        num_steps = min(spec.episode_limit + 2, 256) if spec.episode_limit else 64
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")

    failures = _check_structure(env, spec, key, params)
    if failures:  # nothing can run, or nothing that runs means what it should
        raise ProtocolError(name, failures)
    failures = _check_purity(env, spec, key, params)

    play = jax.jit(lambda key: _play(env, spec, key, params, num_steps))
    try:
        first, again = _on_host(play(key)), _on_host(play(key))
        loop = _loop(env, key, first, params)
    except Exception as error:
        raise ProtocolError(
            name, [*failures, f"random play under jit, vmap and scan raised {_short(error)}"]
        ) from error
    if _differences(first, again, close=_equal):
        failures.append("not deterministic: the same program with the same key gave different episodes")
    elif not failures:
        failures += _check_batching(first, loop)
    failures += _check_values(spec, first)
    failures += _check_ends(spec, first["plain"], num_steps)
    failures += _check_auto_reset(first)
    returns = _episode_returns(first["vector"])
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
    return Report(spec.id, _NUM_ENVS, num_steps, len(returns), mean)


def _lack(env: Any, part: str) -> str:
    """What is wrong with an attribute before anything is called; empty if it can be read."""
    try:
        getattr(env, part)
    except Exception as error:
        is_missing = isinstance(error, AttributeError) and not hasattr(type(env), part)
        return f"{part} is missing" if is_missing else f"{part} raised {_short(error)} when read"
    return ""


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else '(no message)'}"


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return f"a {type(value).__name__}"


def _step_arguments(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> tuple[Any, ...]:
    state, _ = jax.eval_shape(lambda k, p: env.reset(k, p), key, params)
    shape = (spec.n_agents,) if spec.is_discrete else (spec.n_agents, spec.action_dim)
    action = jax.ShapeDtypeStruct(shape, jnp.int32 if spec.is_discrete else jnp.float32)
    return key, state, action, params


def _check_structure(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    failures = []
    for part, value in (("spec", spec), ("the environment", env)):
        try:
            hash(value)
        except TypeError as error:
            failures.append(f"{part} is not hashable ({error}): use a frozen dataclass with hashable static fields")
    outputs: dict[str, Any] = {}
    for call, arguments in (
        ("reset", lambda: (key, params)),
        ("step", lambda: _step_arguments(env, spec, key, params)),
    ):
        method = getattr(env, call)
        try:
            output = jax.eval_shape(lambda *a, method=method: method(*a), *arguments())
        except Exception as error:
            return [*failures, f"{call} raised {_short(error)}"]
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], TimeStep)):
            return [*failures, f"{call} returned {_describe(output)}, expected a pair (state, TimeStep)"]
        outputs[call] = output
        failures += [f"{call}: {failure}" for failure in _check_timestep(spec, output[1])]
    before, after = (_by_path(outputs[call][0]) for call in ("reset", "step"))
    structures: list[Any] = [jax.tree.structure(outputs[call][0]) for call in ("reset", "step")]
    expected, structure = structures
    if structure != expected:
        failures.append(f"state: step returns the tree structure {structure}, expected {expected} as from reset")
    failures += [
        f"state{path}: step returns {_describe(after[path])}, expected {_describe(leaf)} as from reset"
        for path, leaf in before.items()
        if path in after and _describe(after[path]) != _describe(leaf)
    ]
    return failures


def _by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _check_timestep(spec: EnvSpec, timestep: TimeStep) -> list[str]:
    n = spec.n_agents
    expected: dict[str, tuple[tuple[int, ...], Any]] = {
        "obs": ((n, *spec.obs_shape), jnp.float32),
        "state": ((spec.state_size,), jnp.float32),
        "action_mask": ((n, spec.num_actions or spec.action_dim), jnp.bool_),
        "reward": ((n,), jnp.float32),
        "terminated": ((), jnp.bool_),
        "truncated": ((), jnp.bool_),
        "final_obs": ((n, *spec.obs_shape), jnp.float32),
        "final_state": ((spec.state_size,), jnp.float32),
        "final_mask": ((n, spec.num_actions or spec.action_dim), jnp.bool_),
    }
    failures = []
    for field, (shape, dtype) in expected.items():
        wanted = jax.ShapeDtypeStruct(shape, dtype)
        if _describe(getattr(timestep, field)) != _describe(wanted):
            failures.append(f"{field} is {_describe(getattr(timestep, field))}, expected {_describe(wanted)}")
    if set(timestep.metrics) != set(spec.metrics):
        failures.append(f"metrics has keys {sorted(timestep.metrics)}, expected spec.metrics {sorted(spec.metrics)}")
    failures += [
        f"metrics[{name!r}] is {_describe(value)}, expected float32[]"
        for name, value in timestep.metrics.items()
        if _describe(value) != "float32[]"
    ]
    return failures


def _check_purity(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    failures = []
    for call, arguments in (("reset", (key, params)), ("step", _step_arguments(env, spec, key, params))):
        method = getattr(env, call)
        # A new function each time: JAX would remember the trace of one it knows.
        traces = [jax.make_jaxpr(lambda *a, method=method: method(*a))(*arguments) for _ in range(2)]
        texts = [re.sub(r"0x[0-9a-f]+", "", str(trace)) for trace in traces]
        constants = [[np.asarray(c) for c in trace.consts if not _is_key(c)] for trace in traces]
        if texts[0] != texts[1] or _differences(*constants, close=_equal):
            failures.append(
                f"{call} is not pure: two traces differ, so it reads or changes something besides its arguments "
                "(attributes, globals, NumPy's random state)"
            )
        if traces[0].effects:
            effects = ", ".join(sorted(str(effect) for effect in traces[0].effects))
            failures.append(f"{call} has side effects ({effects}): callbacks and prints stall compiled programs")
    return failures


def _is_key(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _play(env: Environment, spec: EnvSpec, key: jax.Array, params: Params, num_steps: int) -> dict[str, Any]:
    """Random play [T, E, ...] twice with the same keys: `plain` steps on past the ends, `vector` restarts.

    `start` and `start_state` are what `reset` gave [E, ...], `states` those of `plain` after each step, of `_LOOP_ENVS`.
    """
    vector = VectorEnv(env, _NUM_ENVS)
    reset_key, scan_key = jax.random.split(key)
    start_state, start = jax.vmap(env.reset, (0, None))(environment_keys(reset_key, _NUM_ENVS), params)

    def body(carry: Any, key: jax.Array) -> Any:
        state, timestep, restarting = carry
        action_key, step_key = jax.random.split(key)
        action = random_action(spec, action_key, timestep.action_mask)
        restarting_action = random_action(spec, action_key, restarting.timestep.action_mask)
        keys = environment_keys(step_key, _NUM_ENVS)
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


def _on_host(tree: Any) -> Any:
    """`tree` in NumPy, but for random keys, which have no place there."""
    return jax.tree.map(lambda x: x if _is_key(x) else np.asarray(x), tree)


def _loop(env: Environment, key: jax.Array, played: dict[str, Any], params: Params) -> list[list[Any]]:
    """For each of `_LOOP_ENVS` pairs (state, TimeStep) of `reset` and of the first steps, one call each.

    The first step starts from the state that `reset` gave here, later ones from the states that were played.
    """
    reset, step = jax.jit(lambda k, p: env.reset(k, p)), jax.jit(lambda k, s, a, p: env.step(k, s, a, p))
    reset_key, scan_key = jax.random.split(key)
    step_keys = jax.random.split(scan_key, len(played["action"]))[:_LOOP_STEPS]
    pairs = []
    for place, i in enumerate(_LOOP_ENVS):
        pairs.append([_on_host(reset(environment_keys(reset_key, _NUM_ENVS)[i], params))])
        state, _ = pairs[-1][0]
        for t, step_key in enumerate(step_keys):
            step_key = environment_keys(jax.random.split(step_key)[1], _NUM_ENVS)[i]
            pairs[-1].append(_on_host(step(step_key, state, played["action"][t, i], params)))
            state = jax.tree.map(lambda x, at=(t, place): x[at], played["states"])
    return pairs


def _check_batching(played: dict[str, Any], loop: list[list[Any]]) -> list[str]:
    """Where `_play` and `_loop` differ; no more than the first few."""
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
            where = _differences(shown, timestep, close=_close)
            # Arrays of a state are of one kind each: forces of hundreds of newtons may cancel.
            inside = _differences(reached, state, close=partial(_close, most=np.inf))
            where += [f"state{path}" for path in inside]
            failures += [
                f"vmap and scan disagree with a Python loop over step: {path} at {call} of instance {i}"
                for path in where
            ]
    return failures[:3]


def _differences(left: Any, right: Any, *, close: Callable[..., bool]) -> list[str]:
    """The paths at which two trees of arrays differ."""
    lefts, rights = _by_path(left), _by_path(right)
    if lefts.keys() != rights.keys():
        return ["(tree structure)"]
    return [path for path in lefts if not close(_plain(lefts[path]), _plain(rights[path]))]


def _plain(value: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(value) if _is_key(value) else value)


# NaN is reported on its own; in comparisons it equals itself.
_equal = partial(np.array_equal, equal_nan=True)


def _close(left: np.ndarray, right: np.ndarray, *, most: float = 0.1) -> bool:
    """Whether floats differ by rounding at most; all else must be equal.

    Entries near zero are judged by the largest one of their array, which counts as `most` at most: inside physics many
    are differences of larger numbers, and an angle taken from its cosine is the less exact the smaller it is.
    """
    if left.shape != right.shape or not jnp.issubdtype(left.dtype, jnp.floating):
        return _equal(left, right)
    scale = np.abs(right, out=np.zeros_like(right), where=np.isfinite(right)).max(initial=0.1)
    return np.allclose(left, right, rtol=_ROUNDING, atol=_ROUNDING * min(scale, most), equal_nan=True)


def _check_values(spec: EnvSpec, played: dict[str, Any]) -> list[str]:
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
        if not spec.is_discrete and not mask.all():
            failures.append(f"{where}: action_mask must be all true where actions are continuous")
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


def _check_ends(spec: EnvSpec, plain: TimeStep, num_steps: int) -> list[str]:
    failures = []
    if (plain.terminated & plain.truncated).any():
        failures.append(
            "terminated and truncated are both true in one step; expected at most one (terminated where the task ends)"
        )
    done = plain.terminated | plain.truncated
    limit = spec.episode_limit
    if limit is not None and num_steps >= limit and not done[:limit].any(axis=0).all():
        late = np.where(done.any(axis=0), done.argmax(axis=0) + 1, num_steps).max()
        failures.append(
            f"an episode of random play ran for {late} steps or more, but spec.episode_limit is {limit}: "
            "terminate or truncate there (jaxmarl_envs.TimeLimit)"
        )
    for shown, final in (("obs", "final_obs"), ("state", "final_state"), ("action_mask", "final_mask")):
        if not _equal(getattr(plain, shown), getattr(plain, final)):
            failures.append(f"{final} differs from {shown}: only auto-reset may show anything else than the step's own")
    return failures


def _check_auto_reset(played: dict[str, Any]) -> list[str]:
    """Up to the first end both kinds of play must agree, and at it the end must be kept."""
    plain, vector = played["plain"], played["vector"]
    done = plain.terminated | plain.truncated
    first = np.cumsum(done, axis=0) - done == 0  # [T, E] up to and including the first end
    failures = []
    for field in ("reward", "terminated", "truncated", "final_obs", "final_state", "final_mask"):
        if not _close(getattr(plain, field)[first], getattr(vector, field)[first]):
            failures.append(f"auto-reset changes {field}: reset and step do not depend on their arguments alone")
    return failures


def _episode_returns(vector: TimeStep) -> np.ndarray:
    """Undiscounted returns (mean over agents) of all episodes that ended."""
    reward, done = vector.reward.mean(axis=-1), vector.terminated | vector.truncated
    returns, total = [], np.zeros(reward.shape[1])
    for r, d in zip(reward, done):
        total = total + r
        returns += total[d].tolist()
        total = np.where(d, 0.0, total)
    return np.array(returns)
