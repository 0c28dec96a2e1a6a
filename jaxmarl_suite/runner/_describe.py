"""The contents of config.json: what a run is, and how it differs from another."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmarl_suite.algorithms import coerce
from jaxmarl_suite.runner._artifacts import Start
from jaxmarl_suite.runner._experiment import Experiment, Group
from jaxmarl_suite.runner._folder import SCHEMA, RunFolder
from jaxmarl_suite.runner._options import WandbOptions
from jaxmarl_suite.runner._values import json_values, plain


def describe(experiment: Experiment, groups: Sequence[Group], starts: Sequence[Start] = ()) -> dict[str, Any]:
    """The contents of config.json."""
    lanes = sorted((lane for group in groups for lane in group.lanes), key=lambda lane: lane.index)
    sources = {lane: source for start in starts for lane, source in start.sources().items()}
    return {
        "schema": SCHEMA,
        **experiment.to_json(),
        "total_steps": experiment.options.total_steps,
        "untrained_phases": [phase.name for phase in groups[0].phases if not phase.trains_policy],
        "lanes": [
            {
                "lane": lane.index,
                "point": lane.point,
                "seed": lane.seed,
                "overrides": json_values(lane.overrides),
                "optimum": lane.optimum,
                **({"start": sources[lane.index]} if sources else {}),
            }
            for lane in lanes
        ],
    }


def described_wandb(wandb: WandbOptions | None) -> dict[str, Any]:
    """The part of config.json about W&B; none if no options were given."""
    return {} if wandb is None else {"wandb": plain(wandb)}


def wandb_options(folder: RunFolder, stored: Mapping[str, Any]) -> WandbOptions:
    """The options in a run's config.json.

    Raises:
      ValueError: invalid ones; the file is named.
    """
    try:
        return WandbOptions(**coerce(WandbOptions, stored))
    except ValueError as error:
        raise ValueError(f"{folder.path / 'config.json'}: in 'wandb': {error}") from None


def diff(stored: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Fields of `given` whose values differ from `stored`: `(name, stored value, given value)`."""
    found: list[tuple[str, Any, Any]] = []
    for name, value in given.items():
        ours = stored.get(name)
        if isinstance(value, Mapping) and isinstance(ours, Mapping):
            for key in sorted({*value, *ours}):
                found += diff({key: ours.get(key)}, {key: value.get(key)}, f"{prefix}{name}.")
        elif ours != value:
            found.append((prefix + name, ours, value))
    return found
