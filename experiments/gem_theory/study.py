"""The measurements: bias of stopping by noisy estimates, tabular GEM beside its bounds, and refreshes along a chain."""

import dataclasses

import jax
import numpy as np
from jaxmarl_envs import seed_key
from numpy.typing import NDArray

from jaxmarl_suite.theory import (
    TabularMemory,
    best_case_values,
    evaluate,
    expected_stopping,
    greedy,
    propagate,
    random_deterministic_mdp,
    sample_stopping,
    value_iteration,
)

PLACES = (2, 5, 10, 50)
GAPS = (0.1, 0.5, 2.0)
NUM_SLOPED = 10  # places of the sloped problems
KINDS = ("single", "double", "floor", "evaluator_floor")
SLIPS = (0.0, 0.05, 0.2)
GAMMA, HORIZON = 0.9, 50
LENGTH, CHAIN_GAMMA = 50, 0.99
CAPS = (None, 20, 5, 1)  # most rewards taken from the trajectory

# Values of an independent computation made for this project before this code (2e5 draws, 0.02), not taken from the paper.
FLAT_REFERENCE = {
    ("single", 1): dict(zip(PLACES, (0.57, 1.16, 1.54, 2.25))),
    ("double", 1): dict.fromkeys(PLACES, 0.0),
    ("floor", 1): dict.fromkeys(PLACES, 0.56),
    ("double", 2): dict.fromkeys(PLACES, -0.56),
    ("floor", 2): dict.fromkeys(PLACES, -0.10),
}
SLOPED_REFERENCE = {
    "single": dict(zip(GAPS, (1.16, 0.49, 0.05))),
    "double": dict(zip(GAPS, (-0.32, -0.43, -0.17))),
}


@dataclasses.dataclass(frozen=True)
class BiasRow:
    """Mean of a kind of target minus the worth of the best place, in units of the noise's standard deviation."""

    kind: str
    group_size: int
    places: int
    gap: float  # by which each place is worse than the one before
    sampled: float  # through the ops that learners use
    exact: float
    reference: float | None


@dataclasses.dataclass(frozen=True)
class TabularRow:
    """Tabular GEM on random MDPs with one slip: means over MDPs, or the worst."""

    slip: float
    estimators: int
    least_updates: int  # of any table entry
    highest_excess: float  # max(Q - Q*) over entries, episodes and MDPs
    last_error: float  # max |Q - Q*| at the end
    last_excess: float  # mean(Q - Q*) at the end
    above_ceiling: float  # max(Q - Q_max) over entries, episodes and MDPs
    value_loss: float  # mean over MDPs of max(V* - V^greedy)
    worst_loss: float
    bound: float  # mean over MDPs of 2 mu / (1 - gamma)


@dataclasses.dataclass(frozen=True)
class ChainRow:
    """Refreshes of one stored success."""

    max_steps: int | None
    refreshes: int  # until the first step's target is its worth within 1e-5
    after_one: float  # the first step's target after one refresh, over its worth


def bias_rows(num_draws: int, seed: int) -> list[BiasRow]:
    """Flat and sloped problems, sampled and exact."""
    problems = [(size, places, 0.0) for size in (1, 2) for places in PLACES]
    problems += [(1, NUM_SLOPED, gap) for gap in GAPS]
    rows = []
    for key, (size, places, gap) in zip(jax.random.split(seed_key(seed), len(problems)), problems):
        values = -gap * np.arange(places)
        exact = expected_stopping(values, group_size=size)
        sampled = sample_stopping(key, values, group_size=size, num_draws=num_draws)
        for kind in KINDS:
            known = SLOPED_REFERENCE.get(kind, {}).get(gap) if gap else FLAT_REFERENCE.get((kind, size), {}).get(places)
            found = float(getattr(sampled, kind)), getattr(exact, kind)
            rows.append(BiasRow(kind, size, places, gap, *found, known))
    return rows


def bias_curves() -> tuple[NDArray[np.int64], dict[tuple[str, int], NDArray[np.float64]]]:
    """Places [P], and exact bias [P] by kind and group size, where all places are worth the same."""
    places = np.unique(np.round(np.geomspace(1, 50, 24)).astype(int))
    curves = {}
    for size in (1, 2):
        found = [expected_stopping(np.zeros(h), group_size=size, num_points=4_001) for h in places]
        for kind in KINDS:
            curves[kind, size] = np.array([getattr(f, kind) for f in found])
    return places, curves


def tabular(
    num_mdps: int, num_episodes: int, seed: int
) -> tuple[list[TabularRow], dict[tuple[float, int], NDArray[np.float64]]]:
    """Rows, and mean(Q - Q*) over entries and MDPs after each episode by slip and number of estimators."""
    rows, curves = [], {}
    mdps = [[random_deterministic_mdp(i, gamma=GAMMA, slip=slip) for i in range(num_mdps)] for slip in SLIPS]
    flat = [mdp for group in mdps for mdp in group]
    keys = jax.random.split(seed_key(seed), len(flat))
    solutions = [value_iteration(mdp) for mdp in flat]
    optimal = np.stack([s.action_value for s in solutions])
    ceiling = np.stack([best_case_values(mdp) for mdp in flat])
    for estimators in (2, 1):
        result = TabularMemory(num_episodes, HORIZON, estimators).run(flat, keys)
        excess = result.action_value - optimal[:, None, None]
        above = result.action_value - ceiling[:, None, None]
        policies = [greedy(m, q.mean(axis=0)) for m, q in zip(flat, result.action_value[:, -1])]
        loss = np.array([(s.value - evaluate(m, p)[0]).max() for m, p, s in zip(flat, policies, solutions)])
        bound = 2 * (ceiling - optimal).max(axis=(1, 2)) / (1 - GAMMA)
        for i, slip in enumerate(SLIPS):
            part = slice(i * num_mdps, (i + 1) * num_mdps)
            curves[slip, estimators] = excess[part].mean(axis=(0, 2, 3, 4))
            rows.append(
                TabularRow(
                    slip=slip,
                    estimators=estimators,
                    least_updates=int(result.num_updates[part].min()),
                    highest_excess=float(excess[part].max()),
                    last_error=float(np.abs(excess[part, -1]).max()),
                    last_excess=float(excess[part, -1].mean()),
                    above_ceiling=float(above[part].max()),
                    value_loss=float(loss[part].mean()),
                    worst_loss=float(loss[part].max()),
                    bound=float(bound[part].mean()),
                )
            )
    return rows, curves


def chain() -> tuple[list[ChainRow], dict[int | None, NDArray[np.int64]]]:
    """Rows, and steps from the end that the reward has reached after each refresh, by cap."""
    worth = CHAIN_GAMMA ** np.arange(LENGTH)[::-1]
    rows, reach = [], {}
    for cap in CAPS:
        targets = propagate(LENGTH, gamma=CHAIN_GAMMA, num_refreshes=LENGTH + 5, max_steps=cap)
        is_reached = targets >= worth * (1 - 1e-5)
        reach[cap] = is_reached.sum(axis=1)
        rows.append(ChainRow(cap, int(np.argmax(is_reached[:, 0])) + 1, float(targets[0, 0] / worth[0])))
    return rows, reach
