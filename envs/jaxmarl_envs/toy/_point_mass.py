"""Driving a point mass to a goal."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded, distance, inside_walls
from jaxmarl_envs.toy._viewer import draw_point_mass

NEAR = 0.1
"""Distance within which the goal counts as reached."""
_GOALS = 0.8  # goals lie in [-0.8, 0.8]²


@pytree_dataclass
class PointMassParams:
    """Traced parameters, which may differ between lanes of one program: [] float32 each."""

    mass: jax.Array
    drag: jax.Array  # force against the motion, per unit of velocity
    max_force: jax.Array  # along each axis
    dt: jax.Array  # seconds per step
    goal_x: jax.Array  # of a goal that is not random
    goal_y: jax.Array


@pytree_dataclass
class PointMassState:
    """The mass and its goal."""

    position: jax.Array  # [2] float32 in [-1, 1]
    velocity: jax.Array  # [2] float32
    goal: jax.Array  # [2] float32


@dataclasses.dataclass(frozen=True)
class PointMass:
    """A mass in the square [-1, 1]², pushed along x and y by one agent, or by one agent each.

    - start: position uniform in the square, at rest; goal uniform in [-0.8, 0.8]² (`is_goal_random`), or at (`goal_x`,
      `goal_y`), by default the middle;
    - action in [-1, 1] (NaN counts as 0), [1, 2] of one agent or [2, 1] of two, of which agent 0 pushes along x: force
      F = `max_force` times the action;
    - v' = (v + F dt / m) / (1 + drag dt / m), stable for any drag; then x' = x + v' dt. A wall cancels the velocity
    towards it;
    - reward -|x' - goal|. Nothing terminates.

    Observation [6], the same for every agent: x, v, goal - x. Global state [6]: x, v, goal. Without the last two entries
    of both if the goal is not shown: then tasks with different goals look the same. The family adds the time limit of
    100 steps. The optimum is not known in closed form.
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    """1 or 2."""
    is_goal_random: bool
    is_goal_shown: bool
    default_params: PointMassParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 within 0.1 of the goal after this step."""
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(6 if self.is_goal_shown else 4,),
            action_dim=2 // self.n_agents,
            state_size=6 if self.is_goal_shown else 4,
            metrics=("success",),
        )

    def reset(self, key: jax.Array, params: PointMassParams) -> tuple[PointMassState, TimeStep]:
        """A mass at rest, and its goal. Consumes `key`."""
        drawn = jax.random.uniform(key, (2, 2), jnp.float32, -1.0)
        goal = _GOALS * drawn[1] if self.is_goal_random else jnp.stack([params.goal_x, params.goal_y])
        state = PointMassState(drawn[0], jnp.zeros(2, jnp.float32), goal)
        return state, restart(self.spec, **self._views(state))

    def step(
        self, key: jax.Array, state: PointMassState, action: jax.Array, params: PointMassParams
    ) -> tuple[PointMassState, TimeStep]:
        """One step of `dt` seconds. `action`: [N, 2 / N] float32. Does not use `key`."""
        force = params.max_force * bounded(action).reshape(2)
        velocity = (state.velocity + force * params.dt / params.mass) / (1 + params.drag * params.dt / params.mass)
        position, velocity = inside_walls(state.position + velocity * params.dt, velocity)
        state = PointMassState(position, velocity, state.goal)
        away = distance(position - state.goal)
        return state, transition(
            self.spec,
            **self._views(state),
            reward=-away,
            terminated=False,
            metrics={"success": (away < NEAR).astype(jnp.float32)},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_point_mass(ax, frame, NEAR)

    def _views(self, state: PointMassState) -> dict[str, Any]:
        moving = [state.position, state.velocity]
        shown = self.is_goal_shown
        obs = jnp.concatenate([*moving, state.goal - state.position] if shown else moving)
        view = jnp.concatenate([*moving, state.goal] if shown else moving)
        return {"obs": jnp.broadcast_to(obs, (self.n_agents, obs.shape[0])), "state": view}
