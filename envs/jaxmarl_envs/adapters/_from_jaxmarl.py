"""Environments of JaxMARL as environments of this package."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._packages import check_parts, foreign
from jaxmarl_envs.core import Environment, EnvSpec, Frame, PadAgents, TimeStep, Verdict, seed_key

Array = jax.Array

_PARTS = ("agents", "reset", "step_env", "action_space")


@dataclasses.dataclass(frozen=True)
class Reading:
    """Where to find the properties of an environment that JaxMARL's interface does not declare.

    All functions are pure and take the JaxMARL environment as first argument; use module-level functions, so that
    readings can be compared.
    """

    episode_limit: int | None = None
    """Maximum number of steps in an episode; None if there is no limit or it is not known."""
    is_terminal: Callable[[Any, Any], Array] | None = None
    """`(env, state) -> []` bool: whether the task itself ended. An episode that is done without it was truncated. None:
    they cannot be distinguished, and every end counts as a termination."""
    observe: Callable[[Any, Array], Array] | None = None
    """`(env, one agent's observation) ->` a scaled observation of the same shape; None to leave it unchanged. For
    entries such as counts or positions, from which networks learn badly."""
    global_state: Callable[[Any, Mapping[str, Array], Any], Array] | None = None
    """`(env, obs, state) -> [G]`; None for no global state."""
    metrics: tuple[str, ...] = ()
    """Names of the metrics that `measure` returns."""
    measure: (
        Callable[[Any, Any, Mapping[str, Array], Mapping[str, Array], Mapping[str, Any]], dict[str, Array]] | None
    ) = None
    """`(env, state, rewards, dones, infos) -> {name: []}` after a step. Metrics of single steps need `EpisodeMetrics`
    around the environment, since an episode's metrics are those of its last step."""
    legal: Callable[[Any, Any], Mapping[str, Array]] | None = None
    """`(env, state) -> {agent: [A]}`; None for the environment's `get_avail_actions`, if it has one."""
    bonus: Callable[[Mapping[str, Any]], Mapping[str, Array]] | None = None
    """`infos -> {agent: []}`, added to the rewards after multiplication with `bonus_scale`."""
    bonus_scale: float = 0.0
    obs_bounds: tuple[float, float] = (-float("inf"), float("inf"))
    """See `EnvSpec`. JaxMARL's spaces are not used: they do not describe the global state, and not all are correct."""
    draw: Callable[[Any, Any, Any], Any] | None = None
    """`(env, matplotlib axes, Frame) -> Verdict | None`, which draws a step; None if it cannot be drawn."""
    reset_is_costly: bool = False
    """See `EnvSpec`."""
    optimum: float | None = None
    """See `EnvSpec`."""


