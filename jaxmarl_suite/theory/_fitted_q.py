"""Factorized multi-agent fitted Q-iteration (FMA-FQI, arXiv 2006.00587) on finite MMDPs, without samples, in float64.

    y_t(s, a) = r(s, a) + gamma E_s'[max_a' Q_tot^t(s', a')]
    Q^{t+1}   = argmin over the class of Σ_a p_D(a|s) (y_t(s, a) - Q_tot(s, a))²,   in every state

Each iteration minimizes exactly, so what goes wrong is the class's doing: a few gradient steps on a target hide it.
"""

import dataclasses
import numbers
from typing import Any, Literal, get_args

import numpy as np

from jaxmarl_suite.theory._factorization import check_data, linear_projector
from jaxmarl_suite.theory._mdp import Floats
from jaxmarl_suite.theory._mmdp import FiniteMMDP
from jaxmarl_suite.theory._monotone import monotone_least_squares

FactorizationClass = Literal["linear", "monotone", "igm-complete"]


@dataclasses.dataclass(frozen=True)
class EpsilonGreedy:
    """On-policy data: agents play their current greedy action, each on its own at random with probability epsilon.

    With A actions the greedy one has probability `1 - epsilon + epsilon / A`; epsilon 1 is uniform data.
    """

    epsilon: float

    def __post_init__(self) -> None:
        """Rejects what is no probability."""
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon must lie in 0..1, got {self.epsilon}")

    def table(self, greedy: tuple[int, ...], num_actions: tuple[int, ...]) -> Floats:
        """`p_D(a)`, [A_1, ..., A_n], about a greedy joint action."""
        data = np.ones(())
        for best, a in zip(greedy, num_actions):
            data = np.multiply.outer(data, self.epsilon / a + (1.0 - self.epsilon) * np.eye(a)[best])
        return np.asarray(data)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedQ:
    """What fitted Q-iteration came to, and its way there."""

    action_value: Floats  # [S, A_1, ..., A_n] float64, Q_tot after the last iteration
    norm: Floats  # [T + 1] float64, |Q_tot|_inf after 0..T iterations
    value: Floats  # [T + 1, S] float64, greedy values max_a Q_tot
    distance: Floats  # [T + 1] float64, |Q_tot - reference|_inf; [0] without a reference
    diverged: bool  # whether the last norm is beyond the limit, where iteration stops


def fitted_q_iteration(
    mmdp: FiniteMMDP,
    function_class: FactorizationClass,
    *,
    iterations: int,
    data: EpsilonGreedy | Any = None,
    initial: Any = None,
    reference: Any = None,
    limit: float = 1e12,
) -> FittedQ:
    """FMA-FQI. Terminal states keep the value 0; everything else bootstraps, there is no time limit.

    Args:
      mmdp: the problem, with its discount.
      function_class: `linear` (FQI-LVF), `monotone` (exact; small games) or `igm-complete` (FQI-IGM).
      iterations: exact minimizations, at least 0.
      data: `p_D(a|s)`: None for uniform, a table [A_1, ..., A_n] or [S, A_1, ..., A_n], or `EpsilonGreedy`, drawn anew
        about the greedy joint action of every iterate (the first in C order among equals).
      initial: [S, A_1, ..., A_n], Q_tot to start from; None is zero.
      reference: [S, A_1, ..., A_n], such as Q*, whose distance is recorded.
      limit: a norm beyond this counts as divergence and ends the iteration, before float64 overflows.
    """
    if function_class not in get_args(FactorizationClass):
        raise ValueError(f"unknown class {function_class!r}; accepted: {', '.join(get_args(FactorizationClass))}")
    if isinstance(iterations, bool) or not isinstance(iterations, numbers.Integral) or iterations < 0:
        raise ValueError(f"iterations must be an integer of at least 0, got {iterations!r}")
    if not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}")
    shape, num_states = mmdp.reward.shape, mmdp.num_states
    projection = _Projection(function_class, data, num_states, mmdp.num_actions)
    q = _table("initial", initial, shape).reshape(num_states, -1)
    known = None if reference is None else _table("reference", reference, shape).reshape(num_states, -1)
    # Everything fixed is computed once: an iteration is two small matrix products and a maximum.
    alive = ~mmdp.terminal
    reward = (mmdp.reward.reshape(num_states, -1) * alive[:, None]).reshape(-1)
    continuation = mmdp.gamma * mmdp.transition.reshape(num_states, -1, num_states) * alive[:, None, None] * alive
    continuation = continuation.reshape(-1, num_states)

    values, norms, distances = [q.max(axis=1)], [np.abs(q).max()], []
    for _ in range(iterations):
        if known is not None:
            distances.append(np.abs(q - known).max())
        target = (reward + continuation @ values[-1]).reshape(num_states, -1)
        q = projection(target, q)
        values.append(q.max(axis=1))
        norms.append(np.abs(q).max())
        if not norms[-1] <= limit:
            break
    if known is not None:
        distances.append(np.abs(q - known).max())
    return FittedQ(
        action_value=q.reshape(shape),
        norm=np.array(norms),
        value=np.stack(values),
        distance=np.array(distances),
        diverged=not norms[-1] <= limit,
    )


