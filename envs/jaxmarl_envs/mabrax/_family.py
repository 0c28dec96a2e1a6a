"""The robots and their divisions by name."""

import contextlib
import functools
import inspect
import re
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._packages import check_options, foreign, load
from jaxmarl_envs.core import Environment, Family, TimeLimit, UnknownOption, UnknownVariant, seed_key
from jaxmarl_envs.mabrax._env import MultiAgentBrax
from jaxmarl_envs.mabrax._joints import entry_owners, tree_of
from jaxmarl_envs.mabrax._robots import ROBOTS, Partition, Robot

_OPTIONS = "obs, backend, time_limit, partition"


def make(variant: str, **options: Any) -> Environment:
    """The robot `ROBOT[-PARTITION]`, e.g. `ant-4x2`; without a partition one agent controls all of it.

    Args:
      variant: as above; `-` may stand for the `|` of a partition.
      options: `obs` (default "local-1"): what agents observe, "local-K", "full" or "dima", see `MultiAgentBrax`;
        `backend` (default "spring", for swimmer "generalized", for coupled-halfcheetah "mjx"): the physics of brax, of
        which "mjx" takes by far the longest to compile; `time_limit` (default 1000 steps), after which an episode is
        truncated; `partition`: your own division of a robot named without one, the indices of each agent's actuators,
        as a sequence of sequences or as text like "0,1|2,3,4,5,6,7".

    Raises:
      ValueError: an unknown option, or an invalid value.
      UnknownVariant: an unknown robot or partition.
    """
    name = next((robot for robot in ROBOTS if f"{variant}-".startswith(f"{robot}-")), None)
    if name is None:
        raise UnknownVariant(f"the robots are {', '.join(ROBOTS)}")
    label = variant[len(name) + 1 :]
    robot, env_id = ROBOTS[name], f"mabrax/{variant}"
    labels = {known.replace("|", "-"): known for known in robot.partitions}
    if label.replace("|", "-") not in {"", *labels} or variant.endswith(("-", "|")):
        raise UnknownVariant(f"{name} is divided as {', '.join(robot.partitions)}, or not at all ({name!r})")
    options = dict(options)
    own = options.pop("partition", None)
    accepted: dict[str, Any] = {"obs": "local-1", "backend": robot.backends[0], "time_limit": 1000}
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise UnknownOption(
            f"{env_id}: unknown option {unknown[0]!r}; accepted: {_OPTIONS}", accepted | {"partition": own}
        )
    check_options(env_id, options, accepted)
    chosen = accepted | options
    if chosen["time_limit"] < 1:
        raise ValueError(f"{env_id}: time_limit must be at least 1 step, got {chosen['time_limit']}")
    if chosen["backend"] not in robot.backends:
        raise ValueError(f"{env_id}: unknown backend {chosen['backend']!r}; {name} has {', '.join(robot.backends)}")
    if not re.fullmatch(r"local-\d+|full|dima", chosen["obs"]):
        raise ValueError(
            f"{env_id}: obs must be 'local-K' with K joints to see on either side (e.g. 'local-1'), 'full' or 'dima', "
            f"got {chosen['obs']!r}"
        )
    if own is not None and label:
        raise ValueError(f"{env_id}: the name and the option partition both divide the robot; use 'mabrax/{name}'")
    parts = None if own is None else _read(env_id, own)
    brax_env = _simulation(name, chosen["backend"])
    count = brax_env.sys.act_size()
    if parts is not None:
        _check_cover(env_id, parts, _actuator_names(brax_env.sys))
    elif label:
        known = labels[label.replace("|", "-")]
        parts, env_id = robot.partitions[known], f"mabrax/{name}-{known}"
    env = MultiAgentBrax(
        brax_env=brax_env,
        layout=robot.layout,
        partition=parts or (tuple(range(count)),),
        measure=robot.measure,
        obs=re.sub(r"-0+(?=\d)", "-", chosen["obs"]),
        id=env_id,
    )
    return TimeLimit(env, chosen["time_limit"])


