"""Successive halving over lanes: many points for few steps, the best of them for more, the winner on seeds of its own.

Jamieson and Talwalkar 2016 (successive halving); Bergstra and Bengio 2012 (random search). Every round trains from the
start, so that settings that depend on a run's length (annealing, exploration) mean what they say.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from jaxmarl_suite import analysis, runner
from jaxmarl_suite.analysis import Estimate
from jaxmarl_suite.runner import Diverged, Experiment, RunFolder, TrainOptions
from jaxmarl_suite.tuning._space import Space, draw_points

LATE = 3
"""Evaluations at the end that are averaged for a lane's score."""


@dataclasses.dataclass(frozen=True)
class Tuner:
    """A search. Points and seeds of a round are lanes of one run."""

    algorithm: str
    env: str
    space: Space
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the config that are not searched and differ from the defaults."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    total_steps: int = 200_000
    """Environment steps per seed in the last round and in the final comparison."""
    points: int = 16
    """Points of the first round."""
    rounds: int = 3
    """Each round keeps one point in `keep_one_in`, and has as many times the steps of the one before."""
    keep_one_in: int = 3
    seeds: int = 2
    """Seeds per point."""
    first_seed: int = 1000
    """The first of them."""
    final_seeds: int = 5
    """Seeds of the final comparison, from 0: none of the search's."""
    metric: str = "return"
    """Evaluations are compared by this; higher is better."""
    draw_seed: int = 0
    """Seed of the points."""

    def __post_init__(self) -> None:
        """Rejects sizes that make no search."""
        for name in ("total_steps", "points", "rounds", "seeds", "final_seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.keep_one_in < 2:
            raise ValueError(f"keep_one_in must be at least 2, got {self.keep_one_in}")
        if self.first_seed < self.final_seeds:
            raise ValueError(
                f"the search's seeds begin at {self.first_seed}, within those of the final comparison "
                f"(0..{self.final_seeds - 1}); choose a first_seed of at least {self.final_seeds}"
            )

    def count(self, number: int) -> int:
        """Points of round `number`, from 0."""
        return max(1, math.ceil(self.points / self.keep_one_in**number))

    def steps(self, number: int) -> int:
        """Environment steps per seed in round `number`."""
        return max(1, self.total_steps // self.keep_one_in ** (self.rounds - 1 - number))

    def experiment(self, points: list[dict[str, Any]], steps: int, seeds: int, first_seed: int) -> Experiment:
        """The run of these points."""
        options = TrainOptions(
            total_steps=steps,
            seeds=seeds,
            first_seed=first_seed,
            evaluations=10,
            absolute_episodes=0,
            keep_checkpoints=1,
        )
        return Experiment(self.algorithm, self.env, dict(self.settings), dict(self.env_options), points, options)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a search found."""

    best: dict[str, Any]
    """The point that won."""
    tuned: Estimate
    """Its interquartile mean on the final seeds, with a 95 % interval."""
    plain: Estimate
    """The same without it: the settings that were not searched, and defaults."""
    rounds: list[list[dict[str, Any]]]
    """Points of each round with their scores, best first."""


Watch = Callable[[Path, Experiment], AbstractContextManager[Any]]
"""`(run folder, experiment) -> listener`, entered while the run trains."""


def tune(tuner: Tuner, folder: str | Path, *, watch: Watch | None = None) -> Outcome:
    """Searches, compares the winner with plain settings on other seeds, and writes `tuned.json`.

    A search that was interrupted goes on when it is called again with the same folder. A point whose training diverges
    is left out, and the others of its round are trained again without it.

    Args:
      tuner: the search.
      folder: where the runs of the rounds lie.
      watch: makes the listener of each training.

    Raises:
      ValueError: the folder holds another search, the metric is not logged, or all points diverge.
      Diverged: in the final comparison.
    """
    runner.configure()
    place = Path(folder)
    points = draw_points(tuner.space, tuner.count(0), tuner.draw_seed)
    rounds: list[list[dict[str, Any]]] = []
    for number in range(tuner.rounds):
        points, run = _round(tuner, number, points[: tuner.count(number)], place, watch)
        scores = _scores(run, len(points), tuner.metric)
        order = np.argsort(-scores, kind="stable")
        rounds.append([{"settings": points[i], "score": round(float(scores[i]), 4)} for i in order])
        points = [points[i] for i in order]
        if len(points) == 1:
            break
    best = points[0]
    final = _trained(tuner.experiment([{}, best], tuner.total_steps, tuner.final_seeds, 0), place / "final", watch)
    curves = final.curve(tuner.metric)
    is_best = np.array([lane.point == 1 for lane in final.lanes])
    plain, tuned = (analysis.bootstrap_estimate([curves.values[chosen, -1]]) for chosen in (~is_best, is_best))
    outcome = Outcome(best, tuned, plain, rounds)
    (place / "tuned.json").write_text(json.dumps(_as_json(tuner, outcome), indent=1) + "\n", encoding="utf-8")
    return outcome


def _round(
    tuner: Tuner, number: int, points: list[dict[str, Any]], place: Path, watch: Watch | None
) -> tuple[list[dict[str, Any]], analysis.Run]:
    """The points of a round that do not diverge, and their run."""
    path, noted = place / f"round-{number}", place / f"round-{number}.diverged.json"
    diverged = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else []
    while left := [point for point in points if point not in diverged]:
        experiment = tuner.experiment(left, tuner.steps(number), tuner.seeds, tuner.first_seed)
        try:
            return left, _trained(experiment, path, watch)
        except Diverged as error:
            diverged.append(left[error.lane.point])
            runner.move_aside(path, "diverged")
            noted.write_text(json.dumps(diverged, indent=1) + "\n", encoding="utf-8")
    raise ValueError(f"all {len(points)} points of round {number} diverge; search other ranges")


def _trained(experiment: Experiment, path: Path, watch: Watch | None) -> analysis.Run:
    """The finished run of `experiment` at `path`: read, resumed or trained."""
    with nullcontext() if watch is None else watch(path, experiment) as listener:
        if not path.exists():
            runner.run(experiment, run_dir=path, listener=listener)
        else:
            stored = Experiment.read(RunFolder.open(path))
            if stored.to_json() != experiment.to_json():
                raise ValueError(f"{str(path)!r} is of another search; name another folder for this one")
            if RunFolder(path).summary().get("status") != "finished":
                runner.resume(path, listener=listener)
    return analysis.load_run(path)


def _scores(run: analysis.Run, points: int, metric: str) -> np.ndarray:
    """[points] mean over seeds of the mean over the last evaluations."""
    late = run.curve(metric).values[:, -LATE:].mean(axis=1)
    point = np.array([lane.point for lane in run.lanes])
    return np.array([late[point == i].mean() for i in range(points)])


def _as_json(tuner: Tuner, outcome: Outcome) -> dict[str, Any]:
    described = {f.name: getattr(tuner, f.name) for f in dataclasses.fields(tuner) if f.name != "space"}
    space = {name: dataclasses.asdict(one) for name, one in tuner.space.items()}
    found = dataclasses.asdict(outcome)
    for name in ("tuned", "plain"):  # a single seed has no interval, which JSON calls null
        found[name] = {key: None if math.isnan(value) else value for key, value in found[name].items()}
    return {**described, "space": space, **found}