@dataclasses.dataclass(frozen=True)
class FromJaxMARL:
    """One instance of a JaxMARL environment. It uses `step_env`, never `step`, which resets in every step.

    - Observations, rewards and masks are those of `env.agents`, in that order. If agents have different sizes, rows
    and masks are tuples; `from_jaxmarl` adds `PadAgents`.
    - Masks come from `get_avail_actions`; they are all true if the environment has none.
    - `dones["__all__"]` ends the episode; `Reading` distinguishes truncation from termination, and gives the global
    state. The ends of single agents (`dones[agent]`) and the rest of `infos` are dropped, since a `TimeStep` has no
    place for them.
    - Actions are int32, whatever dtype the environment's spaces declare.
    """

    env: Any
    """A `jaxmarl.environments.MultiAgentEnv`; equality is identity."""
    reading: Reading = Reading()
    id: str = dataclasses.field(default="jaxmarl/unnamed", compare=False)
    default_params: tuple[()] = ()

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Traces `reset` once, for sizes that the spaces do not declare."""
        agents = self._agents
        spaces = [self._action_space(agent) for agent in agents]
        with foreign():
            obs, _, state = jax.eval_shape(self._reset, seed_key(0))
        unseen = [agent for agent in agents if agent not in obs]
        if unseen:
            raise ValueError(f"{self.id}: reset shows nothing to {unseen[0]!r}, one of its agents; got {list(obs)}")
        shapes = [tuple(obs[agent].shape) for agent in agents]
        is_equal = len(set(shapes)) == 1
        if not is_equal and any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"{self.id}: observations of unequal agents have to be flat, got shapes {shapes}")
        counts = tuple(int(getattr(space, "n", 0)) for space in spaces)
        if len({count > 0 for count in counts}) > 1:
            raise ValueError(f"{self.id}: agents must be all discrete or all continuous, got {spaces}")
        actions: dict[str, Any] = {"num_actions": max(counts)}
        sizes = counts
        if not counts[0]:
            dims = [tuple(space.shape) for space in spaces]
            if any(len(dim) != 1 for dim in dims):
                raise ValueError(f"{self.id}: continuous actions have to be flat, got shapes {dims}")
            sizes = tuple(dim[0] for dim in dims)
            bounds = {(float(jnp.min(space.low)), float(jnp.max(space.high))) for space in spaces}
            actions = {"action_dim": max(sizes)}
            actions["action_bounds"] = (max(low for low, _ in bounds), min(high for _, high in bounds))
        is_ragged = not (is_equal and len(set(sizes)) == 1)
        if is_ragged and counts[0]:
            actions["agent_num_actions"] = sizes
        elif len(set(sizes)) > 1:
            actions["agent_action_sizes"] = sizes
        return EnvSpec(
            id=self.id,
            n_agents=len(agents),
            obs_shape=shapes[0] if is_equal else (max(shape[0] for shape in shapes),),
            **actions,
            state_size=state.shape[0],
            episode_limit=self.reading.episode_limit,
            agent_names=tuple(agents),
            agent_obs_sizes=tuple(shape[0] for shape in shapes) if is_ragged else (),
            metrics=self.reading.metrics,
            obs_bounds=self.reading.obs_bounds,
            optimum=self.reading.optimum,
            reset_is_costly=self.reading.reset_is_costly,
        )

    def reset(self, key: Array, params: tuple[()]) -> tuple[Any, TimeStep]:
        """A new episode. Consumes `key`, which is passed to JaxMARL's `reset` unchanged."""
        del params
        with foreign():
            obs, inner, state = self._reset(key)
            zero = jnp.zeros(())
            false = jnp.zeros((), bool)
            metrics = dict.fromkeys(self.reading.metrics, zero)
            timestep = self._show(obs, inner, state, jnp.zeros(len(self._agents)), false, false, metrics)
        return inner, timestep

    def step(self, key: Array, state: Any, action: Array, params: tuple[()]) -> tuple[Any, TimeStep]:
        """One call of JaxMARL's `step_env`. `action`: [N] int32 or [N, D] float32. Consumes `key`."""
        del params
        env, reading = self.env, self.reading
        with foreign():
            actions = {agent: action[i] for i, agent in enumerate(self._agents)}
            for agent, size in zip(self._agents, self.spec.agent_action_sizes):
                actions[agent] = actions[agent][:size]
            obs, inner, rewards, dones, infos = env.step_env(key, state, actions)
            if "__all__" not in dones:
                raise ValueError(f"{self.id}: step_env must return dones with '__all__', got {list(dones)}")
            done = jnp.asarray(dones["__all__"], bool)
            terminated = done if reading.is_terminal is None else done & reading.is_terminal(env, inner)
            measured = reading.measure(env, inner, rewards, dones, infos) if reading.measure else {}
            if set(reading.metrics) - set(measured):
                raise ValueError(
                    f"{self.id}: Reading.measure must return the metrics {reading.metrics}, got {sorted(measured)}"
                )
            metrics = {name: jnp.asarray(measured[name], jnp.float32) for name in reading.metrics}
            reward = self._stack(rewards)
            if reading.bonus is not None:
                reward += jnp.float32(reading.bonus_scale) * self._stack(reading.bonus(infos))
            timestep = self._show(
                obs, inner, self._global_state(obs, inner), reward, terminated, done & ~terminated, metrics
            )
        return inner, timestep

    @property
    def draw(self) -> Callable[[Any, Frame], Verdict | None] | None:
        """`(axes, frame)`: draws a step; None if the reading has no drawing."""
        return None if self.reading.draw is None else functools.partial(self.reading.draw, self.env)

    @cached_property
    def _agents(self) -> tuple[str, ...]:
        agents = tuple(self.env.agents)
        if not agents or not all(isinstance(agent, str) for agent in agents) or len(set(agents)) < len(agents):
            raise ValueError(
                f"{self.id}: agents must be one or more different names (str), by which JaxMARL's dicts are read, got "
                f"{list(agents)}"
            )
        return agents

    def _action_space(self, agent: str) -> Any:
        try:
            return self.env.action_space(agent)
        except KeyError as error:
            raise ValueError(f"{self.id}: no action space for {agent!r}, one of its agents {self._agents}") from error

    def _stack(self, values: Mapping[str, Array]) -> Array:
        return jnp.stack([jnp.asarray(values[agent], jnp.float32) for agent in self._agents])

    def _legal(self, inner: Any) -> Mapping[str, Array] | None:
        read = self.reading.legal or (_avail_actions if hasattr(self.env, "get_avail_actions") else None)
        try:
            return None if read is None else read(self.env, inner)
        except NotImplementedError:  # JaxMARL's base class has no mask
            return None

    def _reset(self, key: Array) -> tuple[Mapping[str, Array], Any, Array]:
        obs, inner = self.env.reset(key)
        return obs, inner, self._global_state(obs, inner)

    def _global_state(self, obs: Mapping[str, Array], inner: Any) -> Array:
        read = self.reading.global_state
        return jnp.zeros((0,)) if read is None else jnp.asarray(read(self.env, obs, inner), jnp.float32)

    def _show(
        self,
        obs: Mapping[str, Array],
        inner: Any,
        state: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
        metrics: dict[str, Array],
    ) -> TimeStep:
        spec, agents = self.spec, self._agents
        rows = [jnp.asarray(obs[agent], jnp.float32) for agent in agents]
        if self.reading.observe is not None:
            rows = [self.reading.observe(self.env, row) for row in rows]
        shown: Any = tuple(rows) if spec.agent_obs_sizes else jnp.stack(rows)
        mask: Any = jnp.asarray(spec.real_actions)
        legal = self._legal(inner) if spec.is_discrete else None
        if legal is not None:
            masks = [jnp.asarray(legal[agent]).astype(bool) for agent in agents]
            mask = tuple(masks) if spec.agent_num_actions else jnp.stack(masks)
        elif spec.agent_obs_sizes:  # PadAgents expects tuples of both
            mask = tuple(mask)
        return TimeStep(
            obs=shown,
            state=state,
            action_mask=mask,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_obs=shown,
            final_state=state,
            final_mask=mask,
            metrics=metrics,
        )


def _avail_actions(env: Any, inner: Any) -> Mapping[str, Array]:
    return env.get_avail_actions(inner)


def from_jaxmarl(env: Any, reading: Reading | None = None, *, id: str = "") -> Environment:
    """A JaxMARL environment as one of this package, padded if its agents differ.

    Args:
      env: a `jaxmarl.environments.MultiAgentEnv`.
      reading: where to find its global state, time limit and metrics; None for `env.reading` (of environments made by
        `to_jaxmarl`) if it exists.
      id: `family/variant` of the spec; made from the class's name if empty.

    Raises:
      ValueError: `env` is anything else, agents are not names or lack an observation or action space, or agents have
        different kinds of actions or observations.
    """
    check_parts("from_jaxmarl", "an environment of JaxMARL", env, _PARTS)
    reading = reading or getattr(env, "reading", None) or Reading()
    adapter = FromJaxMARL(env, reading, id or f"jaxmarl/{type(env).__name__}")
    return PadAgents(adapter) if adapter.spec.agent_obs_sizes else adapter
