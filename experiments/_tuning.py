"""Settings of a study: a search of the same size for every method, on seeds that no table reports, kept in `tuned.json`."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments._study import Preset, markdown_table, provenance, train_all
from jaxmarl_suite import analysis
from jaxmarl_suite.runner import TrainOptions


@dataclasses.dataclass(frozen=True)
class Search:
    """What is tried for a group of tasks."""

    group: str
    tasks: Sequence[str]
    methods: Mapping[str, Mapping[str, Any]]
    """By method, the settings that are not searched."""
    grid: Mapping[str, Sequence[float]]
    """The settings that are, the same for all methods. Floats, so that a method and task is one compiled program."""
    score: Callable[[analysis.Run], np.ndarray]
    """[K, L] for every lane what its last evaluation is worth; later rows break the ties of earlier ones."""
    options: TrainOptions
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    env_grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    """Games to average over, as `env.OPTION`."""

    def presets(self, method: str) -> list[Preset]:
        """One sweep a task."""
        return [
            Preset(
                f"search-{self.group}-{task.replace('/', '-')}-{method}",
                method,
                task,
                self.methods[method],
                self.env_options,
                {**self.grid, **self.env_grid},
                self.options,
            )
            for task in self.tasks
        ]

    def scores(self, runs: Sequence[analysis.Run]) -> list[dict[str, Any]]:
        """For every point of the grid, in its order, the mean over all lanes of all tasks, to four digits."""
        rows = []
        for values in itertools.product(*self.grid.values()):
            settings = dict(zip(self.grid, values))
            lanes = [
                self.score(run)[:, [settings.items() <= lane.overrides.items() for lane in run.lanes]] for run in runs
            ]
            rows.append({"settings": settings, "score": np.concatenate(lanes, 1).mean(1).round(4).tolist()})
        return rows


def search(searches: Sequence[Search], path: Path, folder: Path, *, fresh: bool = False) -> None:
    """Trains the sweeps and writes every method's best point to `path`. Of equal points the first of the grid counts.

    Groups that are in the file and not searched now stay.
    """
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for group in searches:
        points, everything = {}, []
        for method in group.methods:
            runs = list(train_all(group.presets(method), folder, fresh=fresh).values())
            everything += runs
            points[method] = group.scores(runs)
        found[group.group] = {
            "tasks": list(group.tasks),
            "env_grid": group.env_grid,
            "first_seed": group.options.first_seed,
            "seeds": group.options.seeds,
            "steps": group.options.total_steps,
            "provenance": provenance(everything),
            "methods": {
                method: {**max(rows, key=lambda row: row["score"]), "points": rows} for method, rows in points.items()
            },
        }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def tuned(path: Path, group: str, method: str) -> dict[str, float]:
    """The settings that the search chose.

    Raises:
      ValueError: the search has not been made for this method.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))[group]["methods"][method]["settings"]
    except (OSError, KeyError) as error:
        command = f"python -m experiments.{path.parent.name} --search"
        raise ValueError(f"{path} has no settings of {method} for {group!r}; make them with `{command}`") from error


def tuned_table(path: Path) -> str:
    """For each group a table of the chosen settings and their scores, with the size of the search."""
    parts = []
    for group, content in json.loads(path.read_text(encoding="utf-8")).items():
        games = max(map(len, content["env_grid"].values()), default=1)
        lanes = len(content["tasks"]) * content["seeds"] * games
        header, rows = [f"`{group}`"], []
        for method, best in content["methods"].items():
            header = [f"`{group}`", *best["settings"], "score", "points", "trainings a point", "steps of each"]
            settings = [f"{value:g}" for value in best["settings"].values()]
            size = [str(len(best["points"])), str(lanes), f"{content['steps']:,}"]
            rows.append([method, *settings, " / ".join(f"{s:.2f}" for s in best["score"]), *size])
        parts += [markdown_table(header, rows), content["provenance"]]
    return "\n\n".join(parts)
