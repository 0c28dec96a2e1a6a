"""Environments of jumanji as environments of this package."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.adapters._packages import check_parts, foreign
from jaxmarl_envs.core import EnvSpec, TimeStep, seed_key
from jaxmarl_envs.core._keys import KEY_IMPL

Array = jax.Array


def _agents_view(env: Any, observation: Any) -> Array:
    return observation.agents_view


def _no_state(env: Any, observation: Any) -> Array:
    return jnp.zeros((0,))


@dataclasses.dataclass(frozen=True)
class JumanjiReading:
    """Where to find the properties that jumanji's common interface does not declare. All functions are pure."""

    episode_limit: int | None = None
    """Maximum number of steps in an episode; None if there is no limit or it is not known."""
    obs_bounds: tuple[float, float] = (-float("inf"), float("inf"))
    """See `EnvSpec`."""
    reset_is_costly: bool = True
    """See `EnvSpec`; most of jumanji's generators are more expensive than a step."""
    observe: Callable[[Any, Any], Array] = _agents_view
    """`(env, observation) -> [N, ...]`, one row per agent."""
    global_state: Callable[[Any, Any], Array] = _no_state
    """`(env, observation) -> [G]`."""
    is_terminal: Callable[[Any, Any, Array, Any], Array] | None = None
    """`(env, state, action, next_state) -> []` bool: whether the task itself ended. None: it did if the discount of the
    last step is zero for every agent. Some environments of jumanji also have a discount of zero at their time limit."""


@dataclasses.dataclass(frozen=True)
class FromJumanji:
    """One instance of a jumanji environment whose actions are a `MultiDiscreteArray`.

    - The mask is `observation.action_mask` [N, A]; `JumanjiReading` says what agents observe.
    - The last step of an episode is a termination or a truncation, see `JumanjiReading.is_terminal`; `final_obs` is its
      observation.
    - Scalar `extras` become metrics, with their values at each step: those of jumanji's own environments describe the
    episode so far. Others may need `EpisodeMetrics`. A scalar reward is the team's; a reward [N] is left unchanged.
    - jumanji keeps the random key in its state: the key of `reset` decides the whole episode, that of `step` is not
    used.
      The key is passed as raw data.
    - Per-agent discounts are dropped: a `TimeStep` ends for all agents at once.
    """

    env: Any
    """A `jumanji.env.Environment`; equality is identity."""
    reading: JumanjiReading = JumanjiReading()
    id: str = dataclasses.field(default="jumanji/unnamed", compare=False)
    default_params: tuple[()] = ()

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Traces `reset` once, for the sizes."""
        values = np.atleast_1d(np.asarray(getattr(self.env.action_spec, "num_values", 0)))
        if self.env.action_spec.shape != values.shape or len(set(values.tolist())) > 1 or values[0] < 1:
            raise ValueError(
                f"{self.id}: needs discrete actions, equally many for each agent, got {self.env.action_spec}"
            )
        with foreign():
            timestep = jax.eval_shape(self._reset, seed_key(0))[1]
            needed = ("action_mask", *(("agents_view",) if self.reading.observe is _agents_view else ()))
            missing = [part for part in needed if not hasattr(timestep.observation, part)]
            if missing:
                raise ValueError(
                    f"{self.id}: its observation has no {missing[0]}, got a {type(timestep.observation).__name__}; what "
                    "agents see is said by JumanjiReading(observe=...)"
                )
            obs = jax.eval_shape(lambda o: self.reading.observe(self.env, o), timestep.observation)
            state = jax.eval_shape(lambda o: self.reading.global_state(self.env, o), timestep.observation)
        return EnvSpec(
            id=self.id,
            n_agents=len(values),
            obs_shape=tuple(obs.shape[1:]),
            num_actions=int(values[0]),
            state_size=state.shape[0],
            episode_limit=self.reading.episode_limit,
            metrics=tuple(sorted(name for name, value in timestep.extras.items() if value.shape == ())),
            obs_bounds=self.reading.obs_bounds,
            reset_is_costly=self.reading.reset_is_costly,
        )

    def reset(self, key: Array, params: tuple[()]) -> tuple[Any, TimeStep]:
        """A new episode. Consumes `key`."""
        del params
        with foreign():
            state, timestep = self._reset(key)
            false = jnp.zeros((), bool)
            return state, self._show(timestep, jnp.zeros(()), false, false)

    def step(self, key: Array, state: Any, action: Array, params: tuple[()]) -> tuple[Any, TimeStep]:
        """One call of jumanji's `step`. `action`: [N] int32. Does not use `key`."""
        del key, params
        with foreign():
            action = action.astype(self.env.action_spec.dtype)
            following, timestep = self.env.step(state, action)
            done = timestep.last()
            if self.reading.is_terminal is None:
                terminated = done & jnp.all(timestep.discount == 0)
            else:
                terminated = done & self.reading.is_terminal(self.env, state, action, following)
            return following, self._show(timestep, timestep.reward, terminated, done & ~terminated)

    def _reset(self, key: Array) -> tuple[Any, Any]:
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            return self.env.reset(key)
        # jumanji takes untyped keys, which are interpreted with the default implementation.
        data = jax.random.key_data(key)
        is_usual = str(jax.random.key_impl(key)) == KEY_IMPL
        return self.env.reset(data if is_usual else jax.random.bits(key, (2,), jnp.uint32))

    def _show(self, timestep: Any, reward: Array, terminated: Array, truncated: Array) -> TimeStep:
        spec, observation = self.spec, timestep.observation
        obs = jnp.asarray(self.reading.observe(self.env, observation), jnp.float32)
        state = jnp.asarray(self.reading.global_state(self.env, observation), jnp.float32)
        mask = jnp.asarray(observation.action_mask, bool)
        return TimeStep(
            obs=obs,
            state=state,
            action_mask=mask,
            reward=jnp.broadcast_to(jnp.asarray(reward, jnp.float32), (spec.n_agents,)),
            terminated=terminated,
            truncated=truncated,
            final_obs=obs,
            final_state=state,
            final_mask=mask,
            metrics={name: jnp.asarray(timestep.extras[name], jnp.float32) for name in spec.metrics},
        )


def from_jumanji(env: Any, reading: JumanjiReading | None = None, *, id: str = "") -> FromJumanji:
    """A jumanji environment as one of this package.

    Args:
      env: a `jumanji.env.Environment` with a `MultiDiscreteArray` of actions and `action_mask` in its observation.
      reading: what agents observe, and how episodes end; None for `env.reading` (of environments that came from
        `to_jumanji`), or for `observation.agents_view` and the discount.
      id: `family/variant` of the spec; made from the class's name if empty.

    Raises:
      ValueError: for anything else; for other actions, or an observation without these parts, when its spec is read.
    """
    check_parts("from_jumanji", "an environment of jumanji", env, ("reset", "step", "action_spec"))
    reading = reading or getattr(env, "reading", None) or JumanjiReading()
    return FromJumanji(env, reading, id or f"jumanji/{type(env).__name__}")
