"""The README's tables of the tabular part."""

import math
from collections.abc import Sequence

from experiments._study import fraction, markdown_table
from experiments.value_factorization import tabular

METHODS = {
    "qmix": "QMIX",
    "qplex": "QPLEX, gradient of A stopped",
    "qplex, gradient not stopped": "QPLEX, gradient of A flows",
}


def number(value: float) -> str:
    """Six significant digits, in powers of ten when large."""
    return "∞" if math.isinf(value) else f"{value:.3e}" if abs(value) >= 1e5 else f"{value:.6g}"


def matrix(table: Sequence[Sequence[float]], digits: int = 3) -> str:
    """Rows joined by semicolons; without trailing or negative zeros."""
    return "; ".join(" ".join(f"{round(x, digits) + 0.0:g}" for x in row) for row in table)


def gamma_table(rows: Sequence[tabular.GammaRow]) -> str:
    cells = [
        [
            f"{r.gamma:g}",
            str(r.iterations),
            f"{number(r.norm)} ({number(tabular.GAMMA_REFERENCE[r.gamma, r.iterations])})",
        ]
        for r in rows
    ]
    return markdown_table(["γ", "iterations", "largest abs. Q_tot"], cells)


def epsilon_table(rows: Sequence[tabular.EpsilonRow]) -> str:
    cells = [
        [
            f"{r.epsilon:g}",
            f"{r.factor:.5f}",
            f"{number(r.norm)} ({number(tabular.EPSILON_REFERENCE[r.epsilon])})",
            number(r.fixed_point),
            f"{r.iterations}, stopped" if r.diverged else str(r.iterations),
        ]
        for r in rows
    ]
    return markdown_table(["ε", "γ(1 + ε²/4)", "largest abs. Q_tot", "fixed point", "iterations"], cells)


def class_table(rows: Sequence[tabular.ClassRow]) -> str:
    header = ["class", *(f"after {n}" for n in tabular.CLASS_REFERENCE), "distance to Q*, ratio of iterations"]
    cells = []
    for r in rows:
        norms = [f"{number(r.norm[n])} ({number(tabular.CLASS_REFERENCE[n])})" for n in r.norm]
        cells.append([r.function_class, *norms, f"{r.fastest_ratio:.6f} to {r.slowest_ratio:.6f}"])
    return markdown_table(header, cells)


def game_table(rows: Sequence[tabular.GameRow]) -> str:
    cells = []
    for r in rows:
        reference = tabular.ERROR_REFERENCE.get((r.game, r.function_class))
        error = f"{r.squared_error:.2f}" + ("" if reference is None else f" ({reference:g})")
        cells.append([f"{r.game}, {r.function_class}", matrix(r.total), matrix([r.local]), f"{r.payoff:g}", error])
    return markdown_table(["game, class", "Q_tot by rows", "Q_1", "greedy payoff", "summed sq. error"], cells)


def descent_table(rows: Sequence[tabular.DescentRow]) -> str:
    cells = []
    for r in rows:
        reference = tabular.DESCENT_REFERENCE.get((r.method, r.game, r.init_sd))
        start = f"{METHODS[r.method]}; {r.game}"
        sd = f"{r.init_sd:g}" + (f", mixing {r.setting:g}" if r.method == "qmix" else "")
        optimal = fraction(r.optimal, r.seeds) + ("" if reference is None else f" ({reference})")
        cells.append([start, sd, optimal, str(r.exact), most_frequent(r)])
    return markdown_table(["method; game", "start sd", "greedy action optimal", "exact fit", "errors (seeds)"], cells)


def weight_table(rows: Sequence[tabular.DescentRow]) -> str:
    weights = list(dict.fromkeys(r.setting for r in rows))
    cells = []
    for method, sd in dict.fromkeys((r.method, r.init_sd) for r in rows):
        own = {r.setting: r for r in rows if (r.method, r.init_sd) == (method, sd)}
        cells.append([f"{METHODS[method]}, sd {sd:g}", *(trapped(own[w]) for w in weights)])
    return markdown_table(["method, start sd", *(f"λ = {w:g}" for w in weights)], cells)


def trapped(row: tabular.DescentRow) -> str:
    """Optimal seeds; seeds at 32; seeds at 205.33; all others."""
    at = [row.trapped.get(error, 0) for error in ("32", "205.33")]
    return " / ".join(str(n) for n in (row.optimal, *at, row.seeds - row.optimal - sum(at)))


def most_frequent(row: tabular.DescentRow) -> str:
    """The three most frequent errors with their seeds, and how many seeds end elsewhere."""
    shown = list(row.errors.items())[:3]
    rest = row.seeds - sum(n for _, n in shown)
    return ", ".join(f"{error} ({n})" for error, n in shown) + (f", other ({rest})" if rest else "")
