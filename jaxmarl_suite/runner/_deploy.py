"""Trained policies outside the suite: to act with from Python, or as files that run with JAX alone."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval
from jaxmarl_envs import EnvSpec, TimeStep, transition
from jaxmarl_envs.core import KEY_IMPL

from jaxmarl_suite.algorithms import ActContext
from jaxmarl_suite.algorithms.core._types import ActFn
from jaxmarl_suite.replay import MACHINE_ERRORS
from jaxmarl_suite.runner._devices import in_32_bits
from jaxmarl_suite.runner._evaluate import Trained, check_lane, restore_policies, take_policy
from jaxmarl_suite.runner._files import StorageError

FORMAT = 1
"""Version of the files that `export_policy` writes."""
ARTIFACT, PARAMETERS, CARD = "act.jax", "parameters.safetensors", "policy.json"
PLATFORMS = ("cpu", "cuda", "tpu")
_BATCH = "n"


@dataclasses.dataclass(frozen=True)
class Policy:
    """A trained policy. All agents of n environments act in one compiled call."""

    spec: EnvSpec
    """The environment that it acts in: numbers of agents and actions, shapes of observations."""
    parameters: Any
    """What `act` reads, usually the networks' parameters."""
    about: Mapping[str, Any]
    """Where it comes from: algorithm, environment, settings, seed, environment steps, score."""
    act_fn: ActFn
    """The method's own function, `(parameters, carry, timestep, key, ctx) -> (action, carry)`."""
    make_carry: Callable[[int], Any]
    ctx: ActContext

    def init_carry(self, n: int = 1) -> Any:
        """The memory of n environments at the start of their episodes; empty for a policy without memory."""
        return in_32_bits(self.make_carry)(n)

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of what `act` reads: "obs" and perhaps "state", "action_mask", "start", "key"."""
        shapes = self._input_shapes(1)
        leaves, structure = jax.tree.flatten(shapes)
        carry = jax.eval_shape(lambda: self.make_carry(1))
        flat, carry_structure = jax.tree.flatten(carry)

        def acts(*args: jax.Array) -> Any:
            inputs = jax.tree.unflatten(structure, args[: len(leaves)])
            return self.compute(self.parameters, jax.tree.unflatten(carry_structure, args[len(leaves) :]), inputs)

        traced = in_32_bits(jax.make_jaxpr(acts))(*leaves, *flat).jaxpr
        _, used = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
        return tuple(name for name, is_used in zip(sorted(shapes), used) if is_used)

    def compute(self, parameters: Any, carry: Any, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, Any]:
        """`(action, carry)`: the function behind `act`, to be compiled with other code.

        Args:
          parameters: those of the policy, or others of the same structure.
          carry: from `init_carry(n)` or the call before.
          inputs: "obs" [n, N, *obs_shape], "state" [n, G], "action_mask" [n, N, A], "start" [n] (true in an episode's
            first step), "key" [2] uint32 data of a key.
        """
        obs, start = inputs["obs"], inputs["start"]
        first = self.make_carry(obs.shape[0])
        carry = jax.tree.map(
            lambda new, old: jnp.where(start.reshape(-1, *(1,) * (old.ndim - 1)), new, old), first, carry
        )
        shown = jax.vmap(functools.partial(_shown, self.spec))(obs, inputs["state"], inputs["action_mask"], start)
        key = jax.random.wrap_key_data(inputs["key"], impl=KEY_IMPL)
        return self.act_fn(parameters, carry, shown, key, self.ctx)

    def act(
        self,
        observed: TimeStep | jax.Array | np.ndarray,
        carry: Any,
        *,
        state: jax.Array | np.ndarray | None = None,
        action_mask: jax.Array | np.ndarray | None = None,
        start: jax.Array | np.ndarray | bool = False,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Chooses the joint action of one environment or of n: `(action [N] or [n, N], carry)`. Continuous actions have
        one more axis.

        Args:
          observed: a `TimeStep` (then `state`, `action_mask` and `start` are its own), or observations
            [N, *obs_shape] or [n, N, *obs_shape].
          carry: from `init_carry(n)` or the call before; n is 1 for one environment.
          state: [G] or [n, G] global state, for policies that read it.
          action_mask: [N, A] or [n, N, A] legal actions; all if None.
          start: [] or [n] whether this is an episode's first step; the memory is then a new one. Not needed after
            `init_carry`.
          key: a key, for policies that draw numbers.

        Raises:
          ValueError: wrong shapes, or something that the policy reads is missing.
        """
        obs: Any = observed
        if isinstance(observed, TimeStep):
            obs, state, action_mask, start = observed.obs, observed.state, observed.action_mask, observed.done
        is_batch = np.ndim(obs) == len(self.spec.obs_shape) + 2
        n = np.shape(obs)[0] if is_batch else 1
        given = {"obs": obs, "state": state, "action_mask": action_mask, "start": start, "key": key}
        shapes = self._input_shapes(n)
        read = {name: _fit(name, given[name], shapes[name], is_batch, self.spec) for name in self.inputs}
        for name in given.keys() - read.keys():  # checked all the same
            if given[name] is not None:
                _fit(name, given[name], shapes[name], is_batch, self.spec)
        action, carry = self._step(n, self.parameters, carry, read)
        return (action if is_batch else action[0]), carry

    @functools.cached_property
    def _step(self) -> Callable[..., tuple[jax.Array, Any]]:
        def step(n: int, parameters: Any, carry: Any, read: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
            shapes = self._input_shapes(n)
            unread = {name: jnp.zeros(one.shape, one.dtype) for name, one in shapes.items() if name not in read}
            return self.compute(parameters, carry, {**unread, **read})

        return in_32_bits(jax.jit(step, static_argnums=0))

    def _input_shapes(self, n: Any) -> dict[str, jax.ShapeDtypeStruct]:
        spec = self.spec
        per_agent = spec.num_actions or spec.action_dim
        return {
            "action_mask": jax.ShapeDtypeStruct((n, spec.n_agents, per_agent), jnp.bool_),
            "key": jax.ShapeDtypeStruct((2,), jnp.uint32),
            "obs": jax.ShapeDtypeStruct((n, spec.n_agents, *spec.obs_shape), jnp.float32),
            "start": jax.ShapeDtypeStruct((n,), jnp.bool_),
            "state": jax.ShapeDtypeStruct((n, spec.state_size), jnp.float32),
        }


def _shown(spec: EnvSpec, obs: jax.Array, state: jax.Array, mask: jax.Array, start: jax.Array) -> TimeStep:
    metrics = {name: jnp.zeros((), jnp.float32) for name in spec.metrics}
    return transition(spec, obs=obs, reward=0.0, terminated=start, state=state, action_mask=mask, metrics=metrics)


def _fit(name: str, value: Any, wanted: Any, is_batch: bool, spec: EnvSpec) -> Any:
    """An input in the shape that the compiled function takes."""
    if value is None and name == "action_mask":
        return _all_legal(spec, wanted.shape[0])
    if value is None and name == "key":
        raise ValueError("this policy draws random numbers: give key=jax.random.key(...)")
    if name == "key":
        return jax.random.key_data(value)
    shape = wanted.shape[not is_batch :]
    if value is None:
        raise ValueError(f"this policy reads the {name}: give {name}, of shape {shape}")
    if name == "start" and isinstance(value, bool):
        return np.full(wanted.shape, value)
    if np.shape(value) != shape:
        batch = f" or (n, {', '.join(map(str, shape))})" if name == "obs" and not is_batch else ""
        raise ValueError(f"{name} has shape {np.shape(value)}, expected {shape}{batch}")
    return value if is_batch else value[None]


@functools.lru_cache(maxsize=64)
def _all_legal(spec: EnvSpec, n: int) -> jax.Array:
    return jnp.broadcast_to(spec.real_actions, (n, *spec.real_actions.shape))


@in_32_bits
def load_policy(
    run_dir: str | Path,
    *,
    seed: int | None = None,
    lane: int | None = None,
    best: bool = True,
    name: str | None = None,
    step: int | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Policy:
    """A policy that a run has trained, to act with.

    Args:
      run_dir: the run folder; the run may be unfinished.
      seed: the lane of this seed; with several settings per seed, give `lane`.
      lane: the lane. With neither, the lane whose best policy had the highest return.
      best: the best policy of the lane in the evaluations so far; False for the newest one.
      name: an extra policy of the method, such as "teacher"; None for its own.
      step: which checkpoint (see `restore_policies`).
      warn: called with warnings about unreadable checkpoints.

    Raises:
      ValueError: the run has no such checkpoint, lane, seed or policy.
    """
    waves = restore_policies(run_dir, step=step, warn=warn)
    trained, index = _choose(waves, seed, lane)
    if best and not np.isfinite(trained.best_score[index]):
        raise ValueError(f"lane {trained.lanes[index].index} has no best policy yet: nothing was evaluated")
    algorithm, parameters, ctx = take_policy(trained, trained.lanes[index].index, "best" if best else "final")
    if algorithm.sees_state:
        raise ValueError(
            f"{trained.group.spec.name} plans from the environment's state; a loaded policy sees observations only"
        )
    spec = trained.group.eval_env.spec
    return Policy(
        spec=spec.replace(metrics=()),
        parameters=jax.tree.map(jnp.asarray, parameters),
        about=_about(trained, index, best, name),
        act_fn=_named(algorithm.act, algorithm.extra_acts, name, trained.group.spec.name),
        make_carry=algorithm.init_carry,
        ctx=ctx,
    )


def _choose(waves: list[Trained], seed: int | None, lane: int | None) -> tuple[Trained, int]:
    """The wave of a lane, and its place in it."""
    found = [(trained, place) for trained in waves for place in range(len(trained.lanes))]
    check_lane(lane, [trained.lanes[place].index for trained, place in found])
    if lane is not None:
        return next((trained, place) for trained, place in found if trained.lanes[place].index == lane)
    if seed is None:
        return max(found, key=lambda one: one[0].best_score[one[1]])
    of_seed = [(trained, place) for trained, place in found if trained.lanes[place].seed == seed]
    if not of_seed:
        seeds = sorted({trained.lanes[place].seed for trained, place in found})
        raise ValueError(f"no seed {seed}; there are {', '.join(map(str, seeds))}")
    if len(of_seed) > 1:
        lanes = ", ".join(str(trained.lanes[place].index) for trained, place in of_seed)
        raise ValueError(f"seed {seed} was trained with several settings: choose one of the lanes {lanes}")
    return of_seed[0]


def _named(act: ActFn, extra: Mapping[str, Any], name: str | None, algorithm: str) -> ActFn:
    if name is None:
        return act
    if name not in extra:
        raise ValueError(f"{algorithm} has no policy {name!r}; accepted: {', '.join(sorted(extra)) or 'only its own'}")
    if not callable(extra[name]):
        raise ValueError(f"policy {name!r} of {algorithm} is a stack of several; only single ones can be loaded")
    return extra[name]


def _about(trained: Trained, index: int, best: bool, name: str | None) -> dict[str, Any]:
    lane, group = trained.lanes[index], trained.group
    return {
        "algorithm": group.spec.name,
        "policy": name or "",
        "env": group.eval_env.spec.id,
        "seed": lane.seed,
        "lane": lane.index,
        "setting": dict(lane.overrides),
        "best": best,
        "env_steps": int(trained.best_env_steps[index]) if best else trained.env_steps,
        "score": float(trained.best_score[index]) if best else None,
    }


@in_32_bits
def export_policy(
    policy: Policy, folder: str | Path, *, batch: int | None = None, platforms: Sequence[str] = PLATFORMS
) -> dict[str, Any]:
    """Writes a policy to a new folder, and returns its card. Needs `pip install "jaxmarl-suite[deploy]"`.

    - `act.jax`: the compiled policy with its parameters, `(inputs, carry) -> (action, carry)` with a dict of inputs and a
      list of arrays. `jax.export.deserialize` reads it in a process that has JAX and flatbuffers only.
    - `parameters.safetensors`: the parameters by their paths.
    - `policy.json`: the card: shapes and dtypes of inputs, carry and action, where the policy comes from, versions.

    Args:
      policy: from `load_policy`.
      folder: a new folder.
      batch: number of environments per call; None for any number.
      platforms: JAX's names of the platforms on which the artifact is to run.

    Raises:
      ValueError: `folder` exists or cannot be made, or the policy cannot be exported for any number of environments.
      ImportError: a package is missing.
      StorageError: the machine fails, e.g. the disk is full; nothing that was written is left.
    """
    from safetensors.numpy import save

    if batch is not None and batch < 1:
        raise ValueError(f"batch must be positive, got {batch}")
    batch = None if batch is None else int(batch)
    target = Path(folder).absolute()
    if target.exists():
        raise ValueError(f"{str(folder)!r} exists; name a folder that does not")
    exported = _exported(policy, batch, platforms)
    n = batch if batch is not None else _BATCH
    inputs = {
        name: {**_shape(leaf, n), "read": name in policy.inputs}
        for name, leaf in policy._input_shapes(batch or 1).items()
    }
    carry = [_shape(leaf, n) for leaf in jax.tree.leaves(jax.eval_shape(lambda: policy.make_carry(batch or 1)))]
    per_agent = [] if policy.spec.is_discrete else [policy.spec.action_dim]
    card = {
        "format": FORMAT,
        **policy.about,
        "agents": policy.spec.n_agents,
        "num_actions": policy.spec.num_actions,
        "inputs": inputs,
        "carry": carry,
        "action": {"shape": [n, policy.spec.n_agents, *per_agent], "dtype": "int32" if not per_agent else "float32"},
        "platforms": list(platforms),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "jaxmarl-suite")},
    }
    files = {
        ARTIFACT: bytes(exported.serialize()),
        PARAMETERS: save(_by_path(policy.parameters), {"card": json.dumps(card)}),
        CARD: _readable(card).encode(),
    }
    _write_folder(target, files)
    return card


