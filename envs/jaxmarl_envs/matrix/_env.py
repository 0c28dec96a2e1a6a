"""One environment for every finite cooperative game with a payoff table per stage."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition, uniform_index
from jaxmarl_envs.matrix._viewer import draw


@pytree_dataclass
class MatrixParams:
    """Traced parameters, which may differ between lanes of one program. S stages, K = A**N joint actions.

    Joint actions are numbered with agent 0's action as the most significant digit, so that a two-player table is its
    payoff matrix read row by row. A table with a single row applies to all stages, one with a single column to all
    joint actions.
    """

    payoff: jax.Array  # [S or 1, K] float32, team reward
    successor: jax.Array  # [S, K or 1] int32, next stage; S ends the episode


@pytree_dataclass
class MatrixState:
    """The state of the game."""

    stage: jax.Array  # [] int32 in 0..S, S once the game is over


@dataclasses.dataclass(frozen=True)
class MatrixGame:
    """A team of N agents with A actions each, which moves through S stages by its joint actions.

    - Reward: `payoff[stage, joint action]`, the same for every agent.
    - Then `stage = successor[stage, joint action]`; the episode terminates if that is S.
    - Observation and global state are the stage, the same for all agents: one-hot [S], all zeros once the game is
    over; or,
      without `one_hot`, as a fraction stage / S [1]. With a single stage both are the constant 1.

    A one-shot game has one stage, a game repeated H times H stages (the step count), a contextual game one stage per
    context. Games of the same shape are equal as environments, whatever their payoffs, and share one compiled program.
    """

    n_agents: int
    num_actions: int
    n_stages: int
    start: int | None
    """First stage; None for a uniformly random one."""
    one_hot: bool
    """How the stage is observed."""
    episode_limit: int | None
    """Maximum number of steps until the stages run out; None if the game can continue forever."""
    id: str = dataclasses.field(compare=False)
    default_params: MatrixParams = dataclasses.field(compare=False, repr=False)

    def __post_init__(self) -> None:
        """Rejects tables that do not match the sizes."""
        joint, stages = self.num_actions**self.n_agents, self.n_stages
        for name, table, rows, columns in (
            ("payoff", self.default_params.payoff, {1, stages}, {joint}),
            ("successor", self.default_params.successor, {stages}, {1, joint}),
        ):
            if len(table.shape) != 2 or table.shape[0] not in rows or table.shape[1] not in columns:
                raise ValueError(
                    f"matrix game {self.id!r}: {name} needs a shape [{' or '.join(map(str, sorted(rows)))}, "
                    f"{' or '.join(map(str, sorted(columns)))}], got {list(table.shape)}"
                )
        if self.start is not None and not 0 <= self.start < stages:
            raise ValueError(f"matrix game {self.id!r}: start must be None or in 0..{stages - 1}, got {self.start}")

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description; `optimum` is computed from `default_params`."""
        width = self._stage_views.shape[1]
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(width,),
            num_actions=self.num_actions,
            state_size=width,
            episode_limit=self.episode_limit,
            obs_bounds=(0.0, 1.0),
            optimum=None if self.episode_limit is None else self.optimal_return(self.episode_limit),
        )

    def optimal_return(self, horizon: int) -> float:
        """The best expected undiscounted return of `default_params` within `horizon` steps, by dynamic programming."""
        payoff = np.asarray(self.default_params.payoff, np.float64)
        successor = np.asarray(self.default_params.successor)
        best = payoff.max(axis=1) if successor.shape[1] == 1 else None
        values = np.zeros(self.n_stages + 1)  # the last entry, past the end, stays 0
        for _ in range(horizon):
            if best is not None:  # the joint action does not matter for what follows
                values[:-1] = best + values[successor[:, 0]]
            else:
                values[:-1] = (payoff + values[successor]).max(axis=1)
        return float(values[:-1].mean() if self.start is None else values[self.start])

    def reset(self, key: jax.Array, params: MatrixParams) -> tuple[MatrixState, TimeStep]:
        """The first stage. Consumes `key` (used only if the start is random)."""
        stage = uniform_index(key, self.n_stages) if self.start is None else jnp.int32(self.start)
        obs, view = self._views(stage)
        return MatrixState(stage), restart(self.spec, obs=obs, state=view)

    def step(
        self, key: jax.Array, state: MatrixState, action: jax.Array, params: MatrixParams
    ) -> tuple[MatrixState, TimeStep]:
        """One joint action. `action`: [N] int32. Does not use `key`. A finished game stays finished with zero reward."""
        joint = jnp.int32(0)
        for i in range(self.n_agents):
            joint = joint * self.num_actions + action[i]
        # Clipping reads single rows and columns for all stages and actions, and the last row after the end.
        reward = jnp.asarray(params.payoff).at[state.stage, joint].get(mode="clip")
        stage = jnp.asarray(params.successor).at[state.stage, joint].get(mode="clip")
        over = state.stage >= self.n_stages
        stage = jnp.where(over, state.stage, stage)
        obs, view = self._views(stage)
        return MatrixState(stage), transition(
            self.spec,
            obs=obs,
            state=view,
            reward=jnp.where(over, 0.0, reward),
            terminated=stage >= self.n_stages,
        )

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw(ax, frame, self.n_agents, self.num_actions, self.n_stages, named=self.one_hot)

    @cached_property
    def _stage_views(self) -> np.ndarray:
        """[S + 1, G] float32: the observation of each stage, and of the end."""
        if self.n_stages == 1:
            return np.ones((2, 1), np.float32)
        if self.one_hot:
            return np.eye(self.n_stages + 1, self.n_stages, dtype=np.float32)
        return np.linspace(0, 1, self.n_stages + 1, dtype=np.float32)[:, None]

    def _views(self, stage: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Observations [N, G] and global state [G]."""
        table = jnp.asarray(self._stage_views)
        # The row is already repeated for every agent: on CPU that costs less than repeating it afterwards.
        rows = jnp.broadcast_to(table[:, None], (table.shape[0], self.n_agents, table.shape[1]))
        return rows.at[stage].get(mode="promise_in_bounds"), table.at[stage].get(mode="promise_in_bounds")
