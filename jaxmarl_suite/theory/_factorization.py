"""Best fits of a joint action value in the classes of value factorization (arXiv 2006.00587), in float64 NumPy.

A target `y[a_1, ..., a_n]` of one state is fitted in `Σ_a p_D(a) (y(a) - Q_tot(a))²`. Here are the linear class (LVF,
VDN's), `Q_tot(a) = Σ_i Q_i(a_i)`, and the class of everything that is consistent with local argmaxes (IGM-complete);
the monotone class is in `_monotone.py`.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.theory._mdp import Floats

_SUM_TOLERANCE = 1e-9  # of a distribution's sum
_PRODUCT_TOLERANCE = 1e-12  # of a joint probability, where it is compared with a product


@dataclasses.dataclass(frozen=True, eq=False)
class Factorization:
    """A joint action value with the local ones it is made from."""

    total: Floats  # [A_1, ..., A_n] float64, Q_tot
    local: tuple[Floats, ...]  # agent i: [A_i] float64, Q_i

    @property
    def greedy(self) -> tuple[int, ...]:
        """The joint action of local argmaxes; the first among equals."""
        return tuple(int(table.argmax()) for table in self.local)

    def squared_error(self, target: Any) -> float:
        """`Σ_a (target(a) - Q_tot(a))²`, unweighted: a sum over joint actions, not a mean."""
        return float(((check_target(target, shape=self.total.shape) - self.total) ** 2).sum())


def check_target(target: Any, *, shape: tuple[int, ...] | None = None) -> Floats:
    """`target` as float64 [A_1, ..., A_n]; ValueError if it is not finite or not of `shape`."""
    table = np.asarray(target, np.float64)
    if table.ndim < 1 or table.size < 1:
        raise ValueError(f"target must have the shape [A_1, ..., A_n] without empty axes, got {table.shape}")
    if shape is not None and table.shape != shape:
        raise ValueError(f"target must have the shape {shape}, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"target must be finite, got {int((~np.isfinite(table)).sum())} entries that are not")
    return table


def check_data(data: Any, shape: tuple[int, ...]) -> Floats:
    """`p_D(a)` as float64 [A_1, ..., A_n] (None: uniform); ValueError unless it is a distribution of that shape."""
    if data is None:
        return np.full(shape, 1.0 / math.prod(shape))
    table = np.asarray(data, np.float64)
    if table.shape != shape:
        raise ValueError(f"data must have one probability a joint action, shape {shape}, got {table.shape}")
    if not (table >= 0).all() or abs(table.sum() - 1.0) > _SUM_TOLERANCE:
        raise ValueError(
            f"data must be a distribution over joint actions (non-negative, sum 1), got the sum {table.sum():.10g} and "
            f"the smallest entry {table.min():.4g}"
        )
    return table


def product_data(marginals: Any) -> Floats:
    """`p_D(a) = Π_i p_i(a_i)`, [A_1, ..., A_n], from one distribution [A_i] per agent."""
    tables = [check_data(p, np.shape(p)) for p in marginals]
    if not tables or any(p.ndim != 1 for p in tables):
        raise ValueError(f"marginals must be one vector per agent, got the shapes {[p.shape for p in tables]}")
    return functools.reduce(np.multiply.outer, tables)


def linear_least_squares(target: Any, data: Any = None) -> Factorization:
    """The best `Σ_i Q_i(a_i)` for any data (FQI-LVF's step): the local tables of least norm among the equally good.

    Args:
      target: [A_1, ..., A_n], y.
      data: [A_1, ..., A_n], p_D; None is uniform. Where it is zero, Q_tot is what the least norm makes it.
    """
    y = check_target(target)
    weight = np.sqrt(check_data(data, y.shape).reshape(-1))
    design = _design(y.shape)
    solution = np.linalg.lstsq(weight[:, None] * design, weight * y.reshape(-1), rcond=None)[0]
    local = tuple(np.split(solution, np.cumsum(y.shape)[:-1]))
    return Factorization(total=(design @ solution).reshape(y.shape), local=local)


def linear_closed_form(target: Any, data: Any = None, *, residue: Any = None) -> Factorization:
    """The best `Σ_i Q_i(a_i)` for data with independent agents (arXiv 2006.00587, the closed form of FQI-LVF).

        Q_i(a_i) = E_{a_-i}[y(a_i, a_-i)] - (n-1)/n E_a[y(a)] + w_i,    Σ_i w_i = 0
        Q_tot(a) = Σ_i E_{a_-i}[y(a_i, a_-i)] - (n-1) E_a[y(a)]

    Args:
      target: [A_1, ..., A_n], y.
      data: [A_1, ..., A_n], p_D; None is uniform.
      residue: [n], the free w; None is zero. It moves local values and neither Q_tot nor a greedy action.

    Raises:
      ValueError: if `data` is not the product of its marginals, for which the formula is wrong.
    """
    y = check_target(target)
    expected, mean = _independent_expectations(y, check_data(data, y.shape))
    n = y.ndim
    w = np.zeros(n) if residue is None else np.asarray(residue, np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or abs(w.sum()) > 1e-9 * max(1.0, np.abs(w).max()):
        raise ValueError(f"residue must be {n} finite numbers, one per agent, that sum to 0, got {w.tolist()}")
    local = tuple(e - (n - 1) / n * mean + w[i] for i, e in enumerate(expected))
    return Factorization(total=functools.reduce(np.add.outer, expected) - (n - 1) * mean, local=local)


def counterfactual_credit(target: Any, data: Any = None) -> tuple[Floats, ...]:
    """For agent i `E_{a_-i}[y(a_i, a_-i)] - E_a[y(a)]`, [A_i]: its action's worth against its own average action.

    An aristocrat-utility-like difference reward. `linear_closed_form` gives Q_i = this plus a constant: linear
    factorization assigns this credit without being told to, and judges an action by what the teammates do in the data.
    Arguments and errors as for `linear_closed_form`.
    """
    y = check_target(target)
    expected, mean = _independent_expectations(y, check_data(data, y.shape))
    return tuple(e - mean for e in expected)


def igm_complete(target: Any, data: Any = None, *, greedy: Sequence[int] | None = None) -> Factorization:
    """The best fit among all Q_tot whose argmax is the tuple of local argmaxes: `target` itself, whatever the data.

    For any y let a* be a joint action with the largest value, the first in C order, and `Q_i = -1[a_i != a*_i]`. The
    local argmaxes are unique and their tuple a* maximizes Q_tot = y: individual-global-max holds, with error 0.
    Where other joint actions tie with a*, that is IGM as greedy action selection needs it. The stricter reading that all
    maximizers of Q_tot are the product of the local ones fails for some tied y (xor), but y minus any small penalty on
    a != a* satisfies that too, so the smallest error is still 0, as a limit.

    Args:
      target: [A_1, ..., A_n], y.
      data: [A_1, ..., A_n], p_D; None is uniform. Matters only with `greedy`.
      greedy: a joint action that has to be the greedy one; None leaves it free. Then Q_tot may nowhere exceed its value
        c there, and the best is `min(y, c)` with c the mean of y over a* and all joint actions that are worth more than
        c. A method that cannot change its greedy action ends there: a local minimum, unless y is largest at a*.
    """
    y = check_target(target)
    weight = check_data(data, y.shape)
    chosen = np.unravel_index(int(y.argmax()), y.shape) if greedy is None else greedy
    best = tuple(int(a) for a in chosen)
    if len(best) != y.ndim or any(not 0 <= b < a for b, a in zip(best, y.shape)):
        raise ValueError(f"greedy must be one action per agent, within {y.shape}, got {best}")
    mass, total_mass = weight[best] * y[best], weight[best]
    others = [a for a in np.ndindex(*y.shape) if a != best]
    for a in sorted(others, key=lambda a: -y[a]):
        if y[a] <= (mass / total_mass if total_mass > 0 else y[best]):
            break
        mass, total_mass = mass + weight[a] * y[a], total_mass + weight[a]
    cap = mass / total_mass if total_mass > weight[best] else y[best]
    total = np.minimum(y, cap)
    total[best] = cap
    return Factorization(
        total=total, local=tuple(np.where(np.arange(a) == b, 0.0, -1.0) for a, b in zip(y.shape, best))
    )


def linear_projector(data: Floats) -> Floats:
    """[K, K] the matrix that maps flattened targets to the Q_tot of `linear_least_squares` for `data` [A_1, ..., A_n]."""
    weight = np.sqrt(data.reshape(-1))
    design = _design(data.shape)
    projector: Floats = design @ np.linalg.pinv(weight[:, None] * design) * weight
    return projector


@functools.lru_cache(maxsize=64)
def _design(shape: tuple[int, ...]) -> Floats:
    """[K, Σ A_i] which local entries a joint action, in C order, adds up."""
    actions = np.indices(shape).reshape(len(shape), -1)
    return np.concatenate([np.eye(a)[row] for a, row in zip(shape, actions)], axis=1)


def _independent_expectations(y: Floats, data: Floats) -> tuple[list[Floats], float]:
    """`E_{a_-i}[y(a_i, a_-i)]` [A_i] for every agent and `E_a[y]`, under data that is the product of its marginals."""
    axes = range(y.ndim)
    marginals = [data.sum(axis=tuple(j for j in axes if j != i)) for i in axes]
    gap = float(np.abs(functools.reduce(np.multiply.outer, marginals) - data).max())
    if gap > _PRODUCT_TOLERANCE:
        raise ValueError(
            f"the closed form needs data in which agents act independently, p_D(a) = Π_i p_i(a_i), got a joint "
            f"probability that is {gap:.3g} off the product; accepted for any data: linear_least_squares"
        )
    expected = []
    for i in axes:
        table: NDArray[np.float64] = np.moveaxis(y, i, 0)
        for j in reversed([j for j in axes if j != i]):
            table = table @ marginals[j]
        expected.append(table)
    return expected, float(expected[0] @ marginals[0])
