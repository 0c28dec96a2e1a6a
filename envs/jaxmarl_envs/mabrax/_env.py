"""A brax robot controlled by a team."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.adapters._packages import foreign, load
from jaxmarl_envs.core import EnvSpec, Episode, TimeStep, pytree_dataclass, restart, transition
from jaxmarl_envs.mabrax._joints import entry_owners, local_entries, tree_of
from jaxmarl_envs.mabrax._robots import Part, Partition

Array = jax.Array

MAX_MAGNITUDE = 1e6
"""Larger positions, velocities, observations and rewards (in brax's units) count as a failure of the physics."""
_MEASURES = {
    "distance": ("distance", "forward_velocity"),
    "target_distance": ("target_distance",),
    "height": ("height",),
}


@pytree_dataclass
class MultiAgentBraxState:
    """State of `MultiAgentBrax`."""

    pipeline: Any  # brax's state of the physics
    t: Array  # [] int32, steps taken
    measure: Array  # [] float32: meters traveled along x, or the mean of meters from the target or above the ground
    is_over: Array  # [] bool, the episode has terminated


@dataclasses.dataclass(frozen=True)
class MultiAgentBrax:
    """N agents, each with some of the actuators of one brax robot; all receive brax's reward.

    - Action [N, D] float32 in [-1, 1], one entry per actuator in the order of the agent's part; entries outside are
    clipped. D is the largest part: the last entries of an agent with fewer actuators are not used
      (`agent_action_sizes`), and false in the mask.
    - Global state [G]: brax's own observation.
    - Observation, by `obs`: `full`: the global state. `dima`: the global state and the agent's index one-hot, minus
    the mean
      of these entries, divided by their (population) standard deviation, as in DIMA's code. `local-K`: entries that
      belong to no joint (the root, the task), the agent's own joints, and those within K steps on the tree of bodies,
      nearest first; `mabrax/_joints.py` derives the entries from brax's tree. Shorter rows are padded with zeros.
    - Reward and dynamics are those of brax, without its wrappers. Terminated: brax's `done` (a fall); many robots have
      none. The family adds the time limit, which truncates.
    - Start: brax's `reset` with a new key in every episode: a sample of its distribution, not a stored state.
    - If a position, velocity, observation or reward is not finite or exceeds `MAX_MAGNITUDE`, the physics has failed:
    the episode terminates with zero observations and reward, and the metric `physics_failures` is 1.
    - Metrics of the episode so far: `distance` (m along x) and `forward_velocity` (m/s, its mean), or
      `target_distance` (m, its mean) of reacher (fingertip to target) and pusher (object to goal), or `height` (m, its
      mean) of the torso of humanoidstandup.

    Names and divisions of the robots after Multi-Agent MuJoCo (Peng et al., "FACMAC", 2021). Deviation: two joints are
    neighbors if they meet at a body, so any two of ant's hips are one step apart; Multi-Agent MuJoCo links them in a
    ring. The coupled half cheetahs are not brax's: see `mabrax/_coupled.py`.
    """

    brax_env: Any
    """A `brax.envs.Env` without wrappers; equality is identity."""
    layout: tuple[Part, ...]
    partition: Partition
    measure: str
    """One of the metrics above: `distance`, `target_distance` or `height`."""
    obs: str = "local-1"
    id: str = dataclasses.field(default="mabrax/unnamed", compare=False)
    default_params: tuple[()] = ()

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description."""
        size = len(entry_owners(tree_of(self.brax_env.sys), self.layout))
        sizes = {"full": size, "dima": size + len(self.partition)}
        rows = () if self._entries is None else tuple(len(row) for row in self._entries)
        return EnvSpec(
            id=self.id,
            n_agents=len(self.partition),
            obs_shape=(max(rows) if rows else sizes[self.obs],),
            action_dim=max(self.agent_action_sizes),
            state_size=size,
            action_bounds=(-1.0, 1.0),
            agent_obs_sizes=rows if len(set(rows)) > 1 else (),
            agent_action_sizes=self.agent_action_sizes if len(set(self.agent_action_sizes)) > 1 else (),
            metrics=(*_MEASURES[self.measure], "physics_failures"),
            reset_is_costly=True,
        )

    @property
    def agent_action_sizes(self) -> tuple[int, ...]:
        """Entries of the action that each agent's actuators use."""
        return tuple(len(part) for part in self.partition)

    def reset(self, key: Array, params: tuple[()]) -> tuple[MultiAgentBraxState, TimeStep]:
        """The robot at a random start of brax. Consumes `key`."""
        del params
        with foreign():
            start = self.brax_env.reset(key)
        zero, false = jnp.zeros((), jnp.float32), jnp.zeros((), bool)
        state = MultiAgentBraxState(start.pipeline_state, jnp.zeros((), jnp.int32), zero, false)
        return state, restart(self.spec, obs=self.observe(start.obs), state=start.obs)

    def step(
        self, key: Array, state: MultiAgentBraxState, action: Array, params: tuple[()]
    ) -> tuple[MultiAgentBraxState, TimeStep]:
        """One step of brax's environment. `action`: [N, D] float32. Does not use `key`.

        A terminated episode gives zero reward and stays terminated.
        """
        del key, params
        control = jnp.clip(action, -1.0, 1.0).ravel()[self._slots]
        zero = jnp.zeros((), jnp.float32)
        before = load("brax.envs.base", self.id).State(state.pipeline, None, zero, zero, {})
        with foreign():
            after = self.brax_env.step(before, control)
        pipeline = after.pipeline_state
        watched = (after.obs, pipeline.q, pipeline.qd, after.reward[None])
        has_failed = ~(jnp.abs(jnp.concatenate(watched)) <= MAX_MAGNITUDE).all()  # also false for NaN
        is_over = state.is_over | has_failed | (after.done > 0)
        t = state.t + 1
        measure = jnp.where(has_failed, state.measure, self._measured(state, t, after.metrics))
        metrics = {self.measure: measure, "physics_failures": has_failed}
        if self.measure == "distance":
            metrics["forward_velocity"] = measure / (t.astype(jnp.float32) * self._seconds)
        raw = jnp.where(has_failed, 0.0, after.obs)
        return MultiAgentBraxState(pipeline, t, measure, is_over), transition(
            self.spec,
            obs=self.observe(raw),
            state=raw,
            reward=jnp.where(state.is_over | has_failed, 0.0, after.reward),
            terminated=is_over,
            metrics=metrics,
        )

    def observe(self, state: Array) -> Array:
        """[N, *obs_shape] observations in a global state [G], which is brax's observation."""
        raw, n = state, len(self.partition)
        if self._entries is not None:
            width = max(len(row) for row in self._entries)
            nothing = raw.shape[0]  # past the end
            table = np.array([row + (nothing,) * (width - len(row)) for row in self._entries])
            return jnp.append(raw, 0.0)[table]
        everything = jnp.broadcast_to(raw, (n, raw.shape[0]))
        if self.obs == "full":
            return everything
        named = jnp.concatenate([everything, jnp.eye(n, dtype=jnp.float32)], axis=1)
        spread = jnp.maximum(named.std(axis=1, keepdims=True), 1e-6)  # zero for one agent whose state is all ones
        return (named - named.mean(axis=1, keepdims=True)) / spread

    def to_html(self, episode: Episode) -> str:
        """An interactive page of an episode, up to a failure of the physics. It loads its viewer from the network."""
        pipeline = episode.states.pipeline
        is_finite = np.isfinite(pipeline.x.pos).all((1, 2)) & np.isfinite(pipeline.x.rot).all((1, 2))
        count = len(is_finite) if is_finite.all() else int(is_finite.argmin())
        frames = [jax.tree.map(lambda x, t=t: x[t], pipeline) for t in range(count)]
        system = self.brax_env.sys.tree_replace({"opt.timestep": self.brax_env.dt})
        return load("brax.io.html", self.id).render(system, frames)

    @property
    def _seconds(self) -> Array:
        """[] float32, the measure for one step."""
        return jnp.asarray(self.brax_env.dt, jnp.float32)

    @cached_property
    def _slots(self) -> np.ndarray:
        """[A]: index of each actuator's entry in the flat joint action."""
        width = max(self.agent_action_sizes)
        slots = {a: i * width + d for i, part in enumerate(self.partition) for d, a in enumerate(part)}
        return np.array([slots[a] for a in range(len(slots))])

    @cached_property
    def _entries(self) -> Partition | None:
        """The entries of the global state that each agent observes; None for all."""
        if not self.obs.startswith("local-"):
            return None
        reach = int(self.obs.removeprefix("local-"))
        return local_entries(tree_of(self.brax_env.sys), self.layout, self.partition, reach)

    def _measured(self, state: MultiAgentBraxState, t: Array, metrics: dict[str, Array]) -> Array:
        """[] the metric named by `measure` after step `t`, from these metrics of brax."""
        if self.measure == "distance":
            return state.measure + metrics["x_velocity"] * self._seconds
        is_away = self.measure == "target_distance"
        now = -metrics["reward_dist"] if is_away else metrics["reward_linup"] * self._seconds
        return state.measure + (now - state.measure) / t.astype(jnp.float32)
