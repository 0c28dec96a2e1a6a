"""The part of the conformance check that reads traces of an environment, without running it."""

import inspect
import random
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core._check_trees import by_path, describe, differences, equal, is_key, short
from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._origin import origin
from jaxmarl_envs.core._types import EnvSpec, TimeStep

LARGE_CONSTANT = 2**24
"""Arrays that a program closes over cause a warning from this size on, in bytes: 16 MiB."""
_DEPTH, _WIDTH = 5, 100  # search limits for names of arrays: attributes of attributes, entries of sequences


def missing_part(env: Any, part: str) -> str:
    """The problem with an attribute before anything is called; empty if it can be read."""
    try:
        getattr(env, part)
    except Exception as error:
        is_missing = isinstance(error, AttributeError) and not hasattr(type(env), part)
        return f"{part} is missing" if is_missing else f"{part} raised {short(error)} when read"
    return ""


def step_arguments(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> tuple[Any, ...]:
    state, _ = jax.eval_shape(lambda k, p: env.reset(k, p), key, params)
    shape = (spec.n_agents,) if spec.is_discrete else (spec.n_agents, spec.action_dim)
    action = jax.ShapeDtypeStruct(shape, jnp.int32 if spec.is_discrete else jnp.float32)
    return key, state, action, params


def check_hashable(env: Environment, spec: EnvSpec) -> list[str]:
    failures = []
    for part, value in (("spec", spec), ("the environment", env)):
        try:
            hash(value)
        except Exception as error:
            failures.append(f"{part} is not hashable ({error}): use a frozen dataclass with hashable static fields")
    return failures


def check_structure(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    failures: list[str] = []
    outputs: dict[str, Any] = {}
    for call, arguments in (
        ("reset", lambda: (key, params)),
        ("step", lambda: step_arguments(env, spec, key, params)),
    ):
        method = getattr(env, call)
        before = _global_random_states()
        try:
            output = jax.eval_shape(lambda *a, method=method: method(*a), *arguments())
        except Exception as error:
            return [*failures, raised(call, error)]
        if before != _global_random_states():
            failures.append(
                f"{call} draws from the random state of Python or NumPy: the number is fixed when the program is traced and "
                "the same in every step; draw from the key with jax.random"
            )
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], TimeStep)):
            return [*failures, f"{call} returned {describe(output)}, expected a pair (state, TimeStep)"]
        outputs[call] = output
        failures += [f"{call}: {failure}" for failure in _check_timestep(spec, output[1])]
    started, stepped = (by_path(outputs[call][0]) for call in ("reset", "step"))
    structures: list[Any] = [jax.tree.structure(outputs[call][0]) for call in ("reset", "step")]
    expected, structure = structures
    if structure != expected:
        failures.append(f"state: step returns the tree structure {structure}, expected {expected} as from reset")
    failures += [
        f"state{path}: step returns {describe(stepped[path])}, expected {describe(leaf)} as from reset"
        for path, leaf in started.items()
        if path in stepped and describe(stepped[path]) != describe(leaf)
    ]
    return failures


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
        if describe(getattr(timestep, field)) != describe(wanted):
            failures.append(f"{field} is {describe(getattr(timestep, field))}, expected {describe(wanted)}")
    if not isinstance(timestep.metrics, Mapping):
        return [
            *failures,
            f"metrics is {describe(timestep.metrics)}, expected a dict of spec.metrics {sorted(spec.metrics)}",
        ]
    if set(timestep.metrics) != set(spec.metrics):
        failures.append(f"metrics has keys {sorted(timestep.metrics)}, expected spec.metrics {sorted(spec.metrics)}")
    failures += [
        f"metrics[{name!r}] is {describe(value)}, expected float32[]"
        for name, value in timestep.metrics.items()
        if describe(value) != "float32[]"
    ]
    return failures


class Traces(NamedTuple):
    """Two traces of `reset` or of `step`, made one after the other."""

    call: str
    pair: tuple[Any, Any]  # closed jaxprs

    @property
    def constants(self) -> list[list[np.ndarray]]:
        """Arrays closed over, of each."""
        return [[np.asarray(c) for c in trace.consts if not is_key(c)] for trace in self.pair]


