"""A team that pushes a puck to a goal."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded, distance, inside_walls
from jaxmarl_envs.toy._viewer import draw_puck

AGENT_RADIUS, PUCK_RADIUS = 0.1, 0.15
NEAR = 0.15
"""Distance between puck and goal within which the goal counts as reached."""
_SUBSTEPS = 4
_RING = 0.5  # distance of the agents from the puck at the start
MAX_AGENTS = 12
"""Maximum number of agents on the ring without contact."""


@pytree_dataclass
class PuckParams:
    """Traced parameters, which may differ between lanes of one program: [] float32 each."""

    agent_mass: jax.Array
    puck_mass: jax.Array
    agent_drag: jax.Array  # force against the motion, per unit of velocity
    puck_drag: jax.Array
    stiffness: jax.Array  # of contacts: force per unit of overlap
    max_force: jax.Array  # of an agent, along each axis
    dt: jax.Array  # seconds per step
    approach: jax.Array  # weight of the agents' distance from the puck in the reward


@pytree_dataclass
class PuckState:
    """Bodies 0..N-1 are the agents, body N is the puck."""

    position: jax.Array  # [N + 1, 2] float32 in [-1, 1]
    velocity: jax.Array  # [N + 1, 2] float32
    goal: jax.Array  # [2] float32


@dataclasses.dataclass(frozen=True)
class Puck:
    """N round agents in the square [-1, 1]² push a round puck, which nothing else moves, to a goal.

    - start: puck uniform in [-0.3, 0.3]², goal uniform in [-0.8, 0.8]², agents evenly spaced on a circle of radius 0.5
      around the puck, turned at random; all at rest;
    - action [N, 2] in [-1, 1] (NaN counts as 0): an agent's force is `max_force` times its action;
    - bodies (agents of radius 0.1, the puck of 0.15) that overlap are pushed apart by springs, with `stiffness` times
      the overlap along the line between their centers. A step is four steps of dt / 4: forces at the old positions,
      v' = (v + f h / m) / (1 + drag h / m), x' = x + v' h. Walls stop centers and cancel the velocity towards them;
    - reward -(distance of the puck from the goal + `approach` times the mean distance of the agents from the puck),
      after the step. Nothing terminates.

    Observation [10 + 4 (N - 1)] of an agent: its position and velocity, puck minus own position, the puck's velocity,
    goal minus puck; then, for the others in order, position minus own and velocity minus own. Global state [4 N + 6]:
    positions of all bodies, velocities of all, goal. The family adds the time limit of 50 steps. The optimum is not
    known in closed form.
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    default_params: PuckParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 if the puck is within 0.15 of the goal after this step."""
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(10 + 4 * (self.n_agents - 1),),
            action_dim=2,
            state_size=4 * self.n_agents + 6,
            metrics=("success",),
        )

    def reset(self, key: jax.Array, params: PuckParams) -> tuple[PuckState, TimeStep]:
        """Agents around a puck at rest. Consumes `key`."""
        drawn = jax.random.uniform(key, (5,), jnp.float32, -1.0)
        puck, goal = 0.3 * drawn[:2], 0.8 * drawn[2:4]
        angle = jnp.pi * drawn[4] + jnp.asarray(2 * np.pi / self.n_agents * np.arange(self.n_agents), jnp.float32)
        agents = puck[None] + _RING * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        state = PuckState(jnp.concatenate([agents, puck[None]]), jnp.zeros((self.n_agents + 1, 2), jnp.float32), goal)
        return state, restart(self.spec, **self._views(state))

    def step(
        self, key: jax.Array, state: PuckState, action: jax.Array, params: PuckParams
    ) -> tuple[PuckState, TimeStep]:
        """One step of `dt` seconds. `action`: [N, 2] float32. Does not use `key`."""
        push = jnp.concatenate([params.max_force * bounded(action), jnp.zeros((1, 2), jnp.float32)])
        mass = self._bodies(params.agent_mass, params.puck_mass)
        drag = self._bodies(params.agent_drag, params.puck_drag)
        h = params.dt / _SUBSTEPS

        def substep(_: jax.Array, moving: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            position, velocity = moving
            force = push + params.stiffness * self._contacts(position)
            velocity = (velocity + force * h / mass) / (1 + drag * h / mass)
            return inside_walls(position + velocity * h, velocity)

        position, velocity = jax.lax.fori_loop(0, _SUBSTEPS, substep, (state.position, state.velocity))
        state = PuckState(position, velocity, state.goal)
        away = distance(position[-1] - state.goal)
        reach = distance(position[:-1] - position[-1:]).mean()
        return state, transition(
            self.spec,
            **self._views(state),
            reward=-(away + params.approach * reach),
            terminated=False,
            metrics={"success": (away < NEAR).astype(jnp.float32)},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_puck(ax, frame, (AGENT_RADIUS, PUCK_RADIUS), NEAR)

    def _bodies(self, agent: jax.Array, puck: jax.Array) -> jax.Array:
        """[N + 1, 1]: one number for every agent, another for the puck."""
        return jnp.where(jnp.asarray(np.arange(self.n_agents + 1) < self.n_agents)[:, None], agent, puck)

    def _contacts(self, position: jax.Array) -> jax.Array:
        """[N + 1, 2]: sum over the bodies that overlap with each one of the overlap times the direction away."""
        radius = np.full(self.n_agents + 1, AGENT_RADIUS, np.float32)
        radius[-1] = PUCK_RADIUS
        reach = (radius[:, None] + radius) * (1 - np.eye(self.n_agents + 1, dtype=np.float32))  # nobody touches itself
        offset = position[:, None] - position[None]
        apart = distance(offset)
        overlap = jnp.maximum(jnp.asarray(reach) - apart, 0.0)
        return ((overlap / apart)[..., None] * offset).sum(axis=1)

    def observe(self, state: jax.Array) -> jax.Array:
        """[N, 10 + 4 (N - 1)] observations in a global state [4 N + 6]."""
        n, size = self.n_agents, 2 * (self.n_agents + 1)
        position, velocity = state[:size].reshape(n + 1, 2), state[size:-2].reshape(n + 1, 2)
        agents, puck = position[:-1], position[-1:]
        moving, sliding = velocity[:-1], velocity[-1:]
        everyone = [agents, moving, puck - agents, jnp.broadcast_to(sliding, (n, 2))]
        everyone.append(jnp.broadcast_to(state[None, -2:] - puck, (n, 2)))
        others = np.array([[j for j in range(n) if j != i] for i in range(n)], np.int32).reshape(n, n - 1)
        seen = jnp.concatenate([agents[others] - agents[:, None], moving[others] - moving[:, None]], axis=-1)
        return jnp.concatenate([*everyone, seen.reshape(n, -1)], axis=-1)

    def _views(self, state: PuckState) -> dict[str, Any]:
        view = jnp.concatenate([state.position.ravel(), state.velocity.ravel(), state.goal])
        return {"obs": self.observe(view), "state": view}
