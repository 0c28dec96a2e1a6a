"""The measurements: which fraction of exact gradient ascents ends at a game's optimum."""

import dataclasses
import time

import jax
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import seed_key
from numpy.typing import NDArray

from jaxmarl_suite.theory import Ascent, init_logits

GAMES = ("G1", "G3", "climbing", "penalty", "xor")
INIT_SDS = (0.01, 1.0)
WITHIN = 0.1  # of the optimum: where an ascent counts as optimal
ASCENTS = {
    "decentralized, plain": Ascent("decentralized", "plain", 0.1, 20_000),
    "sequential, plain": Ascent("sequential", "plain", 0.1, 20_000),
    "decentralized, natural": Ascent("decentralized", "natural", 0.1, 20_000),
    "sequential, natural": Ascent("sequential", "natural", 0.1, 2_000),
}
SHAPES = ((2, 3), (2, 10), (3, 5), (4, 5), (5, 4))  # (agents, actions)
RANDOM_STEPS, RANDOM_LEARNING_RATE = 3_000, 0.3
TIE = 1e-3  # joint actions this close to the best count as optimal: 3000 steps do not tell them apart

# Values of an independent computation made for this project before this code, not taken from the paper:
# 1000 seeds (named games), 200 games (random ones: standard errors up to 0.035).
NAMED_REFERENCE = {
    ("G1", 0.01): (0.0, 1.0, 0.0, 1.0),
    ("G1", 1.0): (0.308, 0.875, 0.329, 1.0),
    ("G3", 0.01): (0.0, 1.0, 0.0, 1.0),
    ("G3", 1.0): (0.225, 0.632, 0.234, 1.0),
    ("climbing", 0.01): (0.0, 1.0, 0.0, 1.0),
    ("climbing", 1.0): (0.224, 0.738, 0.271, 1.0),
    ("penalty", 0.01): (0.0, 1.0, 0.0, 1.0),
    ("penalty", 1.0): (0.718, 0.988, 0.876, 1.0),
    ("xor", 0.01): (1.0, 1.0, 1.0, 1.0),
    ("xor", 1.0): (1.0, 1.0, 1.0, 1.0),
}
RANDOM_REFERENCE = {
    (2, 3): ((0.935, 0.975), (1.0, 1.0)),
    (2, 10): ((0.500, 0.898), (1.0, 1.0)),
    (3, 5): ((0.375, 0.849), (1.0, 1.0)),
    (4, 5): ((0.150, 0.790), (1.0, 1.0)),
    (5, 4): ((0.050, 0.743), (1.0, 1.0)),
}


@dataclasses.dataclass(frozen=True)
class NamedRow:
    """One game and initial spread."""

    game: str
    optimum: float
    init_sd: float
    optimal: dict[str, float]  # fraction of seeds within 0.1 of the optimum, by ascent
    typical_value: dict[str, float]  # median J of the seeds that miss it, NaN if none does, by ascent
    seconds: float


@dataclasses.dataclass(frozen=True)
class RandomRow:
    """Random games of one size."""

    num_agents: int
    num_actions: int
    optimal: dict[str, float]  # fraction of games whose greedy joint action pays within 0.001 of the best
    ratio: dict[str, float]  # mean J / R* over games with R* > 0, by policy kind
    seconds: float


def payoff(variant: str, **options: int) -> NDArray[np.float32]:
    """[A, ..., A] the table of a one-shot `matrix/variant`."""
    env = jaxmarl_envs.make(f"matrix/{variant}", **options)
    return np.asarray(env.default_params.payoff, np.float32).reshape((env.spec.num_actions,) * env.spec.n_agents)


def named_games(num_seeds: int, seed: int) -> list[NamedRow]:
    """Every ascent on every named game from both initial spreads."""
    rows = []
    for game in GAMES:
        table = payoff(game)
        best = float(table.max())
        for sd in INIT_SDS:
            start = time.perf_counter()
            optimal, typical_value = {}, {}
            for name, ascent in ASCENTS.items():
                keys = jax.random.split(seed_key(seed), num_seeds)
                value = np.asarray(ascent.run_seeds(table, keys, init_sd=sd).value)
                hit = value >= best - WITHIN
                optimal[name] = float(hit.mean())
                typical_value[name] = float(np.median(value[~hit])) if not hit.all() else float("nan")
            rows.append(NamedRow(game, best, sd, optimal, typical_value, time.perf_counter() - start))
    return rows


def random_games(num_games: int) -> list[RandomRow]:
    """Natural gradient ascent from uniform policies on `matrix/random-NxA` with seeds 0..num_games-1."""
    rows = []
    for n, a in SHAPES:
        start = time.perf_counter()
        games = np.stack([payoff(f"random-{n}x{a}", seed=i) for i in range(num_games)])
        best = games.reshape(num_games, -1).max(axis=1)
        optimal, ratio = {}, {}
        for kind in ("decentralized", "sequential"):
            logits = init_logits(jax.random.split(seed_key(0), 1), (a,) * n, policy=kind, sd=0.0)
            result = Ascent(kind, "natural", RANDOM_LEARNING_RATE, RANDOM_STEPS).run(games, logits)
            value, greedy_value = np.asarray(result.value), np.asarray(result.greedy_value)
            optimal[kind] = float((greedy_value >= best - TIE).mean())
            ratio[kind] = float((value / best)[best > 0].mean())
        rows.append(RandomRow(n, a, optimal, ratio, time.perf_counter() - start))
    return rows


def plateaus(num_seeds: int, seed: int, steps: tuple[int, ...]) -> dict[str, list[float]]:
    """By game, the fraction of sequential plain ascents from sd 1 at the optimum after each of `steps`."""
    ascent = Ascent("sequential", "plain", 0.1, steps[-1], record_at=steps)
    fractions = {}
    for game in GAMES[:-1]:
        table = payoff(game)
        result = ascent.run_seeds(table, jax.random.split(seed_key(seed), num_seeds), init_sd=1.0)
        fractions[game] = (np.asarray(result.trajectory) >= table.max() - WITHIN).mean(axis=0).tolist()
    return fractions


def trajectories(num_seeds: int, seed: int) -> tuple[NDArray[np.int64], dict[str, dict[str, NDArray[np.float32]]]]:
    """Steps [T], and J [seeds, T] by game and ascent, from nearly uniform policies (sd 0.01) over 20000 steps."""
    steps = np.unique(np.round(np.geomspace(1, 20_000, 110)).astype(int))
    curves: dict[str, dict[str, NDArray[np.float32]]] = {}
    for game in GAMES[:-1]:
        curves[game] = {}
        for name, ascent in ASCENTS.items():
            ascent = dataclasses.replace(ascent, steps=20_000, record_at=tuple(map(int, steps)))
            keys = jax.random.split(seed_key(seed), num_seeds)
            curves[game][name] = np.asarray(ascent.run_seeds(payoff(game), keys, init_sd=0.01).trajectory)
    return steps, curves
