"""Environments of gymnax as environments of this package."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.adapters._packages import check_parts, foreign
from jaxmarl_envs.core import Environment, EnvSpec, TimeLimit, TimeStep, pytree_dataclass, restart, seed_key, transition

Array = jax.Array

NEVER = 2**31 - 1
"""Value for gymnax's own time limit that no episode reaches."""
_PARTS = ("reset_env", "step_env", "action_space", "default_params")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Like `foreign`, and without JAX's warnings about gymnax's code: writes of numbers into bool, requests for 64
    bits.
    """
    with foreign(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
        warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
        yield


@pytree_dataclass
class FromGymnaxParams:
    """gymnax's parameters with traced numbers, which may differ between lanes of one program.

    They are kept together, because some of them depend on others and must not be replaced alone.
    """

    inner: Any


@pytree_dataclass
class FromGymnaxState:
    """State of a gymnax environment, and whether its episode is over, which not all of them store."""

    inner: Any
    is_over: Array  # [] bool, terminated in an earlier step


@dataclasses.dataclass(frozen=True)
class FromGymnax:
    """One instance of a gymnax environment with discrete actions, as a task for one agent.

    - It uses gymnax's `step_env` and `reset_env`, never `step`, which restarts automatically. The keys of `reset` and
    `step` are passed on unchanged.
    - The observation keeps gymnax's shape, as float32; the global state is the same, flat.
    - gymnax treats its time limit, `max_steps_in_episode`, as a termination. Here it is never reached, whatever
    `params` say, so every end is a termination of the task; `from_gymnax` adds a `TimeLimit`. Other uses of the limit
    in an environment (in gymnax 0.0.9 only DiscountingChain, which observes the fraction that has passed) see a limit
    of 2^31 - 1 steps.
    - A step after a termination gives zero reward and remains a termination; gymnax's own state continues.
    - All actions are always legal. `info`, which contains gymnax's discount, is dropped.
    """

    env: Any
    """A `gymnax` environment; equality is identity."""
    id: str = dataclasses.field(default="gymnax/unnamed", compare=False)
    obs_bounds: tuple[float, float] = (-float("inf"), float("inf"))
    """See `EnvSpec`. gymnax's spaces are not used, since not all are correct."""
    optimum: float | None = dataclasses.field(default=None, compare=False)
    """See `EnvSpec`."""
    default_params: FromGymnaxParams = dataclasses.field(
        default_factory=lambda: FromGymnaxParams(()), compare=False, repr=False
    )

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Traces `reset` once, for the shape of the observation."""
        with quiet():
            shape = jax.eval_shape(self._reset, seed_key(0), self.default_params)[0].shape
            space = self.env.action_space(self.default_params.inner)
        if type(space).__name__ != "Discrete":
            raise ValueError(
                f"{self.id}: from_gymnax takes environments with discrete actions, got {type(space).__name__} of shape "
                f"{getattr(space, 'shape', None)}"
            )
        return EnvSpec(
            id=self.id,
            n_agents=1,
            obs_shape=tuple(shape),
            num_actions=int(space.n),
            state_size=int(np.prod(shape)),
            obs_bounds=self.obs_bounds,
            optimum=self.optimum,
        )

    def reset(self, key: Array, params: FromGymnaxParams) -> tuple[FromGymnaxState, TimeStep]:
        """A new episode. Consumes `key`."""
        with quiet():
            obs, inner = self._reset(key, params)
        obs = jnp.asarray(obs, jnp.float32)
        return FromGymnaxState(inner, jnp.zeros((), bool)), restart(self.spec, obs=obs[None], state=obs.reshape(-1))

    def step(
        self, key: Array, state: FromGymnaxState, action: Array, params: FromGymnaxParams
    ) -> tuple[FromGymnaxState, TimeStep]:
        """One call of gymnax's `step_env`. `action`: [1] int32. Consumes `key`."""
        with quiet():
            obs, inner, reward, done, _ = self.env.step_env(key, state.inner, action[0], _unlimited(params.inner))
            inner = jax.tree.map(_strong, inner)
        obs = jnp.asarray(obs, jnp.float32)
        is_over = state.is_over | jnp.asarray(done, bool)
        return FromGymnaxState(inner, is_over), transition(
            self.spec,
            obs=obs[None],
            state=obs.reshape(-1),
            reward=jnp.where(state.is_over, 0.0, jnp.asarray(reward, jnp.float32)),
            terminated=is_over,
        )

    def _reset(self, key: Array, params: FromGymnaxParams) -> tuple[Array, Any]:
        obs, inner = self.env.reset_env(key, _unlimited(params.inner))
        return obs, jax.tree.map(_strong, inner)


def _strong(x: Any) -> Array:
    """`x` with a fixed dtype: gymnax starts with Python numbers, whose type would depend on the other operand."""
    return jnp.asarray(x, jnp.asarray(x).dtype)


def _unlimited(params: Any) -> Any:
    return params.replace(max_steps_in_episode=NEVER) if hasattr(params, "max_steps_in_episode") else params


def traced(params: Any) -> FromGymnaxParams:
    """Gymnax's parameters with 32-bit NumPy scalars instead of Python numbers."""
    kinds = {bool: np.bool_, int: np.int32, float: np.float32}
    return FromGymnaxParams(jax.tree.map(lambda x: kinds[type(x)](x) if type(x) in kinds else x, params))


def from_gymnax(
    env: Any,
    params: Any = None,
    *,
    id: str = "",
    obs_bounds: tuple[float, float] = (-float("inf"), float("inf")),
    optimum: float | None = None,
) -> Environment:
    """A gymnax environment with discrete actions as one of this package, truncated at gymnax's time limit.

    Args:
      env: the first result of `gymnax.make`; `FromGymnax` documents the mapping.
      params: gymnax's `EnvParams`, the second result; None for `env.default_params`. Its `max_steps_in_episode` becomes
        the time limit.
      id: `family/variant` of the spec; made from the class's name if empty.
      obs_bounds: lowest and highest entry of an observation.
      optimum: see `EnvSpec`.

    Raises:
      ValueError: `env` is not such an environment, has continuous actions, or the parameters are not gymnax's.
    """
    hint = "; gymnax.make returns a pair (env, params)" if isinstance(env, tuple) else ""
    check_parts("from_gymnax", "an environment of gymnax", env, _PARTS, hint)
    id = id or f"gymnax/{type(env).__name__}"
    params = env.default_params if params is None else params
    if not dataclasses.is_dataclass(params):
        raise ValueError(f"{id}: params must be the EnvParams of gymnax, got {params!r}")
    return with_time_limit(FromGymnax(env, id, obs_bounds, optimum, traced(params)))


def with_time_limit(env: FromGymnax) -> Environment:
    """`env` truncated at the `max_steps_in_episode` of its parameters, if they have one."""
    env.spec  # noqa: B018 - refuses continuous actions, before anything else could go wrong
    limit = getattr(env.default_params.inner, "max_steps_in_episode", None)
    return env if limit is None else TimeLimit(env, int(limit))
