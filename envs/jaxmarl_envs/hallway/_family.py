"""Hallways, named after their corridor lengths."""

import re
from typing import Any

from jaxmarl_envs.core import Clock, Environment, Family, ObserveState, TimeLimit, UnknownOption, UnknownVariant
from jaxmarl_envs.hallway._env import Hallway

MAX_CELLS = 10_000_000
"""Maximum size of the global state, N * (max(L) + 1)."""


def make(variant: str, /, **options: Any) -> Environment:
    """The hallway with corridor lengths `variant`, e.g. `2-6-10`, with its time limit of max(L) + 10 steps.

    Args:
      variant: lengths joined by `-`, one per agent.
      options: `clock` (default False) adds the fraction of the time limit that has passed to observations;
        `observe_state` (default False) lets every agent observe all cells (and the clock), which makes the task fully
        observable.

    Raises:
      ValueError: an unknown option, or a length below 1.
      UnknownVariant: `variant` is not a list of lengths.
    """
    if not re.fullmatch(r"\d+(-\d+)*", variant):
        raise UnknownVariant
    unknown = sorted(set(options) - {"clock", "observe_state"})
    if unknown:
        raise UnknownOption(
            f"hallway/{variant}: unknown option {unknown[0]!r}; accepted: clock (bool), observe_state (bool)",
            {"clock": False, "observe_state": False},
        )
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"hallway/{variant}: {name} must be True or False, got {value!r}")
    lengths = tuple(map(int, variant.split("-")))
    cells = len(lengths) * (max(lengths) + 1)
    if cells > MAX_CELLS:
        raise ValueError(f"hallway/{variant}: N * (max(L) + 1) must be at most {MAX_CELLS}, got {cells}")
    env: Environment = TimeLimit(Hallway(lengths), max(lengths) + 10)
    if options.get("clock"):
        env = Clock(env)
    return ObserveState(env) if options.get("observe_state") else env


FAMILY = Family(
    name="hallway",
    make=make,
    variants=("4-4", "6-6", "2-6-10", "4-4-4-4"),
    summary="reach the ends of unequal corridors in the same step, seeing only one's own cell",
    pattern="L1-L2-... (one corridor length an agent)",
)