class _Projection:
    """Targets [S, K] to the best Q_tot [S, K] of a class, given the iterate [S, K] that the data are about."""

    def __init__(self, function_class: FactorizationClass, data: Any, num_states: int, num_actions: tuple[int, ...]):
        self._class, self._num_actions = function_class, num_actions
        self._policy = data if isinstance(data, EpsilonGreedy) else None
        self._seen: dict[int, tuple[Floats, Floats]] = {}  # by greedy joint action: data and projector
        self._greedy: tuple[int, ...] = ()
        if self._policy is None:
            table = check_data(None, num_actions) if data is None else np.asarray(data, np.float64)
            if table.ndim == len(num_actions) + 1 and len(table) != num_states:
                raise ValueError(f"data by state must hold {num_states} tables, one a state, got {len(table)}")
            by_state = table if table.ndim == len(num_actions) + 1 else [table] * num_states
            self._set([self._entry(check_data(t, num_actions)) for t in by_state])

    def __call__(self, target: Floats, iterate: Floats) -> Floats:
        if self._class == "igm-complete":
            return target  # every target is in the class, see `igm_complete`: the data do not matter
        if self._policy is not None:
            self._look_at(self._policy, tuple(iterate.argmax(axis=1).tolist()))
        if self._class == "linear":
            fitted: Floats = np.matmul(self._projectors, target[:, :, None])[:, :, 0]
            return fitted
        pairs = zip(target.reshape(-1, *self._num_actions), self._data)
        return np.stack([monotone_least_squares(y, p).total.reshape(-1) for y, p in pairs])

    def _look_at(self, policy: EpsilonGreedy, greedy: tuple[int, ...]) -> None:
        """Takes the data about these joint actions, one a state; the table of each is made once."""
        if greedy == self._greedy:
            return
        for joint in set(greedy) - set(self._seen):
            actions = tuple(int(a) for a in np.unravel_index(joint, self._num_actions))
            self._seen[joint] = self._entry(policy.table(actions, self._num_actions))
        self._greedy = greedy
        self._set([self._seen[joint] for joint in greedy])

    def _entry(self, data: Floats) -> tuple[Floats, Floats]:
        return data, linear_projector(data) if self._class == "linear" else np.empty((0, 0))

    def _set(self, entries: list[tuple[Floats, Floats]]) -> None:
        self._data = [data for data, _ in entries]  # one [A_1, ..., A_n] a state
        self._projectors = np.stack([projector for _, projector in entries])  # [S, K, K]


def _table(name: str, table: Any, shape: tuple[int, ...]) -> Floats:
    """`table` as float64 of `shape`, zero if None."""
    if table is None:
        return np.zeros(shape)
    array = np.asarray(table, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite and have the shape {shape}, got the shape {array.shape}")
    return array
