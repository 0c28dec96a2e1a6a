"""jumanji's multi-agent environments by name and size."""

import functools
import re
from collections.abc import Callable
from typing import Any

from jaxmarl_envs.adapters._from_jumanji import from_jumanji
from jaxmarl_envs.adapters._packages import check_options, foreign, load
from jaxmarl_envs.core import Environment, Family, UnknownVariant
from jaxmarl_envs.jumanji import _readings

_ROUTING = "jumanji.environments.routing"
_WAREHOUSES = {"tiny": (1, 3), "small": (2, 3), "medium": (2, 5), "large": (3, 5)}  # shelf rows, shelf columns
_REQUESTS = {"easy": 2.0, "": 1.0, "hard": 0.5}  # requested shelves for each robot
_VARIANTS = (
    "rware-tiny-2ag",
    "rware-tiny-4ag",
    "rware-small-4ag",
    "lbf-8x8-2p-2f-coop",
    "lbf-10x10-3p-3f",
    "lbf-15x15-4p-5f",
    "connector-5x5-3ag",
    "connector-7x7-5ag",
    "connector-10x10-10ag",
    "cleaner-10x10-3ag",
)


def make(variant: str, /, **options: Any) -> Environment:
    """Jumanji's environment `variant`.

    - `rware-SIZE-Nag[-easy|-hard]`: RobotWarehouse. A collision terminates.
    - `lbf-SxS-Np-Mf[-coop]`: LevelBasedForaging, N players, M food items; `coop`: each item needs all players. There
    is one reward per agent. It terminates when everything is eaten.
    - `connector-SxS-Nag`: Connector. There is one reward per agent. It terminates when all agents are connected or
    blocked.
    - `cleaner-RxC-Nag`: Cleaner. It terminates when everything is clean, or when an agent takes an action that its
    mask forbids.

    Everything else is a truncation at the time limit, also where jumanji gives it a discount of zero (RobotWarehouse,
    Cleaner). Observations are flat; `jumanji/_readings.py` describes them, and the global state of the last two. The
    first two have no global state.

    Args:
      variant: as above.
      options: `time_limit`; RobotWarehouse also `sensor_range`, LevelBasedForaging `fov`, `max_agent_level`, `penalty`,
        `normalize_reward`, Cleaner `penalty_per_timestep`.

    Raises:
      ValueError: an unknown option, or an invalid value.
      UnknownVariant: any other variant.
    """
    env_id = f"jumanji/{variant}"
    for pattern, (build, options_of) in _BUILDERS.items():
        match = re.fullmatch(pattern, variant)
        if match:
            accepted = options_of(*match.groups())
            given = check_options(env_id, options, accepted)
            for name, value in given.items():
                if type(value) is int and value < 1:
                    raise ValueError(f"{env_id}: {name} must be at least 1, got {value}")
            return _make(build, env_id, match.groups(), tuple(sorted((accepted | given).items())))
    raise UnknownVariant


@functools.lru_cache  # equal options give one object of jumanji, and so equal environments and one program
def _make(build: Callable, env_id: str, sizes: tuple[str, ...], options: tuple[tuple[str, Any], ...]) -> Environment:
    with foreign():
        try:
            env, reading = build(env_id, sizes, dict(options))
        except AssertionError as error:
            raise ValueError(f"{env_id}: {error}") from None
    return from_jumanji(env, reading, id=env_id)


