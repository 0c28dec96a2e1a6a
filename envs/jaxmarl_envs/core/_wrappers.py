"""Wrappers over one instance. The suite's order, innermost first:

task -> PadAgents -> EpisodeMetrics -> TimeLimit -> DelayReward -> ShowOwed -> Clock -> ObserveState -> LastAction ->
AgentId -> EpisodeStatistics -> VectorEnv (auto-reset). The wrappers for metrics are in `_metrics.py`.
"""

import dataclasses
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._environment import Params, Wrapper
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass


@pytree_dataclass
class TimeLimitState:
    """State of `TimeLimit`."""

    inner: Any
    t: jax.Array  # [] int32, steps taken


@dataclasses.dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Truncates (never terminates) an episode after `limit` steps."""

    keeps_observations: ClassVar[bool] = True

    limit: int = 0

    def __post_init__(self) -> None:
        """Rejects a limit below one step, and one around `DelayReward`, which would not see the ends."""
        if self.limit < 1:
            raise ValueError(f"time limit of {self.env.spec.id!r} must be at least 1 step, got {self.limit}")
        inner: Any = self.env
        while isinstance(inner, Wrapper):
            if isinstance(inner, DelayReward):
                raise ValueError(
                    f"TimeLimit around DelayReward would lose what {self.env.spec.id!r} still owes when it cuts an "
                    "episode: wrap in TimeLimit first"
                )
            inner = inner.env

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with `episode_limit` set and, where the environment has `optimal_return(steps)`, the optimum."""
        spec = self.env.spec
        limit = min(self.limit, spec.episode_limit or self.limit)
        solve = getattr(self.env, "optimal_return", None)
        return spec.replace(episode_limit=limit, optimum=solve(limit) if solve else spec.optimum)

    def inner_state(self, state: TimeLimitState) -> Any:
        """The state of the wrapped environment."""
        return state.inner

    def reset(self, key: jax.Array, params: Params) -> tuple[TimeLimitState, TimeStep]:
        """A new episode at t = 0."""
        inner, timestep = self.env.reset(key, params)
        return TimeLimitState(inner, jnp.zeros((), jnp.int32)), timestep

    def step(
        self, key: jax.Array, state: TimeLimitState, action: jax.Array, params: Params
    ) -> tuple[TimeLimitState, TimeStep]:
        """The next step; truncated at the limit unless the task itself ended there."""
        inner, timestep = self.env.step(key, state.inner, action, params)
        t = state.t + 1
        truncated = timestep.truncated | ((t >= self.limit) & ~timestep.terminated)
        return TimeLimitState(inner, t), timestep.replace(truncated=truncated)


@pytree_dataclass
class DelayRewardState:
    """State of `DelayReward`."""

    inner: Any
    t: jax.Array  # [] int32, steps taken
    owed: jax.Array  # [N] float32, rewards not paid yet


@dataclasses.dataclass(frozen=True)
class DelayReward(Wrapper):
    """Pays rewards out in sums: after every `every` steps, and the rest at the end of the episode; zero in between.

    Undiscounted returns, and so the optimum, do not change. Observations do not include the time until the next
    payment, so rewards are no longer a function of what is observed; `ShowOwed` adds it. This wrapper goes around
    `TimeLimit`, because it must see its ends.
    """

    keeps_observations: ClassVar[bool] = True

    every: int = 1

    def __post_init__(self) -> None:
        """Rejects anything but a positive number of steps."""
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(
                f"rewards of {self.env.spec.id!r} can be delayed by a number of steps of at least 1, got {self.every!r}"
            )

    def inner_state(self, state: DelayRewardState) -> Any:
        """The state of the wrapped environment."""
        return state.inner

    def reset(self, key: jax.Array, params: Params) -> tuple[DelayRewardState, TimeStep]:
        """Starts a new episode with nothing owed."""
        inner, timestep = self.env.reset(key, params)
        return DelayRewardState(inner, jnp.zeros((), jnp.int32), jnp.zeros_like(timestep.reward)), timestep

    def step(
        self, key: jax.Array, state: DelayRewardState, action: jax.Array, params: Params
    ) -> tuple[DelayRewardState, TimeStep]:
        """The next step."""
        inner, timestep = self.env.step(key, state.inner, action, params)
        t, owed = state.t + 1, state.owed + timestep.reward
        is_due = (t % self.every == 0) | timestep.done
        timestep = timestep.replace(reward=jnp.where(is_due, owed, 0.0))
        return DelayRewardState(inner, t, jnp.where(is_due, 0.0, owed)), timestep


