"""The deep part: networks trained by the suite's methods, on the problems of the tabular one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments._study import markdown_table, provenance, train_all
from experiments.value_factorization import presets
from experiments.value_factorization.deep_figure import draw
from experiments.value_factorization.tabular_tables import fraction
from jaxmarl_suite.analysis import Run

SHOWN = (30, 100, 200, 300)
"""Target copies after which values are tabled."""
GROWTH = (15, 25)
"""Target copies between which growth is measured."""
BAND = (80.0, 120.0)
"""What counts as near Q* = 100."""
LABELS = {
    "iql": "IQL",
    "vdn": "VDN",
    "qmix": "QMIX",
    "cw-qmix": "CW-QMIX",
    "ow-qmix": "OW-QMIX",
    "qplex": "QPLEX",
    "qplex-flows": "QPLEX, gradient of A flows",
    "qtran": "QTRAN",
    "vdn-on-policy": "VDN, ε = 0.05",
}
TOLERANCE = 0.01


def sections(runs_folder: Path, folder: Path, *, fresh: bool = False) -> dict[str, str]:
    """README sections of the deep part by marker; draws deep.png into `folder`.

    Args:
      runs_folder: where run folders lie; finished ones are used as they are.
      folder: where the figure is put.
      fresh: train everything anew.
    """
    parts = {
        "deep-mmdp": (presets.mmdp_runs(), mmdp_table),
        "deep-games": (presets.game_runs(), games_table),
        "deep-two-step": (presets.two_step_runs(), two_step_table),
    }
    result = {}
    for name, (wanted, make) in parts.items():
        runs = train_all(wanted, runs_folder, fresh=fresh)
        result[f"table:{name}"] = f"{make(runs)}\n\n{provenance(list(runs.values()))}"
        if name == "deep-mmdp":
            draw(folder / "deep.png", {key.removeprefix("mmdp-"): by_copy(run) for key, run in runs.items()}, LABELS)
    return result


def by_copy(run: Run) -> NDArray[np.float64]:
    """[L, K] largest |Q_tot| in the batches between two target copies; column k - 1 is the k-th fit."""
    return run.curve("q_max_abs", kind="train").values[:, presets.WAITING_COPIES :]


def growth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[L] factor a copy over the copies `GROWTH`."""
    first, last = GROWTH
    return (values[:, last - 1] / values[:, first - 1]) ** (1 / (last - first))


def spread(values: NDArray[np.float64]) -> str:
    """Median with the range over seeds."""
    low, middle, high = (_number(float(v)) for v in (values.min(), np.median(values), values.max()))
    return f"{middle} [{low}, {high}]"


def mmdp_table(runs: dict[str, Run]) -> str:
    rows = []
    for name, run in runs.items():
        values = by_copy(run)
        shown = [*(spread(values[:, k - 1]) for k in SHOWN), spread(values[:, -1])]
        within = (values[:, -1] >= BAND[0]) & (values[:, -1] <= BAND[1])
        label = LABELS[name.removeprefix("mmdp-")] + f" ({values.shape[1]} copies)"
        returns = run.curve().values[:, -1]
        rows.append([label, *shown, spread(growth(values)), f"{int(within.sum())}/{len(within)}", spread(returns)])
    header = ["method", *(f"after {k}" for k in SHOWN), "at the end", "growth a copy", "80 to 120", "greedy return"]
    return markdown_table(header, rows)


def games_table(runs: dict[str, Run]) -> str:
    names = list(dict.fromkeys(name.partition("-")[2] for name in runs))
    rows = []
    for name in names:
        cells = [outcome(runs[f"{game}-{name}"]) for game in presets.GAMES]
        rows.append([LABELS[name], *cells])
    header = ["method", *(f"{game} ({runs[f'{game}-vdn'].optimum[0]:g})" for game in presets.GAMES)]
    return markdown_table(header, rows)


def two_step_table(runs: dict[str, Run]) -> str:
    rows = []
    for method in presets.TWO_STEP_METHODS:
        run = runs[f"two-step-{method}"]
        rows.append([LABELS[method], outcome(run), tally(run.curve().values[:, -1])])
    return markdown_table(["method", "two-step (8)", "greedy returns (seeds)"], rows)


def outcome(run: Run) -> str:
    """Seeds whose greedy joint actions reach the optimum, with an exact interval; mean greedy return."""
    returns = run.curve().values[:, -1]
    optimal = int((returns >= run.optimum - TOLERANCE).sum())
    return f"{fraction(optimal, len(returns))}; {returns.mean():.2f}"


def tally(values: Sequence[float] | NDArray[np.float64]) -> str:
    """`value (count)` by falling count."""
    found, counts = np.unique(np.round(values, 2), return_counts=True)
    return ", ".join(f"{found[i]:g} ({counts[i]})" for i in np.argsort(-counts, kind="stable"))


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.2e}" if value >= 1e5 else f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
