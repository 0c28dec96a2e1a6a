"""The README's tables of root choices."""

import dataclasses
import math

from experiments._study import markdown_table
from experiments.mazero_search.root_choices import GAMES, Choice, Setting, choose

REFERENCE_ROOTS = 256
EXACT = Setting(exact_leaves=True)
REFERENCE: tuple[tuple[str, Setting, tuple[tuple[float, float], ...]], ...] = (
    ("one step, S = 50", Setting(1, 50), ((1.0, 1.0), (1.0, 1.0), (0.83, 1.0), (1.0, 1.0))),
    (
        "exact leaves, S = 100, ρ = 0",
        dataclasses.replace(EXACT, drop_lowest=0.0),
        ((1.0, 0.94), (0.99, 0.96), (0.65, 0.60), (0.86, 0.80)),
    ),
    ("exact leaves, S = 100, ρ = 0.75", EXACT, ((0.99, 1.0), (0.99, 0.98), (0.65, 0.66), (0.90, 0.85))),
)
"""By visits and by q in each game, from 256 roots of an independent prototype."""
SIMULATIONS = (20, 50, 100, 200)
DROPPED = (0.0, 0.25, 0.5, 0.75)
DECAYS = (0.5, 0.8, 1.0)


def share(count: int, roots: int) -> str:
    """A share with its standard error."""
    p = count / roots
    return f"{p:.3f} ± {math.sqrt(p * (1 - p) / roots):.3f}"


def gap(count: int, roots: int, measured: float) -> float:
    """Difference to a share of the prototype, in standard errors; next to 1, which no share is exactly, those of 0.98."""
    p = count / roots
    middle = min((p * roots + measured * REFERENCE_ROOTS) / (roots + REFERENCE_ROOTS), 0.98)
    return (p - measured) / math.sqrt(middle * (1 - middle) * (1 / roots + 1 / REFERENCE_ROOTS))


def reference_table(roots: int) -> str:
    """The prototype's cells, measured again from more roots."""
    rows, largest = [], 0.0
    for label, setting, cells in REFERENCE:
        for name, pick in (("visits", 0), ("q", 1)):
            row = [f"{label}: by {name}"]
            for game, cell in zip(GAMES, cells, strict=True):
                found = choose(game, setting, roots)
                count = (found.by_visits, found.by_q)[pick]
                deviation = gap(count, roots, cell[pick])
                largest = max(largest, abs(deviation))
                row.append(f"{share(count, roots)} ({cell[pick]:.2f}; {deviation:+.1f})")
            rows.append(row)
    note = f"\n\nIn brackets the prototype's share and the difference in standard errors; the largest is {largest:.1f}."
    return markdown_table(["share of best choices", *GAMES], rows) + note


def cell(found: Choice) -> str:
    """Visits and q."""
    return f"{found.by_visits / found.roots:.2f} / {found.by_q / found.roots:.2f}"


def simulations_table(roots: int) -> str:
    """Shares against simulations, with zero leaves: OS(λ) and the mean backup."""
    rows = []
    for label, base in (("OS(λ), ρ = 0.75", Setting()), ("mean backup", Setting(backup="mean"))):
        for simulations in SIMULATIONS:
            setting = dataclasses.replace(base, simulations=simulations)
            rows.append([f"{label}, S = {simulations}", *(cell(choose(game, setting, roots)) for game in GAMES)])
    return markdown_table(["zero leaves: by visits / by q", *GAMES], rows)


def backup_table(roots: int) -> str:
    """Shares against ρ and λ, with exact leaves; and what searches without leaves' values expect."""
    rows = []
    for decay in DECAYS:
        for dropped in DROPPED:
            setting = dataclasses.replace(EXACT, drop_lowest=dropped, depth_decay=decay)
            rows.append([f"λ = {decay:g}, ρ = {dropped:g}", *(cell(choose(game, setting, roots)) for game in GAMES)])
    return markdown_table(["exact leaves, S = 100: by visits / by q", *GAMES], rows)


def optimism_table(roots: int) -> str:
    """Mean root values with zero leaves: what is dropped from below raises what is expected."""
    rows = []
    for dropped in DROPPED:
        setting = Setting(drop_lowest=dropped, simulations=50)
        rows.append([f"ρ = {dropped:g}", *(f"{choose(game, setting, roots).root_value:.1f}" for game in GAMES)])
    return markdown_table(["zero leaves, S = 50: mean root value", *GAMES], rows)