class _AppendToObs(Wrapper):
    """Base class of wrappers that append columns to every agent's (flat) observation."""

    @property
    def extra_size(self) -> int:
        """Number of columns appended."""
        raise NotImplementedError

    @property
    def extra_bounds(self) -> tuple[float, float]:
        """Lowest and highest value in them."""
        return 0.0, 1.0

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with the longer observation."""
        spec = self.env.spec
        if len(spec.obs_shape) != 1:
            raise ValueError(
                f"{type(self).__name__} appends to flat observations, but {spec.id!r} has observations of shape "
                f"{spec.obs_shape}"
            )
        (low, high), (extra_low, extra_high) = spec.obs_bounds, self.extra_bounds
        sizes = tuple(n + self.extra_size for n in spec.agent_obs_sizes)
        return spec.replace(
            obs_shape=(spec.obs_shape[0] + self.extra_size,),
            obs_bounds=(min(low, extra_low), max(high, extra_high)),
            agent_obs_sizes=sizes,
        )


def _append(timestep: TimeStep, extra: jax.Array) -> TimeStep:
    """`timestep` with `extra` [N, X] appended to obs and final_obs (equal before auto-reset)."""
    obs = jnp.concatenate([timestep.obs, extra], axis=-1)
    return timestep.replace(obs=obs, final_obs=obs)


@dataclasses.dataclass(frozen=True)
class AgentId(_AppendToObs):
    """Appends a one-hot agent index to every agent's observation, for networks shared between agents."""

    @property
    def extra_size(self) -> int:
        """N."""
        return self.env.spec.n_agents

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """A new episode."""
        state, timestep = self.env.reset(key, params)
        return state, _append(timestep, jnp.eye(self.extra_size, dtype=jnp.float32))

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """The next step."""
        state, timestep = self.env.step(key, state, action, params)
        return state, _append(timestep, jnp.eye(self.extra_size, dtype=jnp.float32))


@dataclasses.dataclass(frozen=True)
class LastAction(_AppendToObs):
    """Appends each agent's previous action to its observation: one-hot if discrete, zeros at the start.

    Padded entries of continuous actions are zero.
    """

    @property
    def extra_size(self) -> int:
        """A, or D for continuous actions."""
        return self.env.spec.num_actions or self.env.spec.action_dim

    @property
    def extra_bounds(self) -> tuple[float, float]:
        """Bounds of a one-hot, or of continuous actions and the zeros at the start."""
        low, high = (0.0, 1.0) if self.env.spec.is_discrete else self.env.spec.action_bounds
        return min(low, 0.0), max(high, 0.0)

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """A new episode."""
        state, timestep = self.env.reset(key, params)
        return state, _append(timestep, jnp.zeros((self.env.spec.n_agents, self.extra_size), jnp.float32))

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """The next step."""
        state, timestep = self.env.step(key, state, action, params)
        if self.env.spec.is_discrete:
            action = jax.nn.one_hot(action, self.env.spec.num_actions, dtype=jnp.float32)
        elif self.env.spec.agent_action_sizes:
            action = jnp.where(self.env.spec.real_actions, action, 0.0)
        return state, _append(timestep, action)


