"""Balancing a pole on a cart."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded
from jaxmarl_envs.toy._viewer import draw_cart_pole

TRACK = 2.4
"""Largest distance of the cart from the middle, in meters."""
LEAN = 12 * 3.141592653589793 / 180
"""Largest angle of the pole, in radians."""

STANDARD = {
    "gravity": 9.8,
    "cart_mass": 1.0,
    "pole_mass": 0.1,
    "pole_length": 1.0,
    "dt": 0.02,
    "max_force": 10.0,
}
"""Values of `CartPoleParams` for which the optimum is known."""


@pytree_dataclass
class CartPoleParams:
    """Traced parameters, which may differ between lanes of one program: [] float32 each, in SI units."""

    gravity: jax.Array
    cart_mass: jax.Array
    pole_mass: jax.Array
    pole_length: jax.Array  # of the whole pole
    dt: jax.Array  # seconds per step
    max_force: jax.Array


@pytree_dataclass
class CartPoleState:
    """State of cart and pole."""

    position: jax.Array  # [] float32, meters from the middle
    velocity: jax.Array  # [] float32
    angle: jax.Array  # [] float32, radians, 0 upright, positive to the right
    turning: jax.Array  # [] float32, radians per second


@dataclasses.dataclass(frozen=True)
class CartPole:
    """One agent pushes a cart so that the pole hinged on it stays upright.

    The system of Barto, Sutton and Anderson (1983) without friction, with the constants of Gym's `CartPole-v1` (cart 1
    kg, pole 0.1 kg and 1 m, steps of 0.02 s, 10 N) and its explicit Euler steps; but the force is continuous:

    - start: all four numbers uniform in [-0.05, 0.05];
    - action [1, 1] in [-1, 1] (NaN counts as 0): force F = `max_force` times the action;
    - with pole mass m, half pole length l, total mass M, angle θ and b = (F + m l θ̇² sin θ) / M:
      θ̈ = (g sin θ - b cos θ) / (l (4/3 - m cos² θ / M)) and ẍ = b - m l θ̈ cos θ / M;
    - reward 1 for every step after which |θ| is at most 12 degrees and |x| at most 2.4 m; otherwise the episode
    terminates, and that step has zero reward (in Gym it is 1).

    Observation [4]: x, ẋ, θ, θ̇. It is also the global state. The family adds the time limit of 200 steps; the
    optimum is that limit, as far as is known: with the standard numbers.
    """

    id: str = dataclasses.field(compare=False)
    default_params: CartPoleParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 while the pole is upright; at the end, whether it never fell."""
        return EnvSpec(id=self.id, n_agents=1, obs_shape=(4,), action_dim=1, state_size=4, metrics=("success",))

    def optimal_return(self, horizon: int) -> float | None:
        """1 per step, as the pole can be kept upright from every start; None with non-standard numbers."""
        numbers = {name: np.float32(value) for name, value in STANDARD.items()}
        return float(horizon) if vars(self.default_params) == numbers else None

    def reset(self, key: jax.Array, params: CartPoleParams) -> tuple[CartPoleState, TimeStep]:
        """A pole that is almost upright. Consumes `key`."""
        start = jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)
        return CartPoleState(*start), restart(self.spec, obs=start[None], state=start)

    def step(
        self, key: jax.Array, state: CartPoleState, action: jax.Array, params: CartPoleParams
    ) -> tuple[CartPoleState, TimeStep]:
        """One step of `dt` seconds. `action`: [1, 1] float32. Does not use `key`. A fallen pole does not move."""
        force = params.max_force * bounded(action)[0, 0]
        mass, half = params.cart_mass + params.pole_mass, 0.5 * params.pole_length
        sin, cos = jnp.sin(state.angle), jnp.cos(state.angle)
        push = (force + params.pole_mass * half * state.turning**2 * sin) / mass
        turn = (params.gravity * sin - push * cos) / (half * (4 / 3 - params.pole_mass * cos**2 / mass))
        pull = push - params.pole_mass * half * turn * cos / mass
        before = jnp.stack([state.position, state.velocity, state.angle, state.turning])
        change = jnp.stack([state.velocity, pull, state.turning, turn])
        after = jnp.where(_is_up(before), before + params.dt * change, before)
        up = _is_up(after)
        return CartPoleState(*after), transition(
            self.spec,
            obs=after[None],
            state=after,
            reward=up.astype(jnp.float32),
            terminated=~up,
            metrics={"success": up.astype(jnp.float32)},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_cart_pole(ax, frame, TRACK)


def _is_up(numbers: jax.Array) -> jax.Array:
    """[] bool, of x, ẋ, θ, θ̇ [4]."""
    return (jnp.abs(numbers[0]) <= TRACK) & (jnp.abs(numbers[2]) <= LEAN)
