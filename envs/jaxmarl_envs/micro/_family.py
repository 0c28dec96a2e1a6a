"""Battles by the names of their maps."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmarl_envs.core import Environment, Family, TimeLimit, UnknownVariant
from jaxmarl_envs.core._options import Option, read_options
from jaxmarl_envs.micro._enemy import MOST_ALLIES
from jaxmarl_envs.micro._env import Micro
from jaxmarl_envs.micro._kinds import table_of
from jaxmarl_envs.micro._maps import MAPS, SIZE, Map
from jaxmarl_envs.micro._params import MicroParams
from jaxmarl_envs.micro._plan import LOOPS, Plan

LEVELS: Mapping[str, Mapping[str, float]] = {
    "passive": {"fire": 0.0, "advance": 0.0},
    "guard": {"advance": 0.0},
    "easy": {"accuracy": 0.6, "stick": 2.0**20},
    "smac": {},
    "focus": {"focus": 1.0},
    "kite": {"focus": 1.0, "kite": 3.0},
}
"""Enemies from harmless to strong, by the params that they change. All enemies follow whom they see; `passive` ones
never shoot. `passive` and `guard` wait in place until they see an ally."""
RACES: Mapping[str, tuple[str, str, str]] = {
    "protoss": ("stalker", "zealot", "colossus"),
    "terran": ("marine", "marauder", "medivac"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}
"""The kinds in random teams; the third is rare, and never alone."""
DRAWN_LIMIT = 200
MOST_ENEMIES = 64
_DRAWN = re.compile(r"(protoss|terran|zerg)_(0|[1-9][0-9]{0,8})_vs_(0|[1-9][0-9]{0,8})")
_LISTED_DRAWN = tuple(f"{race}_{n}_vs_{m}" for race in RACES for n, m in ((5, 5), (10, 10), (10, 11)))
_OPTIONS: Mapping[str, Option] = {
    "difficulty": Option("smac", choices=tuple(LEVELS)),
    "reward": Option("positive", choices=("positive", "abs", "sparse")),
    "start": Option("fixed", choices=("fixed", "jitter")),
    "substeps": Option(4, 1, LOOPS),
    "own_position": Option("hidden", choices=("hidden", "shown")),
}
_DRAWN_OPTIONS: Mapping[str, Option] = {name: option for name, option in _OPTIONS.items() if name != "start"} | {
    "own_position": _OPTIONS["own_position"]._replace(default="shown")
}


def make(variant: str, /, **options: Any) -> Environment:
    """The battle on the map `variant`, or of random teams, with its time limit.

    Args:
      variant: one of `MAPS`, or `RACE_N_vs_M` (protoss, terran or zerg): N units against the same N and M - N more,
        drawn anew in every episode.
      options: `difficulty` of the enemy, one of `LEVELS`; `reward`: "positive", "abs" or "sparse"; `start` (not for
        random teams, whose start varies in every episode): "fixed", or "jitter" (moved by up to `spread` cells);
        `substeps` per step: 1, 2, 4 or 8; `own_position`: whether agents observe their own position, "hidden" or
        "shown" (the default with random teams). Scalars of `MicroParams` can be set by name like options.

    Raises:
      ValueError: an unknown option, an invalid value, or impossible teams.
      UnknownVariant: an unknown map.
    """
    env_id = f"micro/{variant}"
    drawn = _DRAWN.fullmatch(variant)
    if drawn is None and variant not in MAPS:
        raise UnknownVariant
    chosen = read_options(env_id, options, _OPTIONS if drawn is None else _DRAWN_OPTIONS)
    if LOOPS % chosen["substeps"]:
        raise ValueError(f"{env_id}: substeps must be 1, 2, 4 or 8, got {chosen['substeps']}")
    shared = {name: chosen[name] for name in ("reward", "substeps")} | {
        "own_position": chosen["own_position"] == "shown"
    }
    if drawn is not None:
        plan, params, limit = _drawn(env_id, drawn[1], int(drawn[2]), int(drawn[3]), shared)
    else:
        plan, params, limit = _fixed(MAPS[variant], chosen["start"] == "jitter", shared)
    level: dict[str, Any] = {name: np.float32(value) for name, value in LEVELS[chosen["difficulty"]].items()}
    return TimeLimit(Micro(plan, env_id, dataclasses.replace(params, **level)), limit)


def _fixed(played: Map, jitters: bool, options: Mapping[str, Any]) -> tuple[Plan, MicroParams, int]:
    kinds = played.kinds
    allies, enemies = (
        tuple(kinds.index(name) for name, count, _ in groups for _ in range(count))
        for groups in (played.allies, played.enemies)
    )
    plan = Plan(kinds, allies, enemies, False, jitters, played.is_box, bool(played.portals), **options)
    return plan, _params(kinds, played, played.start(), hunt=float(played.hunt)), played.limit


def _drawn(env_id: str, race: str, n: int, m: int, options: Mapping[str, Any]) -> tuple[Plan, MicroParams, int]:
    if not 1 <= n <= m or n > MOST_ALLIES or m > MOST_ENEMIES:
        raise ValueError(
            f"{env_id}: teams must have 1 to {MOST_ALLIES} allies and no fewer enemies, at most {MOST_ENEMIES}; got "
            f"{n} against {m}"
        )
    kinds = RACES[race]
    plan = Plan(kinds, (0,) * n, (0,) * m, True, False, True, False, **options)
    field = Map((), (), DRAWN_LIMIT, goal=(SIZE / 2, SIZE / 2), spans=((0, SIZE - 1, 0, SIZE - 1),))
    return plan, _params(kinds, field, np.zeros((0, 2), np.float32), hunt=1.0), DRAWN_LIMIT


def _params(kinds: tuple[str, ...], played: Map, start: np.ndarray, hunt: float) -> MicroParams:
    """The numbers of a map as NumPy arrays, so that making an environment starts no device."""
    arrays: dict[str, Any] = {
        "start": start,
        "box": played.box,
        "rows": np.zeros(0, np.uint32) if played.is_box else played.rows,
        "portals": np.array(played.portals, np.float32).reshape(-1, 2),
    }
    scalars: dict[str, Any] = {
        field.name: np.float32(field.default)
        for field in dataclasses.fields(MicroParams)
        if field.default is not dataclasses.MISSING
    }
    scalars |= {"goal_x": np.float32(played.goal[0]), "goal_y": np.float32(played.goal[1]), "hunt": np.float32(hunt)}
    return MicroParams(table_of(kinds, is_enemy=False), table_of(kinds, is_enemy=True), **arrays, **scalars)


FAMILY = Family(
    name="micro",
    make=make,
    variants=(*MAPS, *_LISTED_DRAWN),
    summary="micromanagement of unit teams after SMAC and SMACv2, an engine of its own",
    pattern="RACE_N_vs_M (drawn teams of protoss, terran or zerg: N units against M)",
)