@dataclasses.dataclass(frozen=True)
class Clock(_AppendToObs):
    """Appends the fraction of the time limit that has passed to every observation and to the global state."""

    @property
    def extra_size(self) -> int:
        """1."""
        return 1

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with one more observation entry and, if there is a global state, one more state entry."""
        spec = super().spec
        if spec.episode_limit is None:
            raise ValueError(f"Clock needs a time limit, and {spec.id!r} has none: wrap it in TimeLimit first")
        return spec.replace(state_size=spec.state_size + 1 if spec.state_size else 0)

    def _show(self, timestep: TimeStep, t: jax.Array) -> TimeStep:
        limit = self.spec.episode_limit or 1
        fraction = jnp.minimum(t, limit).astype(jnp.float32) / jnp.float32(limit)  # stays 1 past the end
        timestep = _append(timestep, jnp.full((self.spec.n_agents, 1), fraction))
        if not self.spec.state_size:
            return timestep
        state = jnp.concatenate([timestep.state, fraction[None]])
        return timestep.replace(state=state, final_state=state)

    def inner_state(self, state: TimeLimitState) -> Any:
        """The state of the wrapped environment."""
        return state.inner

    def reset(self, key: jax.Array, params: Params) -> tuple[TimeLimitState, TimeStep]:
        """A new episode at time 0."""
        inner, timestep = self.env.reset(key, params)
        t = jnp.zeros((), jnp.int32)
        return TimeLimitState(inner, t), self._show(timestep, t)

    def step(
        self, key: jax.Array, state: TimeLimitState, action: jax.Array, params: Params
    ) -> tuple[TimeLimitState, TimeStep]:
        """The next step."""
        inner, timestep = self.env.step(key, state.inner, action, params)
        t = state.t + 1
        return TimeLimitState(inner, t), self._show(timestep, t)


@dataclasses.dataclass(frozen=True)
class ShowOwed(_AppendToObs):
    """Appends what `DelayReward`, directly inside, still owes, so that rewards are a function of what is observed
    again.

    Columns: the fraction of `every` steps since the last regular payment (even if the end of the episode has just paid
    the rest), and the agent's unpaid rewards divided by `every`. The global state, if there is one, gains the fraction
    and the N agents' unpaid rewards.
    """

    def __post_init__(self) -> None:
        """Rejects any other environment."""
        if not isinstance(self.env, DelayReward):
            raise ValueError(
                f"ShowOwed shows what DelayReward counts and must be directly around it, got {type(self.env).__name__}"
            )

    @property
    def extra_size(self) -> int:
        """2."""
        return 2

    @property
    def extra_bounds(self) -> tuple[float, float]:
        """None: rewards are not bounded."""
        return -float("inf"), float("inf")

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with two more observation entries and, if there is a global state, 1 + N more state entries."""
        spec = super().spec
        return spec.replace(state_size=spec.state_size + 1 + spec.n_agents if spec.state_size else 0)

    def _show(self, state: DelayRewardState, timestep: TimeStep) -> TimeStep:
        every = jnp.float32(self.env.every)  # type: ignore[attr-defined]
        waited = (state.t % self.env.every).astype(jnp.float32) / every  # type: ignore[attr-defined]
        owed = state.owed / every
        timestep = _append(timestep, jnp.stack([jnp.full_like(owed, waited), owed], axis=-1))
        if not self.spec.state_size:
            return timestep
        whole = jnp.concatenate([timestep.state, waited[None], owed])
        return timestep.replace(state=whole, final_state=whole)

    def reset(self, key: jax.Array, params: Params) -> tuple[DelayRewardState, TimeStep]:
        """A new episode with nothing owed."""
        state, timestep = self.env.reset(key, params)
        return state, self._show(state, timestep)

    def step(
        self, key: jax.Array, state: DelayRewardState, action: jax.Array, params: Params
    ) -> tuple[DelayRewardState, TimeStep]:
        """The next step."""
        state, timestep = self.env.step(key, state, action, params)
        return state, self._show(state, timestep)


@dataclasses.dataclass(frozen=True)
class ObserveState(Wrapper):
    """Gives every agent the global state instead of its own observation: the task as a multi-agent MDP."""

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with the state's size as the observation's."""
        spec = self.env.spec
        if not spec.state_size:
            raise ValueError(f"ObserveState shows the global state, and {spec.id!r} has none")
        return spec.replace(obs_shape=(spec.state_size,), agent_obs_sizes=(), entities=())

    def _show(self, timestep: TimeStep) -> TimeStep:
        obs = jnp.broadcast_to(timestep.state, (self.spec.n_agents, *timestep.state.shape))
        return timestep.replace(obs=obs, final_obs=obs)

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """A new episode."""
        state, timestep = self.env.reset(key, params)
        return state, self._show(timestep)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """The next step."""
        state, timestep = self.env.step(key, state, action, params)
        return state, self._show(timestep)


@dataclasses.dataclass(frozen=True)
class PadAgents(Wrapper):
    """Pads agents with different observations and action sets to equal shapes.

    The wrapped environment returns `obs` and `action_mask` as tuples of N flat arrays and declares their lengths in
    `spec.agent_obs_sizes` and `spec.agent_num_actions` (continuous actions: `spec.agent_action_sizes`); observations
    are padded with zeros, masks with False. The wrapped environment receives all rows of an action in the padded size.
    """

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec with the padded sizes."""
        spec = self.env.spec
        if not spec.agent_obs_sizes or (spec.is_discrete and not spec.agent_num_actions):
            raise ValueError(
                f"PadAgents needs agent_obs_sizes and agent_num_actions in the spec of {spec.id!r}, got "
                f"{spec.agent_obs_sizes} and {spec.agent_num_actions}"
            )
        return spec.replace(
            obs_shape=(max(spec.agent_obs_sizes),),
            num_actions=max(spec.agent_num_actions, default=0),
            action_dim=max(spec.agent_action_sizes, default=spec.action_dim),
        )

    def _pad(self, timestep: TimeStep) -> TimeStep:
        def stack(rows: Any, width: int) -> jax.Array:
            return jnp.stack([jnp.pad(row, (0, width - row.shape[0])) for row in rows])

        obs = stack(timestep.obs, self.spec.obs_shape[0])
        mask = stack(timestep.action_mask, self.spec.num_actions or self.spec.action_dim)
        return timestep.replace(obs=obs, final_obs=obs, action_mask=mask, final_mask=mask)

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """A new episode, padded."""
        state, timestep = self.env.reset(key, params)
        return state, self._pad(timestep)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        """The next step, padded."""
        state, timestep = self.env.step(key, state, action, params)
        return state, self._pad(timestep)