def _exported(policy: Policy, batch: int | None, platforms: Sequence[str]) -> jax.export.Exported:
    size = jax.export.symbolic_shape(_BATCH)[0] if batch is None else batch
    flat, structure = jax.tree.flatten(jax.eval_shape(lambda: policy.make_carry(1)))
    carry = [jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype) for leaf in flat]

    def act(inputs: dict[str, jax.Array], carry: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        action, after = policy.compute(policy.parameters, jax.tree.unflatten(structure, carry), inputs)
        return action, jax.tree.leaves(after)

    try:
        return jax.export.export(jax.jit(act), platforms=tuple(platforms))(policy._input_shapes(size), carry)
    except Exception as error:
        if batch is not None:
            raise
        raise ValueError(
            f"this policy cannot be exported for any number of environments ({type(error).__name__}); give a fixed one "
            "(batch, or --batch N)"
        ) from error


def _shape(leaf: Any, n: int | str) -> dict[str, Any]:
    is_per_env = leaf.dtype != jnp.uint32  # key data is shared
    return {"shape": [n, *leaf.shape[1:]] if is_per_env else list(leaf.shape), "dtype": str(leaf.dtype)}


def _readable(card: dict[str, Any]) -> str:
    """JSON with every list on one line."""
    return (
        re.sub(
            r"\[[^][{}]+\]",
            lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"),
            json.dumps(card, indent=2),
        )
        + "\n"
    )


def _by_path(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by path, such as `params/Dense_0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/") or "parameters": np.ascontiguousarray(leaf)
        for path, leaf in leaves
    }


def _write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Writes beside the target, then renames: a kill leaves no half of it."""
    beside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        for name, content in files.items():
            (beside / name).write_bytes(content)
        beside.chmod(0o755)
        os.rename(beside, target)
    except OSError as error:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        kind = StorageError if error.errno in MACHINE_ERRORS else ValueError  # ValueError: the path is at fault
        raise kind(f"policy {str(target)!r} cannot be written: {error.strerror}") from error
