"""The environment protocol, and the base class of wrappers."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax

from jaxmarl_envs.core._types import EnvSpec, TimeStep

Params = Any
State = Any


@runtime_checkable
class Environment(Protocol):
    """Two pure functions on the pytrees of one instance; for a batch, use `vmap`.

    Environments are best written as frozen dataclasses in which the compared fields are everything static: two equal
    environments then share a compiled program, and differ only in the traced `default_params` (declare that field with
    `field(compare=False)`).
    """

    @property
    def spec(self) -> EnvSpec:
        """Static description."""
        ...

    @property
    def default_params(self) -> Params:
        """Traced pytree of numbers that may differ between lanes of one program: payoffs, masses. Large ones that all
        lanes of a program share, such as a trace, are marked: see `shared_leaves`.
        """
        ...

    def reset(self, key: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """A new episode. Consumes `key`."""
        ...

    def step(self, key: jax.Array, state: State, action: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """The next state. `action`: [N] int32 or [N, D] float32. Consumes `key`.

        Stepping a finished episode is allowed and returns a valid, finite `TimeStep`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """An environment around another; passes everything through unless a subclass overrides it."""

    env: Environment
    keeps_observations: ClassVar[bool] = False
    """Whether observations and global states are those of the wrapped environment (see `observation_function`)."""

    @property
    def spec(self) -> EnvSpec:
        """Static description."""
        return self.env.spec

    @property
    def default_params(self) -> Params:
        """The wrapped environment's parameters: wrappers add none."""
        return self.env.default_params

    @property
    def unwrapped(self) -> Environment:
        """The innermost environment."""
        return self.env.unwrapped if isinstance(self.env, Wrapper) else self.env

    def inner_state(self, state: State) -> State:
        """The wrapped environment's part of `state`; wrappers with their own state override this."""
        return state

    def reset(self, key: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """A new episode. Consumes `key`."""
        return self.env.reset(key, params)

    def step(self, key: jax.Array, state: State, action: jax.Array, params: Params) -> tuple[State, TimeStep]:
        """The next state. Consumes `key`."""
        return self.env.step(key, state, action, params)


def observation_function(env: Environment) -> Callable[[jax.Array], jax.Array] | None:
    """`state [G] -> observations [N, *obs_shape]` where they are a known function of the global state, otherwise None.

    An environment declares it as a method `observe`. Wrappers that change observations or the state hide it.
    """
    while isinstance(env, Wrapper):
        if not env.keeps_observations:
            return None
        env = env.env
    return getattr(env, "observe", None)