def trace_twice(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[Traces]:
    """Traces of `reset` and of `step`. Raises what these raise."""
    found = []
    for call, arguments in (("reset", (key, params)), ("step", step_arguments(env, spec, key, params))):
        method = getattr(env, call)
        # A new function each time: JAX would remember the trace of one it knows.
        first, second = (jax.make_jaxpr(lambda *a, method=method: method(*a))(*arguments) for _ in range(2))
        found.append(Traces(call, (first, second)))
    return found


def _global_random_states() -> tuple[Any, ...]:
    name, numbers, *rest = np.random.get_state()
    return random.getstate(), name, np.asarray(numbers).tobytes(), *rest


def raised(call: str, error: Exception) -> str:
    """What a call raised, where JAX's own text would not say what is wrong in the environment."""
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return _leak(call)
    where = origin(error)
    return f"{call} raised {short(error)}" + (f" ({where})" if where else "")


def _leak(call: str) -> str:
    return (
        f"{call} uses a traced value that an earlier call of reset or step has kept (a leaked tracer), in an attribute, a "
        "global or a list: what is carried from step to step belongs in the state"
    )


def check_leaks(traces: list[Traces]) -> list[str]:
    """A line for each call whose programs would hold a value of another trace; nothing else can be tried then."""
    return [
        _leak(one.call)
        for one in traces
        if any(isinstance(constant, jax.core.Tracer) for trace in one.pair for constant in trace.consts)
    ]


def check_purity(traces: list[Traces]) -> list[str]:
    failures = []
    for one in traces:
        call, effects = one.call, one.pair[0].effects
        texts = [re.sub(r"0x[0-9a-f]+", "", str(trace)) for trace in one.pair]
        if texts[0] != texts[1] or differences(*one.constants, close=equal):
            failures.append(
                f"{call} is not pure: two traces differ, so it reads or changes something besides its arguments "
                "(attributes, globals, NumPy's random state)"
            )
        if effects:
            listed = ", ".join(sorted(map(str, effects)))
            failures.append(f"{call} has side effects ({listed}): callbacks and prints stall compiled programs")
    return failures


def large_constants(env: Environment, traces: list[Traces]) -> list[str]:
    """One line per large array that `reset` or `step` closes over: its name, if it can be found, and its size."""
    calls: dict[str, list[str]] = {}
    for one in traces:
        for constant in one.constants[0]:
            if constant.nbytes >= LARGE_CONSTANT:
                where = _name_of(env, getattr(env, one.call), constant)
                text = f"{where} {describe(constant)} ({constant.nbytes / 2**20:.0f} MiB)"
                calls.setdefault(text, []).append(one.call)
    return [
        f"{' and '.join(names)} {'closes' if len(names) == 1 else 'close'} over {text}: a constant of every compiled "
        "program, which makes compiling slow and is copied into each; hand it over in default_params"
        for text, names in calls.items()
    ]


def _name_of(env: Environment, method: Any, constant: np.ndarray) -> str:
    """The attribute of `env`, or the global used by `method`, that is `constant`; "an array" if none is found."""
    try:
        seen = inspect.getclosurevars(method)
        outside = {**seen.globals, **seen.nonlocals}
    except (TypeError, ValueError):  # not a Python function
        outside = {}
    roots = [("env", env), *((name, value) for name, value in outside.items() if not inspect.ismodule(value))]
    for _ in range(_DEPTH):
        inside: list[tuple[str, Any]] = []
        for name, value in roots:
            if hasattr(value, "nbytes") and hasattr(value, "shape"):
                if _describe_large(value) == _describe_large(constant) and equal(np.asarray(value), constant):
                    return f"{name},"
            elif isinstance(value, Mapping):
                inside += [(f"{name}[{key!r}]", entry) for key, entry in value.items()]
            elif isinstance(value, list | tuple):
                inside += [(f"{name}[{i}]", entry) for i, entry in enumerate(value[:_WIDTH])]
            elif hasattr(value, "__dict__") and not isinstance(value, type):
                inside += [(f"{name}.{key}", entry) for key, entry in vars(value).items()]
        roots = inside
    return "an array,"


def _describe_large(value: Any) -> tuple[Any, ...]:
    return tuple(value.shape), str(value.dtype)
