"""The deep part: networks trained by the suite's methods, on the problems of the tabular one."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxmarl_envs import seed_key
from numpy.typing import NDArray

from experiments._study import fraction, markdown_table, provenance, train_all
from experiments.value_factorization import presets
from experiments.value_factorization.deep_figure import draw
from jaxmarl_suite.analysis import Run
from jaxmarl_suite.theory import FactorizedDescent

SHOWN = (30, 80, 160)
"""Target copies after which values are tabled."""
GROWTH = (15, 25)
"""Target copies between which growth is measured."""
BAND = (80.0, 120.0)
"""What counts as near Q* = 100."""
VARIANTS = {
    "qplex-coarse": "QPLEX, coarse fit",
    "qplex-flows": "QPLEX, gradient of A flows",
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
            draw(folder / "deep.png", {key.removeprefix("mmdp-"): by_copy(run) for key, run in runs.items()}, label)
    result["table:deep-mixer"] = mixer_table()
    return result


def label(name: str) -> str:
    """A method's or variant's name as it is shown."""
    return VARIANTS.get(name, name.upper())


def mixer_table(num_seeds: int = 100, steps: int = 5_000) -> str:
    """What gradient descent on QMIX's mixing network makes of the MMDP's targets in its start state.

    Targets are Q* / 10, with local values and mixing parameters drawn at several scales.
    """
    target = np.array([[10.0, 9.9], [9.9, 0.0]])
    interaction = (target[0, 0] + target[1, 1] - target[0, 1] - target[1, 0]) / 4
    rows = [["linear class, best fit", f"{4 * interaction**2:.3f}", "", ""]]
    for init_sd, mixer_sd in ((0.01, 0.1), (1.0, 0.1), (1.0, 1.0), (5.0, 1.0)):
        descent = FactorizedDescent(mixer="qmix", init_sd=init_sd, mixer_sd=mixer_sd, steps=steps)
        error = descent.run(target, jax.random.split(seed_key(0), num_seeds)).squared_error
        name = f"QMIX's network, start sd {init_sd:g}, mixing {mixer_sd:g}"
        rows.append([name, *(f"{e:.3f}" for e in (error.min(), np.median(error), error.max()))])
    return markdown_table(["fit to Q* / 10 in the start state", "least summed sq. error", "median", "most"], rows)


def by_copy(run: Run) -> NDArray[np.float64]:
    """[L, K] largest |Q_tot| in the batches between two target copies; column k - 1 is the k-th fit."""
    return run.curve("learner/q_max_abs", kind="train").values[:, presets.WAITING_COPIES :]


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
        shown = [spread(values[:, k - 1]) if k <= values.shape[1] else "–" for k in SHOWN] + [spread(values[:, -1])]
        within = (values[:, -1] >= BAND[0]) & (values[:, -1] <= BAND[1])
        method = f"{label(name.removeprefix('mmdp-'))} ({values.shape[1]} copies)"
        returns = run.curve().values[:, -1]
        rows.append([method, *shown, spread(growth(values)), f"{int(within.sum())}/{len(within)}", spread(returns)])
    header = ["method", *(f"after {k}" for k in SHOWN), "at the end", "growth a copy", "80 to 120", "greedy return"]
    return markdown_table(header, rows)


def games_table(runs: dict[str, Run]) -> str:
    names = list(dict.fromkeys(name.partition("-")[2] for name in runs))
    rows = []
    for name in names:
        cells = [outcome(runs[f"{game}-{name}"]) for game in presets.GAMES]
        rows.append([label(name), *cells])
    header = ["method", *(f"{game} ({runs[f'{game}-vdn'].optimum[0]:g})" for game in presets.GAMES)]
    return markdown_table(header, rows)


def two_step_table(runs: dict[str, Run]) -> str:
    rows = []
    for method in presets.TWO_STEP_METHODS:
        run = runs[f"two-step-{method}"]
        rows.append([label(method), outcome(run), tally(run.curve().values[:, -1])])
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
