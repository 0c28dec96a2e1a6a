"""Environments of this package as jumanji's. Imports jumanji; use it through `adapters.to_jumanji`."""

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jumanji import specs
from jumanji import types as jumanji_types
from jumanji.env import Environment as JumanjiEnvironment

from jaxmarl_envs.adapters._from_jumanji import JumanjiReading
from jaxmarl_envs.core import Environment, TimeStep, pytree_dataclass

Array = jax.Array


class Observation(NamedTuple):
    """Observation in jumanji's format."""

    agents_view: Array  # [N, *obs_shape] float32
    action_mask: Array  # [N, A] bool
    global_state: Array  # [G] float32
    step_count: Array  # [] int32, steps taken


@pytree_dataclass
class ToJumanjiState:
    """State of an environment with the key that its next step consumes."""

    inner: Any
    key: Array
    step_count: Array  # [] int32
    terminated: Array  # [] bool, of the last step


class ToJumanji(JumanjiEnvironment):
    """An environment of this package with jumanji's interface; like jumanji's own, it does not restart automatically.

    - Observation: `agents_view`, `action_mask`, `global_state`, `step_count`.
    - Rewards and discounts are [N]. A termination has discount 0, a truncation discount 1 in its last step.
    - `extras` are the metrics.
    - Padding is kept, since jumanji has one array for all agents; the mask shows which actions an agent has, but the
    real length of its observation is not available.
    - `reset` splits its key: the first half starts the episode, the second is kept, and split again in every step.
    """

    def __init__(self, env: Environment, params: Any = None) -> None:
        """Takes over the spec.

        Args:
          env: one instance, not batched.
          params: traced parameters, fixed from now on; `env.default_params` if None.
        """
        self.env, self.env_spec = env, env.spec
        self.params = env.default_params if params is None else params
        self.num_agents = env.spec.n_agents
        self.time_limit = env.spec.episode_limit
        super().__init__()

    def __repr__(self) -> str:
        return f"ToJumanji({self.env_spec.id!r})"

    @property
    def reading(self) -> JumanjiReading:
        """The `JumanjiReading` with which `from_jumanji` recovers everything that is stored here."""
        return JumanjiReading(
            episode_limit=self.env_spec.episode_limit,
            obs_bounds=self.env_spec.obs_bounds,
            reset_is_costly=self.env_spec.reset_is_costly,
            global_state=_global_state,
            is_terminal=_is_terminal,
        )

    def reset(self, key: Array) -> tuple[ToJumanjiState, Any]:
        """A new episode. Consumes `key`."""
        reset_key, key = jax.random.split(key)
        inner, timestep = self.env.reset(reset_key, self.params)
        state = ToJumanjiState(inner, key, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        shape = (self.num_agents,)
        return state, jumanji_types.restart(self._observe(state, timestep), self._extras(timestep), shape, jnp.float32)

    def step(self, state: ToJumanjiState, action: Array) -> tuple[ToJumanjiState, Any]:
        """The next step. `action`: [N] int32, or [N, D] float32 for continuous actions."""
        step_key, key = jax.random.split(state.key)
        inner, timestep = self.env.step(step_key, state.inner, action, self.params)
        following = ToJumanjiState(inner, key, state.step_count + 1, timestep.terminated)
        last, mid = jumanji_types.StepType.LAST, jumanji_types.StepType.MID
        return following, jumanji_types.TimeStep(
            step_type=jnp.where(timestep.done, last, mid),
            reward=timestep.reward,
            discount=jnp.broadcast_to(1.0 - timestep.terminated.astype(jnp.float32), (self.num_agents,)),
            observation=self._observe(following, timestep),
            extras=self._extras(timestep),
        )

    @cached_property
    def observation_spec(self) -> Any:
        """The spec of `Observation`."""
        spec = self.env_spec
        low, high = spec.obs_bounds
        width = spec.num_actions or spec.action_dim
        limit = spec.episode_limit or np.iinfo(np.int32).max
        return specs.Spec(
            Observation,
            "ObservationSpec",
            agents_view=specs.BoundedArray((spec.n_agents, *spec.obs_shape), jnp.float32, low, high, "agents_view"),
            action_mask=specs.BoundedArray((spec.n_agents, width), bool, False, True, "action_mask"),
            global_state=specs.BoundedArray((spec.state_size,), jnp.float32, low, high, "global_state"),
            step_count=specs.BoundedArray((), jnp.int32, 0, limit, "step_count"),
        )

    @cached_property
    def action_spec(self) -> Any:
        """One integer per agent, below its real number of actions; or [N, D] numbers."""
        spec = self.env_spec
        if spec.is_discrete:
            return specs.MultiDiscreteArray(jnp.array(spec.actions_per_agent, jnp.int32), jnp.int32, "action")
        return specs.BoundedArray((spec.n_agents, spec.action_dim), jnp.float32, *spec.action_bounds, "action")

    @cached_property
    def reward_spec(self) -> Any:
        """[N] float32."""
        return specs.Array((self.num_agents,), jnp.float32, "reward")

    @cached_property
    def discount_spec(self) -> Any:
        """[N] float32: 0 after a termination, else 1."""
        return specs.BoundedArray((self.num_agents,), jnp.float32, 0.0, 1.0, "discount")

    def _observe(self, state: ToJumanjiState, timestep: TimeStep) -> Observation:
        return Observation(timestep.obs, timestep.action_mask, timestep.state, state.step_count)

    def _extras(self, timestep: TimeStep) -> dict[str, Array]:
        return dict(timestep.metrics)


def _global_state(env: Any, observation: Observation) -> Array:
    return observation.global_state


def _is_terminal(env: Any, state: Any, action: Array, following: ToJumanjiState) -> Array:
    return following.terminated
