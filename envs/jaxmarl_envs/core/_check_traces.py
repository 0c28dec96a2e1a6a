"""What the conformance check reads off traces of an environment, without running it."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core._check_trees import by_path, describe, differences, equal, is_key, short
from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._types import EnvSpec, TimeStep


def missing_part(env: Any, part: str) -> str:
    """What is wrong with an attribute before anything is called; empty if it can be read."""
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


def check_structure(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    failures = []
    for part, value in (("spec", spec), ("the environment", env)):
        try:
            hash(value)
        except TypeError as error:
            failures.append(f"{part} is not hashable ({error}): use a frozen dataclass with hashable static fields")
    outputs: dict[str, Any] = {}
    for call, arguments in (
        ("reset", lambda: (key, params)),
        ("step", lambda: step_arguments(env, spec, key, params)),
    ):
        method = getattr(env, call)
        try:
            output = jax.eval_shape(lambda *a, method=method: method(*a), *arguments())
        except Exception as error:
            return [*failures, f"{call} raised {short(error)}"]
        if not (isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], TimeStep)):
            return [*failures, f"{call} returned {describe(output)}, expected a pair (state, TimeStep)"]
        outputs[call] = output
        failures += [f"{call}: {failure}" for failure in _check_timestep(spec, output[1])]
    before, after = (by_path(outputs[call][0]) for call in ("reset", "step"))
    structures: list[Any] = [jax.tree.structure(outputs[call][0]) for call in ("reset", "step")]
    expected, structure = structures
    if structure != expected:
        failures.append(f"state: step returns the tree structure {structure}, expected {expected} as from reset")
    failures += [
        f"state{path}: step returns {describe(after[path])}, expected {describe(leaf)} as from reset"
        for path, leaf in before.items()
        if path in after and describe(after[path]) != describe(leaf)
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
    if set(timestep.metrics) != set(spec.metrics):
        failures.append(f"metrics has keys {sorted(timestep.metrics)}, expected spec.metrics {sorted(spec.metrics)}")
    failures += [
        f"metrics[{name!r}] is {describe(value)}, expected float32[]"
        for name, value in timestep.metrics.items()
        if describe(value) != "float32[]"
    ]
    return failures


def check_purity(env: Environment, spec: EnvSpec, key: jax.Array, params: Params) -> list[str]:
    failures = []
    for call, arguments in (("reset", (key, params)), ("step", step_arguments(env, spec, key, params))):
        method = getattr(env, call)
        # A new function each time: JAX would remember the trace of one it knows.
        traces = [jax.make_jaxpr(lambda *a, method=method: method(*a))(*arguments) for _ in range(2)]
        texts = [re.sub(r"0x[0-9a-f]+", "", str(trace)) for trace in traces]
        constants = [[np.asarray(c) for c in trace.consts if not is_key(c)] for trace in traces]
        if texts[0] != texts[1] or differences(*constants, close=equal):
            failures.append(
                f"{call} is not pure: two traces differ, so it reads or changes something besides its arguments "
                "(attributes, globals, NumPy's random state)"
            )
        if traces[0].effects:
            effects = ", ".join(sorted(str(effect) for effect in traces[0].effects))
            failures.append(f"{call} has side effects ({effects}): callbacks and prints stall compiled programs")
    return failures