def _at_least(env_id: str, what: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{env_id}: needs {what} of at least {least}, got {value}")
    return value


def _rware(env_id: str, sizes: tuple[str, ...], chosen: dict[str, Any]) -> Any:
    rows, columns = _WAREHOUSES[sizes[0]]
    agents = _at_least(env_id, "a number of robots", int(sizes[1]), 1)
    module = load(f"{_ROUTING}.robot_warehouse", env_id)
    generator = load(f"{_ROUTING}.robot_warehouse.generator", env_id).RandomGenerator(
        shelf_rows=rows,
        shelf_columns=columns,
        column_height=8,
        num_agents=agents,
        sensor_range=chosen["sensor_range"],
        request_queue_size=max(1, int(agents * _REQUESTS[sizes[2] or ""])),
    )
    env = module.RobotWarehouse(generator, chosen["time_limit"])
    return env, _readings.rware(chosen["time_limit"])


def _lbf(env_id: str, sizes: tuple[str, ...], chosen: dict[str, Any]) -> Any:
    size, players, food = _at_least(env_id, "a size", int(sizes[0]), 1), int(sizes[2]), int(sizes[3])
    if sizes[0] != sizes[1]:
        raise ValueError(f"{env_id}: the grid has to be square")
    generator = load(f"{_ROUTING}.lbf.generator", env_id).RandomGenerator(
        grid_size=size,
        num_agents=players,
        num_food=food,
        fov=chosen.pop("fov"),
        max_agent_level=chosen.pop("max_agent_level"),
        force_coop=bool(sizes[4]),
    )
    env = load(f"{_ROUTING}.lbf", env_id).LevelBasedForaging(generator, **chosen)
    return env, _readings.lbf(chosen["time_limit"])


def _connector(env_id: str, sizes: tuple[str, ...], chosen: dict[str, Any]) -> Any:
    size, agents = int(sizes[0]), _at_least(env_id, "a number of agents", int(sizes[2]), 1)
    if sizes[0] != sizes[1]:
        raise ValueError(f"{env_id}: the grid has to be square")
    if 3 * agents > size * size:
        raise ValueError(f"{env_id}: {agents} agents do not fit into {size * size} cells")
    generator = load(f"{_ROUTING}.connector.generator", env_id).RandomWalkGenerator(size, agents)
    env = load(f"{_ROUTING}.connector", env_id).Connector(generator, time_limit=chosen["time_limit"])
    return env, _readings.connector(chosen["time_limit"])


def _cleaner(env_id: str, sizes: tuple[str, ...], chosen: dict[str, Any]) -> Any:
    rows, columns, agents = (_at_least(env_id, "sizes", int(size), 1) for size in sizes)
    generator = load(f"{_ROUTING}.cleaner.generator", env_id).RandomGenerator(rows, columns, agents)
    env = load(f"{_ROUTING}.cleaner", env_id).Cleaner(generator, **chosen)
    return env, _readings.cleaner(chosen["time_limit"])


def _lbf_options(size: str, *rest: str) -> dict[str, Any]:
    return {"time_limit": 100, "fov": int(size), "max_agent_level": 2, "penalty": 0.0, "normalize_reward": True}


# By the pattern of their variants: what makes them, and their options with defaults, both from the pattern's groups.
_BUILDERS: dict[str, tuple[Callable, Callable[..., dict[str, Any]]]] = {
    rf"rware-({'|'.join(_WAREHOUSES)})-(\d+)ag(?:-(easy|hard))?": (
        _rware,
        lambda *sizes: {"time_limit": 500, "sensor_range": 1},
    ),
    r"lbf-(\d+)x(\d+)-(\d+)p-(\d+)f(-coop)?": (_lbf, _lbf_options),
    r"connector-(\d+)x(\d+)-(\d+)ag": (_connector, lambda *sizes: {"time_limit": 50}),
    r"cleaner-(\d+)x(\d+)-(\d+)ag": (
        _cleaner,
        lambda rows, columns, agents: {"time_limit": int(rows) * int(columns), "penalty_per_timestep": 0.5},
    ),
}

FAMILY = Family(
    name="jumanji",
    make=make,
    variants=_VARIANTS,
    summary="warehouse, foraging, routing and cleaning, from jumanji",
    pattern="rware-SIZE-Nag[-easy|-hard], lbf-SxS-Np-Mf[-coop], connector-SxS-Nag, cleaner-RxC-Nag",
    package="jumanji",
)
