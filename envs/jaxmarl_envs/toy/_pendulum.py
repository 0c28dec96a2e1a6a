"""Swinging a pendulum up and holding it there."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded
from jaxmarl_envs.toy._viewer import draw_pendulum

MAX_SPEED = 8.0
"""Maximum angular velocity, in radians per second."""
UPRIGHT = 0.2
"""Radians from the top that count as upright."""


@pytree_dataclass
class PendulumParams:
    """Traced parameters, which may differ between lanes of one program: [] float32 each, in SI units."""

    gravity: jax.Array
    mass: jax.Array
    length: jax.Array
    dt: jax.Array  # seconds per step
    max_torque: jax.Array  # of the team


@pytree_dataclass
class PendulumState:
    """Angle and velocity of the rod."""

    angle: jax.Array  # [] float32, radians in [-pi, pi), 0 at the top
    velocity: jax.Array  # [] float32, radians per second in [-8, 8]


@dataclasses.dataclass(frozen=True)
class Pendulum:
    """A rod hanging from a joint, and a torque too weak to lift it at once; N agents share the torque.

    Rules, after Gym's `Pendulum-v1`, with angle θ (0 at the top), velocity ω and torque u:

    - start: θ uniform in [-π, π], ω uniform in [-1, 1];
    - action [N, 1] in [-1, 1] (NaN counts as 0): u = `max_torque` times the mean over agents. Gym's action is the torque
      itself, in [-2, 2]; the rest is the same;
    - ω' = ω + (3 g / (2 l) sin θ + 3 u / (m l²)) dt, kept in [-8, 8]; then θ' = θ + ω' dt, kept in [-π, π);
    - reward -(θ² + 0.1 ω² + 0.001 u²), of the state that the torque was chosen in: from 0 down to -16.3 with the default
      parameters. Nothing terminates.

    Observation [3], the same for every agent: cos θ, sin θ, ω. It is also the global state. The family adds the time
    limit of 200 steps. The optimum is not known in closed form.
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    default_params: PendulumParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 within 0.2 rad of the top after this step."""
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(3,),
            action_dim=1,
            state_size=3,
            obs_bounds=(-MAX_SPEED, MAX_SPEED),
            metrics=("success",),
        )

    def reset(self, key: jax.Array, params: PendulumParams) -> tuple[PendulumState, TimeStep]:
        """A random angle and velocity. Consumes `key`."""
        start = jax.random.uniform(key, (2,), jnp.float32, -1.0)
        state = PendulumState(start[0] * jnp.pi, start[1])
        obs = self._view(state)
        return state, restart(self.spec, obs=self.observe(obs), state=obs)

    def step(
        self, key: jax.Array, state: PendulumState, action: jax.Array, params: PendulumParams
    ) -> tuple[PendulumState, TimeStep]:
        """One step of `dt` seconds. `action`: [N, 1] float32. Does not use `key`."""
        torque = params.max_torque * bounded(action).mean()
        cost = state.angle**2 + 0.1 * state.velocity**2 + 0.001 * torque**2
        turn = 1.5 * params.gravity / params.length * jnp.sin(state.angle)
        turn += 3.0 * torque / (params.mass * params.length**2)
        velocity = jnp.clip(state.velocity + turn * params.dt, -MAX_SPEED, MAX_SPEED)
        state = PendulumState(_wrapped(state.angle + velocity * params.dt), velocity)
        obs = self._view(state)
        return state, transition(
            self.spec,
            obs=self.observe(obs),
            state=obs,
            reward=-cost,
            terminated=False,
            metrics={"success": (jnp.abs(state.angle) < UPRIGHT).astype(jnp.float32)},
        )

    def observe(self, state: jax.Array) -> jax.Array:
        """[N, 3] observations in a global state [3]."""
        return jnp.broadcast_to(state, (self.n_agents, 3))

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_pendulum(ax, frame)

    @staticmethod
    def _view(state: PendulumState) -> jax.Array:
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.velocity])


def _wrapped(angle: jax.Array) -> jax.Array:
    """The same angle in [-pi, pi), since a growing one would lose precision in float32."""
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi
