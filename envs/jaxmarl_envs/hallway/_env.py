"""The hallway task."""

import dataclasses
import math
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core import (
    EnvSpec,
    Frame,
    TimeStep,
    Verdict,
    one_hot,
    pytree_dataclass,
    restart,
    transition,
    uniform_index,
)
from jaxmarl_envs.hallway._viewer import draw

STAY, CLOSER, AWAY = 0, 1, 2
WIN_REWARD = 10.0
_MOST_JOINT_STARTS = 2**16


@pytree_dataclass
class HallwayState:
    """The positions of the agents."""

    x: jax.Array  # [N] int32, distance to the goal: 0..L_i


@dataclasses.dataclass(frozen=True)
class Hallway:
    """N agents, each in a corridor of L_i cells before the goal cell 0, observing only their own cell.

    Rules, after those of `join1.py` in the code of NDQ:

    - start: x_i uniform in 1..L_i, independently;
    - actions: 0 stay, 1 to x - 1 (not below 0), 2 to x + 1 (not above L_i);
    - all agents at 0: reward 10, terminated, won; some but not all at 0: reward 0, terminated; else reward 0.

    Observation [max(L) + 1]: the agent's own x one-hot, no identity and no clock (the source shows the number itself;
    one-hot needs no scaling). Global state [N * (max(L) + 1)]: those of all agents, concatenated. The family adds the
    time limit of max(L) + 10 steps.

    A team that knows the step count always wins without communication: the agent at x waits until step max(L) - x,
    then goes.
    """

    lengths: tuple[int, ...]
    default_params: tuple[()] = ()

    def __post_init__(self) -> None:
        """Rejects empty teams and corridors."""
        if not self.lengths or any(length < 1 for length in self.lengths):
            raise ValueError(f"hallway: lengths must be one or more integers of at least 1, got {self.lengths}")

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `win`, 1 in the step that wins."""
        n, cells = len(self.lengths), max(self.lengths) + 1
        return EnvSpec(
            id="hallway/" + "-".join(map(str, self.lengths)),
            n_agents=n,
            obs_shape=(cells,),
            num_actions=3,
            state_size=n * cells,
            obs_bounds=(0.0, 1.0),
            metrics=("win",),
            optimum=WIN_REWARD,
        )

    def reset(self, key: jax.Array, params: tuple[()]) -> tuple[HallwayState, TimeStep]:
        """Agents on random cells. Consumes `key`."""
        x = self._cells(key)
        obs = self._observe(x)
        return HallwayState(x), restart(self.spec, obs=obs, state=obs.ravel())

    def step(
        self, key: jax.Array, state: HallwayState, action: jax.Array, params: tuple[()]
    ) -> tuple[HallwayState, TimeStep]:
        """One joint action. `action`: [N] int32. Does not use `key`. A finished episode gives zero reward."""
        move = (action == AWAY).astype(jnp.int32) - (action == CLOSER).astype(jnp.int32)
        x = jnp.clip(state.x + move, 0, jnp.array(self.lengths, jnp.int32))
        home = x == 0
        win = home.all() & (state.x > 0).all()
        obs = self._observe(x)
        return HallwayState(x), transition(
            self.spec,
            obs=obs,
            state=obs.ravel(),
            reward=jnp.where(win, WIN_REWARD, 0.0),
            terminated=home.any(),
            metrics={"win": win.astype(jnp.float32)},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw(ax, frame, self.lengths)

    def _cells(self, key: jax.Array) -> jax.Array:
        """[N] int32 uniform start cells. Consumes `key`."""
        joint = math.prod(self.lengths)
        if joint > _MOST_JOINT_STARTS:  # more joint starts than a single draw can represent uniformly
            return 1 + uniform_index(key, jnp.array(self.lengths), (len(self.lengths),))
        # One draw per environment, split up: hashing is most of the cost of a small environment's reset.
        return 1 + digits(uniform_index(key, joint), self.lengths)

    def _observe(self, x: jax.Array) -> jax.Array:
        return one_hot(x, max(self.lengths) + 1)


def digits(number: jax.Array, bases: tuple[int, ...]) -> jax.Array:
    """[N] int32: `unravel_index` of `number`, [] int32 and below `_MOST_JOINT_STARTS`.

    Products with float32 reciprocals vectorize, integer divisions do not. Adding half a unit keeps every quotient
    farther from an integer than rounding can move it.
    """
    half = number.astype(jnp.float32) + 0.5

    def over(start: int) -> jax.Array:
        """Floor of `number` over the product of the bases from `start` behind each one."""
        divisors = [math.prod(bases[i + start :]) for i in range(len(bases))]
        return (half * jnp.array([1 / d for d in divisors], jnp.float32)).astype(jnp.int32)

    return over(1) - over(0) * jnp.array(bases, jnp.int32)
