"""Two hands that pass an object: a stand-in for bimanual tasks."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded, distance
from jaxmarl_envs.toy._viewer import draw_handover

TIP_RADIUS, OBJECT_RADIUS = 0.06, 0.15
NEAR = 0.15
"""Distance between object and goal within which the goal counts as reached."""
MIDDLE = 0.05
"""How far each palm reaches beyond the middle."""
FINGERS = 3
_CLOSED, _OPEN = (
    0.17,
    0.4,
)  # distance of the fingertips from their palm that the smallest and the largest action ask for
_SUBSTEPS = 4
_PALMS, _TIPS, _OBJECT = slice(0, 2), slice(2, 2 + 2 * FINGERS), 2 + 2 * FINGERS
_BODIES = _OBJECT + 1


@pytree_dataclass
class HandoverParams:
    """Traced parameters, which may differ between lanes of one program: [] float32 each."""

    palm_mass: jax.Array
    tip_mass: jax.Array
    object_mass: jax.Array
    hand_drag: jax.Array  # of palms and fingertips: loss of velocity per second, in units of the velocity
    object_drag: jax.Array
    stiffness: jax.Array  # of contacts: force per unit of overlap
    finger_stiffness: jax.Array  # force on a fingertip per unit of distance from where its hand wants it
    finger_damping: jax.Array  # force on a fingertip per unit of its palm's velocity minus its own
    max_force: jax.Array  # of a palm, along each axis
    dt: jax.Array  # seconds per step
    approach: jax.Array  # weight of the palms' distances from the object in the reward


@pytree_dataclass
class HandoverState:
    """Bodies 0 and 1 are the palms, then come three fingertips of hand 0, three of hand 1, and the object."""

    position: jax.Array  # [9, 2] float32
    velocity: jax.Array  # [9, 2] float32
    goal: jax.Array  # [2] float32


@dataclasses.dataclass(frozen=True)
class Handover:
    """Two planar hands with three fingers, seen from above, pass a round object from one side to the other.

    A bimanual stand-in for tasks like HandOver of Bi-DexHands: the hands are not three-dimensional, but the object moves
    by contacts with fingertips only, and the first hand does not reach the goal.

    - start: hand 0's palm uniform in [-0.55, -0.45] x [-0.3, 0.3], hand 1's in [0.45, 0.55] x [-0.3, 0.3], both open; the
      object between the fingers of hand 0; the goal uniform in [0.75, 0.85] x [-0.5, 0.5]; all at rest;
    - action [2, 5] in [-1, 1] (NaN counts as 0): the force on the palm is `max_force` times the first two; each of the
      others asks for a distance of its fingertip from the palm, from 0.17 at -1 to 0.4 at 1. A spring with
      `finger_stiffness` and `finger_damping` pulls the fingertip there and the palm back;
    - the fingers point in three directions 120 degrees apart; those of hand 1 in between those of hand 0, so that both
      hands can hold the object at a time;
    - fingertips (radius 0.06) and the object (0.15) that overlap are pushed apart by springs, with `stiffness` times the
      overlap along the line between their centers. Palms are above the table and touch nothing. A step is four steps of
      dt / 4: forces at the old positions, v' = (v + f h / m) / (1 + drag h), x' = x + v' h, with a drag of
      hands and one of the object. Bodies stay in the square
      [-1, 1]², hand 0's palm left of x = 0.05 and hand 1's right of x = -0.05; walls cancel the velocity towards them;
    - reward -(distance of the object from the goal + `approach` times the mean distance of the palms from the object),
      after the step. Nothing terminates.

    Observation [33] of a hand: its number, palm (position, velocity), fingertips minus palm and their velocities, object
    minus palm, the object's velocity, goal minus object, then the other hand's palm minus own, its velocity, and its
    fingertips minus own palm. Global state [38]: positions of all bodies, velocities of all, goal. The family adds the
    time limit of 75 steps.
    """

    id: str = dataclasses.field(compare=False)
    default_params: HandoverParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 if the object is within 0.15 of the goal after this step."""
        return EnvSpec(
            id=self.id,
            n_agents=2,
            obs_shape=(15 + 6 * FINGERS,),
            action_dim=2 + FINGERS,
            state_size=4 * _BODIES + 2,
            metrics=("success",),
        )

    def reset(self, key: jax.Array, params: HandoverParams) -> tuple[HandoverState, TimeStep]:
        """Hand 0 around the object. Consumes `key`."""
        drawn = jax.random.uniform(key, (6,), jnp.float32, -1.0)
        palms = jnp.stack([-0.5 + 0.05 * drawn[0], 0.3 * drawn[1], 0.5 + 0.05 * drawn[2], 0.3 * drawn[3]]).reshape(2, 2)
        goal = jnp.stack([0.8 + 0.05 * drawn[4], 0.5 * drawn[5]])
        tips = palms[:, None] + _OPEN * jnp.asarray(_directions())
        position = jnp.concatenate([palms, tips.reshape(-1, 2), palms[:1]])
        state = HandoverState(position, jnp.zeros((_BODIES, 2), jnp.float32), goal)
        return state, restart(self.spec, **self._views(state))

    def step(
        self, key: jax.Array, state: HandoverState, action: jax.Array, params: HandoverParams
    ) -> tuple[HandoverState, TimeStep]:
        """One step of `dt` seconds. `action`: [2, 5] float32. Does not use `key`."""
        action = bounded(action)
        push = params.max_force * action[:, :2]
        length = _CLOSED + (_OPEN - _CLOSED) * (action[:, 2:] + 1) / 2
        wanted = length[..., None] * jnp.asarray(_directions())
        kind = np.array([0] * 2 + [1] * (2 * FINGERS) + [2], np.int32)
        mass = jnp.stack([params.palm_mass, params.tip_mass, params.object_mass])[kind][:, None]
        drag = jnp.stack([params.hand_drag, params.hand_drag, params.object_drag])[kind][:, None]
        h = params.dt / _SUBSTEPS

        def substep(_: jax.Array, moving: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            position, velocity = moving
            palms, tips = position[_PALMS], position[_TIPS].reshape(2, FINGERS, 2)
            lag = velocity[_PALMS][:, None] - velocity[_TIPS].reshape(2, FINGERS, 2)
            pull = params.finger_stiffness * (palms[:, None] + wanted - tips) + params.finger_damping * lag
            touch = params.stiffness * _contacts(position[2:])
            force = jnp.concatenate([push - pull.sum(axis=1), pull.reshape(-1, 2) + touch[:-1], touch[-1:]])
            velocity = (velocity + force * h / mass) / (1 + drag * h)
            free = position + velocity * h
            position = _inside(free)
            return position, jnp.where(position == free, velocity, 0.0)

        position, velocity = jax.lax.fori_loop(0, _SUBSTEPS, substep, (state.position, state.velocity))
        state = HandoverState(position, velocity, state.goal)
        away = distance(position[_OBJECT] - state.goal)
        reach = distance(position[_PALMS] - position[_OBJECT:]).mean()
        return state, transition(
            self.spec,
            **self._views(state),
            reward=-(away + params.approach * reach),
            terminated=False,
            metrics={"success": (away < NEAR).astype(jnp.float32)},
        )

    def observe(self, state: jax.Array) -> jax.Array:
        """[2, 33] observations in a global state [38]."""
        position = state[: 2 * _BODIES].reshape(_BODIES, 2)
        velocity = state[2 * _BODIES : -2].reshape(_BODIES, 2)
        palms, palm_speed = position[_PALMS], velocity[_PALMS]
        tips, tip_speed = position[_TIPS].reshape(2, FINGERS, 2), velocity[_TIPS].reshape(2, FINGERS, 2)
        thing, goal = position[_OBJECT:], state[None, -2:]
        parts = [
            jnp.arange(2, dtype=jnp.float32)[:, None],
            palms,
            palm_speed,
            (tips - palms[:, None]).reshape(2, -1),
            tip_speed.reshape(2, -1),
            thing - palms,
            jnp.broadcast_to(velocity[_OBJECT:], (2, 2)),
            jnp.broadcast_to(goal - thing, (2, 2)),
            palms[::-1] - palms,
            palm_speed[::-1],
            (tips[::-1] - palms[:, None]).reshape(2, -1),
        ]
        return jnp.concatenate(parts, axis=-1)

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_handover(ax, frame, (TIP_RADIUS, OBJECT_RADIUS), NEAR, MIDDLE)

    def _views(self, state: HandoverState) -> dict[str, Any]:
        view = jnp.concatenate([state.position.ravel(), state.velocity.ravel(), state.goal])
        return {"obs": self.observe(view), "state": view}


def _directions() -> np.ndarray:
    """[2, 3, 2] float32 unit vectors from the palms to their fingertips."""
    angle = np.pi * (np.array([[1.0], [0.0]]) + 2 / FINGERS * np.arange(FINGERS))
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def _inside(position: jax.Array) -> jax.Array:
    """`position` [9, 2] kept in the square, palms on their sides of the middle."""
    low, high = np.full((_BODIES, 2), -1.0, np.float32), np.full((_BODIES, 2), 1.0, np.float32)
    high[0, 0], low[1, 0] = MIDDLE, -MIDDLE
    return jnp.clip(position, jnp.asarray(low), jnp.asarray(high))


def _contacts(position: jax.Array) -> jax.Array:
    """[7, 2]: of the fingertips and the object, the sum over what overlaps of the overlap times the direction away."""
    radius = np.full(2 * FINGERS + 1, TIP_RADIUS, np.float32)
    radius[-1] = OBJECT_RADIUS
    reach = (radius[:, None] + radius) * (1 - np.eye(len(radius), dtype=np.float32))  # nothing touches itself
    offset = position[:, None] - position[None]
    apart = distance(offset)
    overlap = jnp.maximum(jnp.asarray(reach) - apart, 0.0)
    return ((overlap / apart)[..., None] * offset).sum(axis=1)
