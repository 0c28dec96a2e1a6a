"""What a recipe is, and its measured results."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of an algorithm that were tuned for an environment, or for all of a family."""

    algorithm: str
    env: str
    """An id, or "FAMILY/*". The recipe of an id goes before that of its family."""
    settings: Mapping[str, Any]
    """Fields of the config that differ from the algorithm's defaults."""
    total_steps: int
    """Environment steps per seed in the measured results."""
    source: str
    """How the settings were found, in one sentence."""
    date: str
    """When, as YEAR-MONTH."""
    metric: str = "return"
    """The metric of the results."""
    measured_on: tuple[str, ...] = ()
    """Ids in the measured results; `env` itself if that is an id."""

    @property
    def name(self) -> str:
        """ALGORITHM@ENV, e.g. `mappo@smax/3m`."""
        return f"{self.algorithm}@{self.env}"

    @property
    def envs(self) -> tuple[str, ...]:
        """The ids that its results are of."""
        return self.measured_on or (self.env,)

    def serves(self, algorithm: str, env: str) -> bool:
        """Whether it is a recipe for this algorithm on this environment."""
        family, _, variant = self.env.partition("/")
        return algorithm == self.algorithm and (env == self.env or (variant == "*" and env.startswith(f"{family}/")))

    @property
    def announcement(self) -> str:
        """One line that says where a run's settings come from."""
        seeds = {result.seeds for result in self.results()}
        measured = f", {max(seeds)} seeds" if seeds else ""
        return f"settings: recipe {self.name} (tuned {self.date}{measured}); --recipe none for plain defaults"

    def results(self) -> list["Result"]:
        """The stored results, one per environment; empty if none were measured."""
        return [Result(**row) for row in _stored().get(self.name, [])]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a recipe reached on one environment."""

    env: str
    metric: str
    value: float
    """Interquartile mean over seeds of the last evaluation."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    seeds: int
    first_seed: int
    total_steps: int
    provenance: str
    """Hardware, versions and time."""


def store(recipe: Recipe, results: Sequence[Result]) -> None:
    """Keeps results as those of `recipe`, in place of earlier ones."""
    found = {**_stored(), recipe.name: [dataclasses.asdict(result) for result in results]}
    RESULTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
    _stored.cache_clear()


@functools.cache
def _stored() -> dict[str, list[dict[str, Any]]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
