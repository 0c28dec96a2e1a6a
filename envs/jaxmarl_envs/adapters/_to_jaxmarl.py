"""Environments of this package as JaxMARL's. Imports JaxMARL; use it through `adapters.to_jaxmarl`."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.environments.spaces import Box, Discrete

from jaxmarl_envs.adapters._from_jaxmarl import Reading
from jaxmarl_envs.core import Environment, TimeStep, pytree_dataclass

Array = jax.Array


@pytree_dataclass
class ToJaxMARLState:
    """State of an environment with its latest timestep, since JaxMARL reads observations and masks from the state."""

    inner: Any
    timestep: TimeStep
    done: Array  # [] bool
    step: Array  # [] int32, steps taken

    def replace(self, **changes: Any) -> "ToJaxMARLState":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class ToJaxMARL(MultiAgentEnv):
    """An environment of this package with JaxMARL's interface: `step` restarts, `step_env` does not.

    - Agents have the spec's names. Observations, masks and spaces have each agent's real size, without padding.
    - `obs["world_state"]` is the global state, if there is one.
    - `dones` is true for all agents at once. Terminated and truncated are separate in `infos`, [N] each, together with
    the metrics
      ([N] each, repeated, as JaxMARL's training loops expect of infos).
    - With `final_obs`, `infos` also has `final_obs` (by agent) and `final_state`: the last observation and state,
    which JaxMARL's restart would replace.
    """

    def __init__(self, env: Environment, params: Any = None, *, final_obs: bool = False) -> None:
        """Takes over the spec's names and sizes.

        Args:
          env: one instance, not batched.
          params: traced parameters, fixed from now on; `env.default_params` if None.
          final_obs: see the class.
        """
        spec = env.spec
        super().__init__(spec.n_agents)
        self.env, self.spec, self.final_obs = env, spec, final_obs
        self.params = env.default_params if params is None else params
        self.agents = list(spec.names)
        sizes = spec.agent_obs_sizes or (spec.obs_shape[0] if spec.obs_shape else 0,) * spec.n_agents
        self._obs_shapes = {
            name: (size,) if spec.agent_obs_sizes else spec.obs_shape for name, size in zip(self.agents, sizes)
        }
        self._num_actions = dict(zip(self.agents, spec.actions_per_agent))
        low, high = spec.obs_bounds
        self.observation_spaces = {name: Box(low, high, shape) for name, shape in self._obs_shapes.items()}
        if spec.is_discrete:
            self.action_spaces = {name: Discrete(count) for name, count in self._num_actions.items()}
        else:
            self.action_spaces = {name: Box(*spec.action_bounds, (size,)) for name, size in self._num_actions.items()}
        self.max_steps = spec.episode_limit
        if spec.state_size:
            self.state_size = spec.state_size  # by this name, as in SMAX

    @property
    def name(self) -> str:
        """The spec's id."""
        return self.spec.id

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """The same class for all agents."""
        return {"agents": list(self.agents)}

    @property
    def reading(self) -> Reading:
        """The `Reading` with which `from_jaxmarl` recovers everything that is stored here."""
        spec = self.spec
        return Reading(
            episode_limit=spec.episode_limit,
            is_terminal=_is_terminal,
            global_state=_world_state if spec.state_size else None,
            metrics=spec.metrics,
            measure=_measure,
            obs_bounds=spec.obs_bounds,
            reset_is_costly=spec.reset_is_costly,
            optimum=spec.optimum,
        )

    @partial(jax.jit, static_argnums=(0,))
    def reset(self, key: Array) -> tuple[dict[str, Array], ToJaxMARLState]:
        """Observations and state of a new episode. Consumes `key`, which is passed on unchanged."""
        inner, timestep = self.env.reset(key, self.params)
        state = ToJaxMARLState(inner, timestep, timestep.done, jnp.zeros((), jnp.int32))
        return self.get_obs(state), state

    @partial(jax.jit, static_argnums=(0,))
    def step_env(self, key: Array, state: ToJaxMARLState, actions: dict[str, Array]) -> tuple[Any, ...]:
        """`(obs, state, rewards, dones, infos)` after one step, without a restart. Consumes `key`."""
        dtype = jnp.int32 if self.spec.is_discrete else jnp.float32
        rows = [jnp.asarray(actions[agent], dtype) for agent in self.agents]
        if self.spec.agent_action_sizes:
            rows = [jnp.pad(row, (0, self.spec.action_dim - len(row))) for row in rows]
        action = jnp.stack(rows)
        if self.spec.is_discrete:
            action = action.reshape(self.spec.n_agents)
        inner, timestep = self.env.step(key, state.inner, action, self.params)
        following = ToJaxMARLState(inner, timestep, timestep.done, state.step + 1)
        obs = self.get_obs(following)
        rewards = {agent: timestep.reward[i] for i, agent in enumerate(self.agents)}
        dones = dict.fromkeys([*self.agents, "__all__"], timestep.done)
        told = {"terminated": timestep.terminated, "truncated": timestep.truncated, **timestep.metrics}
        infos: dict[str, Any] = {name: jnp.broadcast_to(x, (self.spec.n_agents,)) for name, x in told.items()}
        if self.final_obs:
            infos |= {"final_obs": {agent: obs[agent] for agent in self.agents}, "final_state": timestep.final_state}
        return obs, following, rewards, dones, infos

    def get_obs(self, state: ToJaxMARLState) -> dict[str, Array]:
        """Observations of all agents, and `world_state`."""
        shown = state.timestep.obs
        obs = {}
        for i, (agent, shape) in enumerate(self._obs_shapes.items()):
            obs[agent] = shown[i, : shape[0]] if self.spec.agent_obs_sizes else shown[i]
        if self.spec.state_size:
            obs["world_state"] = state.timestep.state
        return obs

    @partial(jax.jit, static_argnums=(0,))
    def get_avail_actions(self, state: ToJaxMARLState) -> dict[str, Array]:
        """[A_i] bool for each agent; all true for continuous actions."""
        mask = state.timestep.action_mask
        return {agent: mask[i, :count] for i, (agent, count) in enumerate(self._num_actions.items())}

    def get_legal_moves(self, state: ToJaxMARLState) -> dict[str, Array]:
        """The same under the name that JaxMARL's wrappers use for Hanabi."""
        return self.get_avail_actions(state)


def _is_terminal(env: Any, state: ToJaxMARLState) -> Array:
    return state.timestep.terminated


def _world_state(env: Any, obs: Any, state: ToJaxMARLState) -> Array:
    return state.timestep.state


def _measure(env: Any, state: ToJaxMARLState, rewards: Any, dones: Any, infos: Any) -> dict[str, Array]:
    return state.timestep.metrics
