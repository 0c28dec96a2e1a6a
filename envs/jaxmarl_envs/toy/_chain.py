"""A chain with a reward only at its far end."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, one_hot, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded
from jaxmarl_envs.toy._viewer import draw_chain


@pytree_dataclass
class ChainParams:
    """Traced parameters, which may differ between lanes of one program."""

    right: jax.Array  # [L, N] int32, each agent's right action in each cell
    slip: jax.Array  # [] float32, probability that a right joint action counts as wrong


@pytree_dataclass
class ChainState:
    """The position of the team."""

    cell: jax.Array  # [] int32 in 0..L, L once the episode is over


@dataclasses.dataclass(frozen=True)
class Chain:
    """L cells in a row, and a reward of 1 for leaving the last one. A combination lock, for N agents together.

    - start: cell 0;
    - actions 0..A-1. If every agent takes the cell's right action, the team moves on by one cell, otherwise it goes
    back to cell 0 or, with `is_ended_by_errors`, the episode terminates. With probability `slip` a right joint action
    has the
      effect of a wrong one;
    - leaving cell L - 1 gives reward 1 and terminates. All other rewards are zero.

    With `is_continuous` an action is a number in [-1, 1] (NaN counts as 0), and the interval's A equal parts, from
    below, are the actions 0..A-1.

    The right actions are drawn from a seed when the environment is made, and are traced, so that chains of equal length
    share one program. Observation [L], the same for every agent: the cell one-hot, all zeros once the episode is over.
    It is also the global state. The family adds the time limit, by default 2 L steps.

    Without slips the optimum is 1, after L steps; discounted, γ^(L - 1) at the start. With slips it is the probability
    of passing all cells in time, by dynamic programming.
    """

    id: str = dataclasses.field(compare=False)
    length: int
    """L."""
    n_agents: int
    num_actions: int
    """A."""
    is_ended_by_errors: bool
    is_continuous: bool
    default_params: ChainParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description. Metric: `success`, 1 in the step that leaves the last cell."""
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(self.length,),
            num_actions=0 if self.is_continuous else self.num_actions,
            action_dim=1 if self.is_continuous else 0,
            state_size=self.length,
            obs_bounds=(0.0, 1.0),
            metrics=("success",),
        )

    def optimal_return(self, horizon: int) -> float:
        """The probability of leaving the last cell within `horizon` steps of right actions, by dynamic programming.

        Wrong actions cannot be better, since they have the effect of a slip.
        """
        slip = float(self.default_params.slip)
        values = np.zeros(self.length + 1)  # the last entry is the end
        for _ in range(horizon):
            passed = np.append(values[1:-1], 1.0)
            values[:-1] = (1 - slip) * passed + slip * (0.0 if self.is_ended_by_errors else values[0])
        return float(values[0])

    def reset(self, key: jax.Array, params: ChainParams) -> tuple[ChainState, TimeStep]:
        """The first cell. Does not use `key`."""
        state = ChainState(jnp.int32(0))
        return state, restart(self.spec, **self._views(state))

    def step(
        self, key: jax.Array, state: ChainState, action: jax.Array, params: ChainParams
    ) -> tuple[ChainState, TimeStep]:
        """One joint action: [N] int32, or [N, 1] float32. Consumes `key` (for slips). After the end nothing changes."""
        if self.is_continuous:
            part = (bounded(action)[:, 0] + 1.0) * (0.5 * self.num_actions)
            action = jnp.minimum(part.astype(jnp.int32), self.num_actions - 1)
        over = state.cell >= self.length
        right = (action == jnp.asarray(params.right).at[state.cell].get(mode="clip")).all()
        on = right & (jax.random.uniform(key, (), jnp.float32) >= params.slip)
        wrong_goes_to = self.length if self.is_ended_by_errors else 0
        cell = jnp.where(over, self.length, jnp.where(on, state.cell + 1, wrong_goes_to))
        success = on & (state.cell == self.length - 1)
        state = ChainState(cell)
        return state, transition(
            self.spec,
            **self._views(state),
            reward=success.astype(jnp.float32),
            terminated=cell >= self.length,
            metrics={"success": success.astype(jnp.float32)},
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_chain(ax, frame, self.length)

    def _views(self, state: ChainState) -> dict[str, Any]:
        view = one_hot(state.cell, self.length)
        return {"obs": jnp.broadcast_to(view, (self.n_agents, self.length)), "state": view}
