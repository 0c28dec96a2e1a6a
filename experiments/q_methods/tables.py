"""The README's tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments._study import fraction, markdown_table
from experiments.q_methods import presets
from jaxmarl_suite import analysis

TOLERANCE = 0.01
LATE = 5
"""Evaluations at the end that are averaged for a seed's late win rate."""


def games(runs: Mapping[str, analysis.Run]) -> str:
    """Solved seeds and mean return of all methods on the small games."""
    rows = []
    for name in presets.GAME_METHODS:
        cells = []
        for game in presets.GAMES:
            run = runs[f"{game}-{name}"]
            returns = run.curve().values[:, -1]
            solved = int((returns >= run.optimum - TOLERANCE).sum())
            cells.append(f"{fraction(solved, len(returns))}; {returns.mean():.2f}")
        rows.append([name.upper(), *cells])
    header = ["method", *(f"{game} ({runs[f'{game}-vdn'].optimum[0]:g})" for game in presets.GAMES)]
    return markdown_table(header, rows)


def wins(runs: Mapping[str, analysis.Run], prefix: str) -> str:
    """Win rates: last evaluation, mean of the last ones, worst and best seed."""
    rows = []
    for name, run in runs.items():
        rates = run.curve("win").values
        late = rates[:, -LATE:].mean(axis=1)
        absolute = run.absolute("win")
        best = [] if np.isnan(absolute).any() else [_estimate(absolute)]
        label = name.removeprefix(prefix).upper()
        extremes = f"{late.min():.2f} to {late.max():.2f}"
        rows.append([label, _estimate(rates[:, -1]), _estimate(late), extremes, str(len(rates)), *best])
    header = ["method", "at the end", f"mean of the last {LATE}", "its range over seeds", "seeds", "best policy"]
    header = header[: len(rows[0])]  # not all runs measure their best policy again
    return markdown_table(header, rows)


def _estimate(values: Any) -> str:
    estimate = analysis.bootstrap_estimate([values])
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
