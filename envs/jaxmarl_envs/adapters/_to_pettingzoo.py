"""Environments of this package as PettingZoo's. Imports PettingZoo; use it through `adapters.to_pettingzoo`."""

from typing import Any

import jax
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from jaxmarl_envs.core import Environment, TimeStep, seed_key


class ToPettingZoo(ParallelEnv):
    """An environment of this package with PettingZoo's parallel interface, stepped from Python.

    - Agents have the spec's names; sizes are each agent's real ones, without padding. All agents end together.
    - Terminations and truncations are separate; the observation of the last step is the final one.
    - With `masks`, an observation is `{"observation": ..., "action_mask": int8 [A_i]}`, PettingZoo's convention, which
      its tests and wrappers know; without, the mask is in `infos[agent]["action_mask"]` only.
    - `state()` is the global state. `infos` also have the metrics.
    - A step is compiled once and then costs a call from Python: for training, use the environment itself.
    """

    def __init__(self, env: Environment, params: Any = None, *, masks: bool = False, seed: int = 0) -> None:
        """Makes spaces; nothing is compiled yet.

        Args:
          env: one instance, not batched.
          params: traced parameters; `env.default_params` if None.
          masks: whether observations contain the action mask.
          seed: seed of the first `reset`, and of all later ones without a seed.
        """
        spec = env.spec
        if masks and not spec.is_discrete:
            raise ValueError(f"{spec.id!r}: continuous actions have no masks; got masks=True")
        self.env, self.spec, self.masks = env, spec, masks
        self.params = env.default_params if params is None else params
        self.metadata = {"name": spec.id, "is_parallelizable": True, "render_modes": []}
        self.render_mode = None
        self.possible_agents = list(spec.names)
        self.agents: list[str] = []
        self._key = seed_key(seed)
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._state: Any = None
        self._timestep: TimeStep | None = None
        self._counts = spec.actions_per_agent
        (low, high), (least, most) = (tuple(map(np.float32, pair)) for pair in (spec.obs_bounds, spec.action_bounds))
        self.observation_spaces: dict[str, Any] = {}
        self.action_spaces: dict[str, Any] = {}
        for i, name in enumerate(self.possible_agents):
            shape = (spec.agent_obs_sizes[i],) if spec.agent_obs_sizes else spec.obs_shape
            space: Any = spaces.Box(low, high, shape, np.float32)
            if masks:
                mask = spaces.MultiBinary(self._counts[i])
                space = spaces.Dict({"observation": space, "action_mask": mask})
            self.observation_spaces[name] = space
            self.action_spaces[name] = (
                spaces.Discrete(self._counts[i])
                if spec.is_discrete
                else spaces.Box(least, most, (self._counts[i],), np.float32)
            )
        self.state_space = spaces.Box(low, high, (spec.state_size,), np.float32)

    def observation_space(self, agent: str) -> Any:
        """The space of one agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The space of one agent's actions."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observations and infos of a new episode; `options` are ignored."""
        if seed is not None:
            self._key = seed_key(seed)
        self._key, reset_key = jax.random.split(self._key)
        self._state, timestep = self._reset(reset_key, self.params)
        self._timestep = jax.tree.map(np.asarray, timestep)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos()

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """`(observations, rewards, terminations, truncations, infos)`; `agents` is empty once the episode is over.

        Raises:
          ValueError: called before `reset` or after the end, or actions are missing or outside their space.
        """
        if not self.agents:
            raise ValueError(f"{self.spec.id!r}: no episode is going on; call reset first")
        for name in self.agents:
            if name not in actions or not self.action_spaces[name].contains(actions[name]):
                raise ValueError(
                    f"{self.spec.id!r}: {name} needs an action in {self.action_spaces[name]}, got {actions.get(name)!r}"
                )
        dtype = np.int32 if self.spec.is_discrete else np.float32
        rows = [np.asarray(actions[name], dtype) for name in self.agents]
        if self.spec.agent_action_sizes:
            rows = [np.pad(row, (0, self.spec.action_dim - len(row))) for row in rows]
        action = np.stack(rows)
        self._key, step_key = jax.random.split(self._key)
        self._state, timestep = self._step(step_key, self._state, action, self.params)
        shown = self._timestep = jax.tree.map(np.asarray, timestep)
        rewards = {name: float(shown.reward[i]) for i, name in enumerate(self.agents)}
        terminations = dict.fromkeys(self.agents, bool(shown.terminated))
        truncations = dict.fromkeys(self.agents, bool(shown.truncated))
        result = self._observations(), rewards, terminations, truncations, self._infos()
        if shown.done:
            self.agents = []
        return result

    def state(self) -> np.ndarray:
        """[G] float32, the global state.

        Raises:
          ValueError: called before `reset`, or the environment has none.
        """
        if self._timestep is None or not self.spec.state_size:
            reason = "has no global state" if not self.spec.state_size else "was not reset yet"
            raise ValueError(f"{self.spec.id!r} {reason}")
        return np.asarray(self._timestep.state)

    def render(self) -> None:
        """Does nothing: recorded episodes are drawn with `jaxmarl_envs.render`."""

    def _observations(self) -> dict[str, Any]:
        assert self._timestep is not None
        sizes, found = self.spec.agent_obs_sizes, {}
        for i, name in enumerate(self.agents):
            row: Any = np.asarray(self._timestep.obs[i][: sizes[i]] if sizes else self._timestep.obs[i])
            found[name] = {"observation": row, "action_mask": self._mask(i)} if self.masks else row
        return found

    def _mask(self, i: int) -> np.ndarray:
        assert self._timestep is not None
        return np.asarray(self._timestep.action_mask[i])[: self._counts[i]].astype(np.int8)

    def _infos(self) -> dict[str, Any]:
        assert self._timestep is not None
        metrics = {name: float(value) for name, value in self._timestep.metrics.items()}
        return {name: {**metrics, "action_mask": self._mask(i)} for i, name in enumerate(self.agents)}
