"""A team that steers a linear system, and the best linear controller."""

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, Frame, TimeStep, Verdict, pytree_dataclass, restart, transition
from jaxmarl_envs.toy._control import bounded
from jaxmarl_envs.toy._viewer import draw_linear_team

_MARGIN = 4.0  # distance of optimal actions from their bounds, in standard deviations, required to state an optimum
_MAX_ENTRIES = 1_000_000  # maximum size of all matrices of a regulator for which an optimum is computed


@pytree_dataclass
class LinearTeamParams:
    """Traced parameters, which may differ between lanes of one program. M entries of the state, N agents, D entries of
    an action.

    P = N (N - 1) / 2 pairs of agents, in the order of `itertools.combinations`.
    """

    drift: jax.Array  # [M, M] float32, A
    control: jax.Array  # [N, M, D] float32, B_i
    coupling: jax.Array  # [P, M, D] float32, C_ij
    interaction: jax.Array  # [] float32, c
    noise: jax.Array  # [] float32, standard deviation of w
    start: jax.Array  # [] float32, standard deviation of the first state
    action_cost: jax.Array  # [] float32, r


@pytree_dataclass
class LinearTeamState:
    """The state of the system."""

    x: jax.Array  # [M] float32


@dataclasses.dataclass(frozen=True)
class LinearTeam:
    """N agents control a stable linear system with noise; products of their actions may have an effect too.

    - start: s_0 normal with standard deviation `start` in every entry;
    - action [N, D] in [-1, 1] (NaN counts as 0);
    - s' = A s + Σ_i B_i a_i + c Σ_{i<j} C_ij (a_i ∘ a_j) + w, with ∘ entry by entry and w normal with standard
    deviation
      `noise`. A has spectral radius below 1, so states stay bounded in distribution whatever the team does;
    - reward -(mean of s² + r mean of a²), means over the M entries of the state before the step and the N D entries of
      the joint action, with r = `action_cost`. Nothing terminates.

    A, B and C are drawn by `draw_system` when the environment is made, and traced, so that systems of one size share a
    program. Observation [M], the same for every agent: s. It is also the global state. The family adds the time limit
    of 50 steps.

    The optimum is that of the linear-quadratic regulator, `lqr`. It is stated only if the task is equivalent: without
    interaction, and if the regulator's actions stay within their bounds (by 4 standard deviations in every step).
    """

    id: str = dataclasses.field(compare=False)
    n_agents: int
    state_size: int
    """M."""
    action_size: int
    """D."""
    default_params: LinearTeamParams = dataclasses.field(compare=False, repr=False)

    @cached_property
    def spec(self) -> EnvSpec:
        """Static description; `optimum` is computed from `default_params` once there is a time limit."""
        return EnvSpec(
            id=self.id,
            n_agents=self.n_agents,
            obs_shape=(self.state_size,),
            action_dim=self.action_size,
            state_size=self.state_size,
        )

    def optimal_return(self, horizon: int) -> float | None:
        """The regulator's expected return in `horizon` steps, or None if bounds or interaction would change it.

        Also None if actions have no cost, or if the regulator is too large to compute for a listing.
        """
        params = self.default_params
        entries = horizon * self.state_size * (self.state_size + self.n_agents * self.action_size)
        if float(params.interaction) != 0.0 or not float(params.action_cost) > 0 or entries > _MAX_ENTRIES:
            return None
        solution = lqr(params, horizon)
        spread = _action_spread(params, solution)
        return solution.expected_return if _MARGIN * spread.max() <= 1.0 else None

    def reset(self, key: jax.Array, params: LinearTeamParams) -> tuple[LinearTeamState, TimeStep]:
        """A random state. Consumes `key`."""
        x = params.start * jax.random.normal(key, (self.state_size,), jnp.float32)
        return LinearTeamState(x), restart(self.spec, obs=self.observe(x), state=x)

    def step(
        self, key: jax.Array, state: LinearTeamState, action: jax.Array, params: LinearTeamParams
    ) -> tuple[LinearTeamState, TimeStep]:
        """One step. `action`: [N, D] float32. Consumes `key` (for the noise)."""
        action = bounded(action)
        cost = jnp.mean(state.x**2) + params.action_cost * jnp.mean(action**2)
        first, second = np.triu_indices(self.n_agents, k=1)
        together = jnp.einsum("pmd,pd->m", jnp.asarray(params.coupling), action[first] * action[second])
        x = (
            jnp.asarray(params.drift) @ state.x
            + jnp.einsum("nmd,nd->m", jnp.asarray(params.control), action)
            + params.interaction * together
            + params.noise * jax.random.normal(key, (self.state_size,), jnp.float32)
        )
        return LinearTeamState(x), transition(self.spec, obs=self.observe(x), state=x, reward=-cost, terminated=False)

    def draw(self, ax: Any, frame: Frame) -> Verdict | None:
        """Draws `frame` into matplotlib axes."""
        return draw_linear_team(ax, frame)

    def observe(self, state: jax.Array) -> jax.Array:
        """[N, M] observations in a global state [M]."""
        return jnp.broadcast_to(state, (self.n_agents, self.state_size))