@functools.cache  # one brax object per robot and backend, so that environments are equal and share a program
def _simulation(name: str, backend: str) -> Any:
    """The brax environment. Parses the model and puts its numbers on the default device."""
    envs = load("brax.envs", f"mabrax/{name}")
    with foreign(), _silent(load("mujoco", f"mabrax/{name}")):
        _repair_fluids(load("brax.fluid", f"mabrax/{name}"))
        if name == "coupled-halfcheetah":  # brax has none
            from jaxmarl_envs.mabrax._coupled import CoupledHalfCheetahs

            env = CoupledHalfCheetahs(backend)
        else:
            env = envs.get_environment(name, backend=backend)
        size = jax.eval_shape(env.reset, jax.eval_shape(seed_key, 0)).obs.shape[-1]
    expected = len(entry_owners(tree_of(env.sys), ROBOTS[name].layout))
    if size != expected:
        raise ValueError(f"mabrax/{name}: this version of brax observes {size} numbers, expected {expected}")
    return env


@contextlib.contextmanager
def _silent(mujoco: Any) -> Iterator[None]:
    """Silences brax's notice that it is no longer developed, and MuJoCo's warnings about brax's models.

    MuJoCo would print these and append them to a file in the working directory.
    """
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(handler)


class _Numpy(types.ModuleType):
    """`jax.numpy` as brax expects it: `clip` still has `a_min` and `a_max`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(x: jax.Array, a_min: Any = None, a_max: Any = None) -> jax.Array:
        """`x` between the two."""
        return jnp.clip(x, a_min, a_max)


def _repair_fluids(module: Any) -> None:
    """Lets `brax.fluid`, which the swimmer needs, run with a JAX whose `clip` has no `a_min` any more (brax 0.14.2)."""
    if module.jp is jnp and "a_min" not in inspect.signature(jnp.clip).parameters:
        module.jp = _Numpy("jax.numpy")


def _actuator_names(system: Any) -> list[str]:
    model = system.mj_model
    return [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]


def _read(env_id: str, given: Any) -> Partition:
    """Parses a partition given by the user."""
    try:
        if isinstance(given, str):
            given = [re.split(r"[,\s]+", part.strip()) for part in given.split("|")]
            return tuple(tuple(int(entry) for entry in part) for part in given)
        parts = tuple(tuple(part) for part in given)
    except (TypeError, ValueError):
        parts = ((None,),)
    if not parts or any(type(entry) is not int for part in parts for entry in part):
        raise ValueError(
            f"{env_id}: partition must hold the indices of each agent's actuators, like ((0, 1), (2, 3)) or '0,1|2,3', "
            f"got {given!r}"
        )
    return parts


def _check_cover(env_id: str, parts: Partition, names: list[str]) -> None:
    """Rejects a partition that does not contain every actuator exactly once."""

    def listed(indices: list[int]) -> str:
        return ", ".join(f"{i} ({names[i]})" if 0 <= i < len(names) else str(i) for i in indices)

    counts = Counter(entry for part in parts for entry in part)
    problems = {
        "missing": [i for i in range(len(names)) if i not in counts],
        "more than once": sorted(i for i, times in counts.items() if times > 1),
        "unknown": sorted(i for i in counts if not 0 <= i < len(names)),
    }
    found = [f"{kind}: {listed(indices)}" for kind, indices in problems.items() if indices]
    found += [f"agent {i} has none" for i, part in enumerate(parts) if not part]
    if found:
        raise ValueError(
            f"{env_id}: partition must give each of the actuators 0..{len(names) - 1} to exactly one agent; "
            + "; ".join(found)
        )


def _variants(robot: Robot) -> tuple[str, ...]:
    return (robot.name, *(f"{robot.name}-{label}" for label in robot.partitions))


FAMILY = Family(
    name="mabrax",
    make=make,
    variants=tuple(variant for robot in ROBOTS.values() for variant in _variants(robot)),
    summary="one robot's actuators divided among agents, simulated by brax",
    pattern="ROBOT (one agent, or the option partition=) and ROBOT-PARTITION",
    package="brax",
)
