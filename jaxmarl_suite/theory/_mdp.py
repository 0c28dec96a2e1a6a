"""Finite single-agent MDPs solved exactly, in float64 NumPy whatever JAX's precision is."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite MDP with a discount for each state, so that decisions that take no time can be undiscounted.

    `Q(x, a) = reward[x, a] + discount[x] Σ_x' transition[x, a, x'] V(x')`, with `V = 0` in terminal states.
    """

    transition: Floats  # [X, A, X] float64, rows sum to 1
    reward: Floats  # [X, A] float64, expected reward of an action
    discount: Floats  # [X] float64 in 0..1, applied when leaving x
    terminal: NDArray[np.bool_]  # [X] bool, nothing follows
    action_mask: NDArray[np.bool_]  # [X, A] bool, legal actions, at least one a state

    def __post_init__(self) -> None:
        """Rejects tables that are no MDP."""
        num_states = len(self.discount)
        num_actions = self.action_mask.shape[-1]
        shapes = {
            "transition": (num_states, num_actions, num_states),
            "reward": (num_states, num_actions),
            "discount": (num_states,),
            "terminal": (num_states,),
            "action_mask": (num_states, num_actions),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {getattr(self, name).shape}")
        if not self.action_mask.any(axis=1).all():
            raise ValueError("action_mask must leave at least one legal action in every state")
        check_dynamics(self.transition, self.reward, self.terminal)
        if not np.all((self.discount >= 0) & (self.discount <= 1)):
            raise ValueError(f"discount must lie in 0..1, got {self.discount.min()}..{self.discount.max()}")

    @property
    def continuation(self) -> Floats:
        """[X, A, X]: discounted probability of each next state, zero where the episode ends."""
        return self.discount[:, None, None] * self.transition * ~self.terminal

    def action_values(self, value: Floats) -> Floats:
        """`Q(x, a)`, [X, A], if what follows is worth `value` [X]; zero in terminal states, unmasked."""
        q: Floats = self.reward + self.continuation @ value
        q[self.terminal] = 0.0
        return q


def check_dynamics(transition: Floats, reward: Floats, terminal: NDArray[np.bool_]) -> None:
    """ValueError unless `transition` [..., X] holds distributions and `reward` is finite."""
    if not np.isfinite(reward).all():
        raise ValueError(f"reward must be finite, got {int((~np.isfinite(reward)).sum())} entries that are not")
    if not (transition >= 0).all() or not np.allclose(transition.sum(axis=-1), 1.0, atol=1e-9):
        raise ValueError(
            "each transition[state, action] must be a distribution over next states (non-negative, sum 1), got sums in "
            f"{transition.sum(axis=-1).min()}..{transition.sum(axis=-1).max()}, smallest entry {transition.min()}"
        )
    if terminal.dtype != np.bool_:
        raise ValueError(f"terminal must be bool, got {terminal.dtype}")


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Optimal values of a `FiniteMDP`."""

    value: Floats  # [X] float64
    action_value: Floats  # [X, A] float64; -inf at illegal actions
    num_sweeps: int  # Bellman sweeps until nothing changed


def value_iteration(mdp: FiniteMDP, *, tolerance: float = 1e-13, max_sweeps: int = 1_000_000) -> Solution:
    """Optimal values by Bellman sweeps, until a sweep changes no value by more than `tolerance` times the largest.

    The error left is then at most `tolerance / (1 - gamma)` times the largest value and the number of decisions between
    two discounts. With discount 1 throughout, it converges where every policy worth following ends.

    Raises:
      ValueError: if `max_sweeps` do not suffice, e.g. for an undiscounted MDP that need not end.
    """
    # Everything fixed is computed once: a sweep is one matrix-vector product and a maximum.
    num_states, num_actions = mdp.reward.shape
    continuation = mdp.continuation.reshape(-1, num_states)
    reward = np.where(mdp.action_mask, mdp.reward, -np.inf)
    reward[mdp.terminal] = np.where(mdp.action_mask[mdp.terminal], 0.0, -np.inf)
    continuation[np.repeat(mdp.terminal, num_actions)] = 0.0
    value = np.zeros(num_states)
    for sweep in range(1, max_sweeps + 1):
        q = reward + (continuation @ value).reshape(num_states, num_actions)
        new = q.max(axis=1)
        change = np.abs(new - value).max()
        value = new
        if change <= tolerance * max(1.0, np.abs(value).max()):
            return Solution(value=value, action_value=q, num_sweeps=sweep)
    raise ValueError(f"value iteration did not settle within max_sweeps={max_sweeps}; last change {change:.2e}")


def greedy(mdp: FiniteMDP, action_value: Floats) -> NDArray[np.intp]:
    """[X] the best legal action of each state; the first among equals."""
    return np.where(mdp.action_mask, action_value, -np.inf).argmax(axis=1)


def evaluate(mdp: FiniteMDP, policy: NDArray[Any]) -> tuple[Floats, Floats]:
    """`V` [X] and `Q` [X, A] of a policy, by solving its linear equations.

    Args:
      mdp: the MDP.
      policy: [X] int actions, or [X, A] probabilities.
    """
    probabilities = _as_probabilities(mdp, policy)
    continuation = np.einsum("xa,xay->xy", probabilities, mdp.continuation)
    reward = np.einsum("xa,xa->x", probabilities, mdp.reward)
    continuation[mdp.terminal] = 0.0
    reward[mdp.terminal] = 0.0
    try:
        value = np.linalg.solve(np.eye(len(reward)) - continuation, reward)
    except np.linalg.LinAlgError as error:
        raise ValueError("this policy has no value: undiscounted, it never ends") from error
    return value, mdp.action_values(value)


def expected_gae(mdp: FiniteMDP, policy: NDArray[Any], value: Floats, trace: Floats) -> Floats:
    """`E[A_j | x_j, a_j]`, [X, A], of the generalized advantage estimator under a policy, without sampling.

    `A_j = δ_j + g_j l_j A_{j+1}`, `δ_j = r_j + g_j V(x_{j+1}) - V(x_j)`: with `V` the policy's exact value this is
    `Q - V` for every `l`; with any other `V` it is not, which makes it an oracle for estimators.

    Args:
      mdp: the MDP; `g` is its `discount`.
      policy: [X] int actions, or [X, A] probabilities.
      value: [X], the critic's values.
      trace: [X], `l` in 0..1 at each state (`SequentialMDP.trace` gives 1 inside a joint decision).
    """
    probabilities = _as_probabilities(mdp, policy)
    num_states, num_actions = mdp.reward.shape
    value = np.where(mdp.terminal, 0.0, value)
    delta = mdp.action_values(value) - value[:, None]
    delta[mdp.terminal] = 0.0
    # Over pairs (x, a): A = delta + M A, M[(x,a),(x',a')] = g l P(x'|x,a) pi(a'|x').
    steps = trace[:, None, None, None] * mdp.continuation[:, :, :, None] * probabilities[None, None]
    steps[mdp.terminal] = 0.0
    matrix = np.eye(num_states * num_actions) - steps.reshape(num_states * num_actions, -1)
    return np.asarray(np.linalg.solve(matrix, delta.reshape(-1)), np.float64).reshape(num_states, num_actions)


def _as_probabilities(mdp: FiniteMDP, policy: NDArray[Any]) -> Floats:
    policy = np.asarray(policy)
    shape = mdp.reward.shape
    if policy.shape == shape[:1] and policy.dtype.kind in "iu":
        policy = np.eye(shape[1])[policy]
    if policy.shape != shape or not np.allclose(policy.sum(axis=1), 1.0) or (policy < 0).any():
        raise ValueError(
            f"a policy is [X] integer actions or [X, A] probabilities with (X, A) = {shape}, got {policy.dtype} of "
            f"shape {policy.shape}"
        )
    if (policy[~mdp.action_mask] > 0).any():
        raise ValueError("the policy takes actions that action_mask forbids")
    return policy.astype(np.float64)