def draw_system(seed: int, n_agents: int, state_size: int, action_size: int, radius: float) -> dict[str, Any]:
    """`drift`, `control` and `coupling` of `LinearTeamParams`, NumPy float32.

    Entries are normal: A scaled to the spectral radius `radius`, those of B_i and C_ij with standard deviation
    1 / sqrt(M) and 1 / sqrt(M).
    """
    rng = np.random.default_rng(seed)
    drift = rng.standard_normal((state_size, state_size))
    drift *= radius / np.abs(np.linalg.eigvals(drift)).max()
    scale = 1 / np.sqrt(state_size)
    control = scale * rng.standard_normal((n_agents, state_size, action_size))
    coupling = scale * rng.standard_normal((n_agents * (n_agents - 1) // 2, state_size, action_size))
    drawn = {"drift": drift, "control": control, "coupling": coupling}
    return {name: matrix.astype(np.float32) for name, matrix in drawn.items()}


class Regulator(NamedTuple):
    """The optimal controller of the linear system over a finite horizon T, in float64."""

    gains: np.ndarray
    """[T, N, D, M]: agent i takes the action -gains[t, i] @ s in step t."""
    costs: np.ndarray
    """[T + 1, M, M]: s' costs[t] s is the expected cost from state s in step t on, without the contribution of noise."""
    noise_costs: np.ndarray
    """[T + 1]: the contribution of noise."""
    expected_return: float
    """Undiscounted, from a random start."""


def lqr(params: LinearTeamParams, horizon: int, discount: float = 1.0) -> Regulator:
    """The solution of the team's task without action bounds and without interaction, by the Riccati recursion.

    With B = [B_1 ... B_N], Q = I / M, R = r I / (N D), P_T = 0 and discount γ, backwards in time:

        K_t = (R + γ B' P B)⁻¹ γ B' P A         with P = P_{t+1}
        P_t = Q + γ A' P (A - B K_t)
        c_t = γ (noise² tr P + c_{t+1})

    The expected cost of a_t = -K_t s_t from s in step t on is s' P_t s + c_t, and no controller costs less.

    Args:
      params: of the team; `interaction` is taken as 0.
      horizon: T, steps.
      discount: γ.

    Raises:
      ValueError: for a horizon below 1, or an action cost that is not positive.
    """
    if horizon < 1:
        raise ValueError(f"lqr: horizon must be at least 1 step, got {horizon}")
    if not float(params.action_cost) > 0:
        raise ValueError(f"lqr: action_cost must be positive, got {float(params.action_cost):g}")
    drift = np.asarray(params.drift, np.float64)
    n_agents, size, action_size = np.shape(params.control)
    control = np.asarray(params.control, np.float64).transpose(1, 0, 2).reshape(size, -1)  # [M, N D]
    inputs = n_agents * action_size
    state_cost, action_cost = np.eye(size) / size, float(params.action_cost) * np.eye(inputs) / inputs
    noise = float(params.noise) ** 2
    gains = np.zeros((horizon, inputs, size))
    costs, noise_costs = np.zeros((horizon + 1, size, size)), np.zeros(horizon + 1)
    for t in reversed(range(horizon)):
        later = discount * costs[t + 1]
        gains[t] = np.linalg.solve(action_cost + control.T @ later @ control, control.T @ later @ drift)
        costs[t] = state_cost + drift.T @ later @ (drift - control @ gains[t])
        noise_costs[t] = noise * np.trace(later) + discount * noise_costs[t + 1]
    expected = -(float(params.start) ** 2 * np.trace(costs[0]) + noise_costs[0])
    return Regulator(gains.reshape(horizon, n_agents, action_size, size), costs, noise_costs, float(expected))


def _action_spread(params: LinearTeamParams, solution: Regulator) -> np.ndarray:
    """[T, N D] standard deviations of the regulator's actions, from the covariance of the states that it reaches."""
    drift = np.asarray(params.drift, np.float64)
    size = len(drift)
    control = np.asarray(params.control, np.float64).transpose(1, 0, 2).reshape(size, -1)
    covariance = float(params.start) ** 2 * np.eye(size)
    spread = []
    for gain in solution.gains.reshape(len(solution.gains), -1, size):
        spread.append(np.sqrt(np.diag(gain @ covariance @ gain.T)))
        closed = drift - control @ gain
        covariance = closed @ covariance @ closed.T + float(params.noise) ** 2 * np.eye(size)
    return np.array(spread)
