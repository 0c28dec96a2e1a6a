"""The exact best monotone factorization (QMIX's class, without its optimization) of small games."""

import functools
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from jaxmarl_suite.theory._factorization import Factorization, check_data, check_target
from jaxmarl_suite.theory._mdp import Floats

MAX_ORDERS = 50_000
"""Most combinations of action orders, `Π_i A_i!`, that are enumerated."""

Order = tuple[tuple[int, ...], ...]  # for each agent its actions from worst to best


def monotone_least_squares(target: Any, data: Any = None) -> Factorization:
    """The global least-squares fit among `Q_tot(a) = f(Q_1(a_1), ..., Q_n(a_n))`, f non-decreasing in every argument.

    A Q_tot is in the class if and only if each agent's actions can be ordered so that Q_tot never falls when one agent
    moves up its order: local values then are ranks, and f is the table. (Equal local values only constrain Q_tot
    further.) So all combinations of orders are tried, and for each the fit is an isotonic regression on a grid, a
    quadratic program `min Σ p (y - q)²` with `D q >= 0`. Its dual is a non-negative least-squares problem, which SciPy
    solves exactly: `min |p^(-1/2) Dᵀλ + p^(1/2) y|²` over `λ >= 0`, and `q = y + Dᵀλ / p`.

    Args:
      target: [A_1, ..., A_n], y.
      data: [A_1, ..., A_n], p_D, positive everywhere; None is uniform.

    Returns:
      Q_tot and ranks 0..A_i-1 as local values; among equally good orders the lexicographically first.

    Raises:
      ValueError: if a joint action never occurs in the data, or there are more than `MAX_ORDERS` orders.
    """
    y = check_target(target)
    weight = check_data(data, y.shape)
    if not (weight > 0).all():
        raise ValueError(
            "the monotone fit needs data in which every joint action occurs, got a smallest probability of 0"
        )
    count = math.prod(math.factorial(a) for a in y.shape)
    if count > MAX_ORDERS:
        raise ValueError(f"{y.shape} actions have {count} orders; accepted: at most {MAX_ORDERS} (small games only)")
    best_error, best_fit, best_order = np.inf, y, None
    for order in itertools.product(*(itertools.permutations(range(a)) for a in y.shape)):
        fit = _isotonic(y[np.ix_(*order)], weight[np.ix_(*order)])
        error = float((weight[np.ix_(*order)] * (y[np.ix_(*order)] - fit) ** 2).sum())
        if error < best_error:
            best_error, best_fit, best_order = error, fit, order
            if error == 0.0:
                break
    assert best_order is not None  # the targets are finite, so some order has a finite error
    total = np.empty_like(y)
    total[np.ix_(*best_order)] = best_fit
    return Factorization(total=total, local=tuple(np.argsort(order).astype(np.float64) for order in best_order))


def _isotonic(y: Floats, weight: Floats) -> Floats:
    """The weighted least-squares fit of `y` [A_1, ..., A_n] that does not fall along any axis."""
    if all((np.diff(y, axis=i) >= 0).all() for i in range(y.ndim)):
        return y
    edges = _edges(y.shape)
    root = np.sqrt(weight.reshape(-1))
    multipliers, _ = nnls((edges / root).T, -root * y.reshape(-1), maxiter=100 * len(edges))
    fit: Floats = (y.reshape(-1) + edges.T @ multipliers / root**2).reshape(y.shape)
    return fit


@functools.lru_cache(maxsize=64)
def _edges(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[E, K] the rows of D: value after a step up one axis minus value before it, for all neighbors of the grid."""
    index = np.arange(math.prod(shape)).reshape(shape)
    identity = np.eye(index.size)
    rows = []
    for axis in range(len(shape)):
        low = np.delete(index, -1, axis=axis).reshape(-1)
        high = np.delete(index, 0, axis=axis).reshape(-1)
        rows.append(identity[high] - identity[low])
    return np.concatenate(rows)
