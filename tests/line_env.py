"""A linear task with quadratic costs, whose optimum is known, for tests of methods for continuous actions."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import EnvSpec, TimeStep, pytree_dataclass, restart, transition

PUSH, COST, EDGE, FALL = 0.5, 0.1, 3.0, 20.0
IDLE = 1.0
"""The action that does nothing: bounds are -1 and 3, so that it matters how actions are scaled."""


@pytree_dataclass
class LineState:
    """Where the team is, and since when."""

    x: jax.Array  # [] float32
    t: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Line:
    """x' = x + PUSH Σ u_i with u_i = a_i - IDLE; a step pays -(x² + COST Σ u_i²). Starts uniform on [-1, 1].

    `limit` steps, then the episode is cut; beyond EDGE it ends at once and costs FALL. Observations and state are x.
    """

    n_agents: int = 1
    limit: int = 20
    default_params: Any = dataclasses.field(default=(), compare=False)

    @property
    def spec(self) -> EnvSpec:
        """Static description."""
        return EnvSpec(
            id=f"line/{self.n_agents}",
            n_agents=self.n_agents,
            obs_shape=(1,),
            action_dim=1,
            state_size=1,
            episode_limit=self.limit,
            action_bounds=(IDLE - 2.0, IDLE + 2.0),
            metrics=("x",),
        )

    def _show(self, x: jax.Array) -> dict[str, Any]:
        return {"obs": jnp.full((self.n_agents, 1), x), "state": x[None], "metrics": {"x": x}}

    def reset(self, key: jax.Array, params: Any) -> tuple[LineState, TimeStep]:
        """A fresh episode."""
        x = jax.random.uniform(key, (), jnp.float32, minval=-1.0)
        return LineState(x, jnp.int32(0)), restart(self.spec, **self._show(x))

    def step(self, key: jax.Array, state: LineState, action: jax.Array, params: Any) -> tuple[LineState, TimeStep]:
        """One step on."""
        force = action[:, 0] - IDLE
        x, t = state.x + PUSH * force.sum(), state.t + 1
        fell = jnp.abs(x) > EDGE
        reward = -(state.x**2 + COST * jnp.square(force).sum()) - jnp.where(fell, FALL, 0.0)
        return LineState(x, t), transition(
            self.spec, reward=reward, terminated=fell, truncated=t >= self.limit, **self._show(x)
        )


def optimum(n_agents: int = 1, limit: int = 20) -> float:
    """Expected return of the best policy, by the Riccati recursion: -P_0 E[x_0²], E[x_0²] = 1/3."""
    p = 0.0
    for _ in range(limit):
        # min over the total push u of COST u² / N + p (x + PUSH u)²
        p = 1.0 + p - (p * PUSH) ** 2 / (COST / n_agents + p * PUSH**2)
    return -p / 3.0


def play_optimally(n_agents: int, limit: int, starts: np.ndarray) -> float:
    """Mean return of the best time-dependent linear feedback, played out."""
    gains, p = [], 0.0
    for _ in range(limit):
        gains.append(p * PUSH / (COST / n_agents + p * PUSH**2))
        p = 1.0 + p - (p * PUSH) ** 2 / (COST / n_agents + p * PUSH**2)
    x, total = starts.astype(np.float64), np.zeros(len(starts))
    for gain in reversed(gains):
        u = -gain * x
        total -= x**2 + COST * n_agents * (u / n_agents) ** 2
        x = x + PUSH * u
    return float(total.mean())


def make_line(variant: str, **options: Any) -> Line:
    """The family's `make`: the variant is the number of agents."""
    return Line(n_agents=int(variant), **options)


@contextmanager
def registered() -> Iterator[None]:
    """`line/1` and `line/2` have names."""
    import jaxmarl_envs
    from jaxmarl_envs.core import _registry

    jaxmarl_envs.register(jaxmarl_envs.Family("line", make_line, ("1", "2")))
    try:
        yield
    finally:
        del _registry._registered["line"]
