"""Games by the names of their scenarios."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from jaxmarl_envs.core import Environment, Family, UnknownVariant
from jaxmarl_envs.core._options import Option, read_options, steps
from jaxmarl_envs.football._env import Football
from jaxmarl_envs.football._params import default_params
from jaxmarl_envs.football._plan import Plan
from jaxmarl_envs.football._scenarios import MOST_PLAYERS, SCENARIOS, Scenario, match, start_of
from jaxmarl_envs.football._show import SIMPLE_PLAYERS

REWARDS = ("scoring", "checkpoints", "cds")
CDS_LIMIT = 150
_SUMS = {",".join(parts): parts for k in range(1, 4) for parts in itertools.combinations(REWARDS, k)}
_MATCH = re.compile(r"(0|[1-9][0-9]{0,8})_vs_(0|[1-9][0-9]{0,8})")
_PREFIX = "academy_"


def _options(scenario: Scenario) -> Mapping[str, Option]:
    return {
        "rules": Option(scenario.rules, choices=("cds", "grf")),
        "reward": Option("scoring,checkpoints", choices=tuple(_SUMS)),
        "obs": Option("rich", choices=("rich", "cds", "simple115")),
        "mask": Option("legal", choices=("legal", "none")),
        "limit": steps(CDS_LIMIT if scenario.rules == "cds" else scenario.limit),
        "substeps": Option(2, 1, 4),
        "difficulty": Option(0.6, 0.0, 1.0),
        "noise": Option(1.0, 0.0, 1.0),
    }


def make(variant: str, /, **options: Any) -> Environment:
    """The game called `variant`.

    Args:
      variant: one of `SCENARIOS` (the prefix `academy_` may be added), or `A_vs_B`: a match of A agents against B
        scripted players, and keepers.
      options: `rules`: "cds" (150 steps, ends in the left half; default for 3_vs_1_with_keeper and counterattacks) or
        "grf"; `reward`: a comma-separated sum of "scoring", "checkpoints" and "cds"; `obs`: "rich", "cds" or
        "simple115"; `mask`: "legal" or "none"; `limit` in steps; `substeps` per step, 1, 2 or 4; `difficulty` of the
        opponents and `noise`, 0 to 1. Scalars of `FootballParams` can be set by name like options.

    Raises:
      ValueError: an unknown option, an invalid value, impossible teams, or a layout or rules that the scenario cannot
        have.
      UnknownVariant: an unknown scenario.
    """
    env_id = f"football/{variant}"
    scenario = _scenario(env_id, variant)
    given = options | {"reward": _sum(env_id, options["reward"])} if "reward" in options else options
    chosen = read_options(env_id, given, _options(scenario))
    if chosen["substeps"] == 3:
        raise ValueError(f"{env_id}: substeps must be 1, 2 or 4, got 3")
    if "limit" not in options:
        chosen["limit"] = CDS_LIMIT if chosen["rules"] == "cds" else scenario.limit
    _check(env_id, scenario, chosen)
    plan = Plan(
        n_agents=len(scenario.agents),
        n_left=1 + len(scenario.mates) + len(scenario.agents),
        n_right=1 + len(scenario.right),
        rules=chosen["rules"],
        rewards=_SUMS[chosen["reward"]],
        obs=chosen["obs"],
        mask=chosen["mask"],
        substeps=chosen["substeps"],
        plays_on=scenario.plays_on,
        is_lazy=scenario.is_lazy,
        is_match=scenario.is_match,
    )
    numbers = {name: chosen[name] for name in ("limit", "difficulty", "noise")}
    optimum = None if scenario.is_match else {"scoring": 1.0, "cds": 100.0}.get(chosen["reward"])
    return Football(plan, chosen["limit"], env_id, optimum, default_params(*start_of(scenario), **numbers))


def _scenario(env_id: str, variant: str) -> Scenario:
    """The scenario called `variant`."""
    name = variant.removeprefix(_PREFIX)
    if name in SCENARIOS:
        return SCENARIOS[name]
    teams = _MATCH.fullmatch(variant)
    if teams is None:
        raise UnknownVariant
    a, b = int(teams[1]), int(teams[2])
    if not (1 <= a <= MOST_PLAYERS and 1 <= b <= MOST_PLAYERS):
        raise ValueError(
            f"{env_id}: teams must have 1 to {MOST_PLAYERS} players besides the keepers, got {a} against {b}"
        )
    return match(a, b)


def _sum(env_id: str, text: Any) -> str:
    """A sum of rewards, its parts in the order of `REWARDS`."""
    parts = text.split(",") if isinstance(text, str) else [text]
    if wrong := [part for part in parts if part not in REWARDS or parts.count(part) > 1]:
        raise ValueError(
            f"{env_id}: reward must be {', '.join(REWARDS)} or a comma-separated sum of them, each once; got "
            f"{wrong[0]!r} in {text!r}"
        )
    return ",".join(part for part in REWARDS if part in parts)


def _check(env_id: str, scenario: Scenario, chosen: Mapping[str, Any]) -> None:
    """Rejects layouts and rules that a scenario cannot have."""
    largest = max(len(scenario.mates) + len(scenario.agents), len(scenario.right)) + 1
    if chosen["obs"] == "simple115" and largest > SIMPLE_PLAYERS:
        raise ValueError(
            f"{env_id}: obs must be 'rich' or 'cds', got 'simple115', which has room for {SIMPLE_PLAYERS} players per "
            f"team, not {largest}"
        )
    if chosen["obs"] == "cds" and scenario.mates:
        raise ValueError(
            f"{env_id}: obs must be 'rich' or 'simple115', got 'cds', in which scripted teammates have no place; the "
            "variants with _small have none"
        )
    if chosen["rules"] == "cds" and (scenario.is_match or min(x for x, _ in (scenario.ball, *scenario.agents)) < 0):
        raise ValueError(
            f"{env_id}: rules must be 'grf', got 'cds', which ends episodes in the left half, where this game is played"
        )


FAMILY = Family(
    name="football",
    make=make,
    variants=(*SCENARIOS, "1_vs_1", "4_vs_4", "10_vs_10"),
    summary="academy scenarios after Google Research Football and matches, an engine of its own",
    pattern="A_vs_B (a match of A agents against B scripted players)",
)
