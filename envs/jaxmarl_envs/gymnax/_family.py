"""gymnax's MinAtar games, and small tasks of bsuite and Gym, by name."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxmarl_envs.adapters._from_gymnax import FromGymnax, quiet, traced, with_time_limit
from jaxmarl_envs.adapters._packages import check_options, load, scalar_options
from jaxmarl_envs.core import Environment, Family, UnknownVariant
from jaxmarl_envs.gymnax._viewer import GridGame

Array = jax.Array
Options = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Game:
    """Where a variant is found, and its known properties."""

    module: str
    """Module within `gymnax.environments`."""
    name: str
    """Name of the class."""
    channels: tuple[str, ...] = ()
    """Meaning of the last axis of the observation, or of the whole grid; () if it is not a grid."""
    obs_bounds: tuple[float, float] = (0.0, 1.0)
    ignored: tuple[str, ...] = ()
    """Parameters that gymnax declares but does not use, or that depend on others."""
    extra: Options = dataclasses.field(default_factory=dict)
    """Options of this family with their defaults."""
    least: Options = dataclasses.field(default_factory=dict)
    """Smallest values, if not 1."""
    positive: tuple[str, ...] = ()
    """Numbers that must be positive."""
    check: Callable[[Options], str] | None = None
    """The problem with a combination of options; empty if there is none."""
    derived: Callable[[Options], Options] | None = None
    """Parameters that depend on options."""
    optimum: Callable[[Options], float | None] | None = None


def _asterix_stops(options: Options) -> str:
    """Gymnax's speed-up reduces the move interval in every second step, down to 0, where nothing moves any more."""
    spawn, move = options["init_spawn_speed"], options["init_move_interval"]
    if not options["ramping"] or (spawn - 1) // 2 <= move - 1:
        return ""
    return (
        f"with ramping, init_move_interval must be at least {(spawn - 1) // 2 + 1} where init_spawn_speed is {spawn} (after "
        f"the speed-ups nothing would move any more), got {move}"
    )


def _deep_sea_maps(options: Options) -> str:
    if options["sample_action_map"] and options["deterministic"]:
        return "sample_action_map=True needs deterministic=False: gymnax does not read it otherwise"
    if options["sample_action_map"] and options["randomize_actions"]:
        return "one of sample_action_map (drawn for each episode) and randomize_actions (fixed) must be False"
    if options["seed"] and not options["randomize_actions"]:
        return "seed is that of randomize_actions=True, which is off"
    return ""


def _deep_sea_optimum(options: Options) -> float | None:
    if options["time_limit"] < options["size"]:
        return None
    return max(0.0, 1.0 - options["unscaled_move_cost"]) if options["deterministic"] else None


def _catch_optimum(options: Options) -> float | None:
    is_in_reach = options["columns"] // 2 < options["rows"] <= options["time_limit"] + 1
    return 1.0 if is_in_reach else None


def _masses(options: Options) -> Options:
    return {
        "total_mass": options["masscart"] + options["masspole"],
        "polemass_length": options["masspole"] * options["length"],
    }


_GAMES: Mapping[str, _Game] = {
    "asterix": _Game(
        "minatar.asterix",
        "MinAsterix",
        ("player", "enemy", "trail", "gold"),
        ignored=("shot_cool_down",),
        check=_asterix_stops,
    ),
    "breakout": _Game("minatar.breakout", "MinBreakout", ("paddle", "ball", "trail", "brick")),
    "freeway": _Game(
        "minatar.freeway", "MinFreeway", ("chicken", "car", "speed 1", "speed 2", "speed 3", "speed 4", "speed 5")
    ),
    "space-invaders": _Game(
        "minatar.space_invaders",
        "MinSpaceInvaders",
        ("cannon", "alien", "alien left", "alien right", "own bullet", "enemy bullet"),
    ),
    "catch": _Game("bsuite.catch", "Catch", ("ball, paddle",), least={"rows": 2}, optimum=_catch_optimum),
    "deep-sea": _Game(
        "bsuite.deep_sea",
        "DeepSea",
        ("diver",),
        extra={"randomize_actions": False, "seed": 0},
        least={"size": 2, "seed": 0},
        check=_deep_sea_maps,
        optimum=_deep_sea_optimum,
    ),
    "cartpole": _Game(
        "classic_control.cartpole",
        "CartPole",
        obs_bounds=(-float("inf"), float("inf")),
        ignored=("total_mass", "polemass_length"),
        positive=("masscart", "masspole", "length", "tau", "theta_threshold_radians", "x_threshold"),
        derived=_masses,
        optimum=lambda options: float(options["time_limit"]) if options["is_standard"] else None,
    ),
}


def make(variant: str, /, **options: Any) -> Environment:
    """Gymnax's environment `variant`, for one agent.

    - `asterix`, `breakout`, `freeway`, `space-invaders`: the games of MinAtar (Young and Tian 2019), observations
      (10, 10, C) of 0 and 1. MinAtar's sticky actions and its end of Freeway are not there; see below.
    - `catch`, `deep-sea`: of bsuite (Osband et al. 2020), observations (rows, columns) and (size, size) of 0 and 1.
    - `cartpole`: Gym's CartPole-v1, observation (4,).

    The rules are gymnax's, including its deviations from the originals. Time limits are truncations, also in Freeway,
    which has no other end. Fixes:

    - deep-sea: gymnax declares `randomize_actions` but does not use it. Here it draws from `seed`, for every cell,
    which
      action moves right; without it 1 always does.
    - cartpole: the total mass and the product of mass and length are computed from the other numbers.
    - asterix: settings with which gymnax's speed-ups end in a standstill are rejected.

    Args:
      variant: as above.
      options: `time_limit` (default: gymnax's), and the numbers that gymnax's constructors and parameters have:
        MinAtar `use_minimal_action_set`; asterix `ramping`, `ramp_interval`, `init_spawn_speed`, `init_move_interval`;
        freeway `player_speed`; space-invaders `shot_cool_down`, `enemy_move_interval`, `enemy_shot_interval`; catch
        `rows`, `columns`; deep-sea `size`, `deterministic`, `sample_action_map`, `unscaled_move_cost`,
        `randomize_actions`, `seed`; cartpole `gravity`, `masscart`, `masspole`, `length`, `force_mag`, `tau`,
        `theta_threshold_radians`, `x_threshold`.

    Raises:
      ValueError: for an option that does not exist or does not fit, and where gymnax is not installed.
      UnknownVariant: for anything else.
    """
    if variant == "seaquest":
        raise UnknownVariant("gymnax does not support Seaquest")
    if variant not in _GAMES:
        raise UnknownVariant(f"the games are {', '.join(_GAMES)}")
    game, env_id = _GAMES[variant], f"gymnax/{variant}"
    module = load(f"gymnax.environments.{game.module}", env_id)
    static = scalar_options(getattr(module, game.name))
    dynamic = scalar_options(module.EnvParams)
    dynamic = {name: value for name, value in dynamic.items() if name not in (*game.ignored, *game.extra)}
    time_limit = dynamic.pop("max_steps_in_episode")
    accepted = {"time_limit": time_limit, **static, **dynamic, **game.extra}
    given = check_options(env_id, options, accepted)
    _check_numbers(env_id, game, given)
    chosen = accepted | given
    problem = game.check(chosen) if game.check else ""
    if problem:
        raise ValueError(f"{env_id}: {problem}")
    sizes = {name: chosen[name] for name in static}
    seed = chosen["seed"] if chosen.get("randomize_actions") else None
    env = _simulation(variant, tuple(sorted(sizes.items())), seed)
    values = {name: chosen[name] for name in dynamic} | {"max_steps_in_episode": chosen["time_limit"]}
    values |= game.derived(chosen) if game.derived else {}
    is_standard = all(chosen[name] == value for name, value in dynamic.items())
    optimum = game.optimum(chosen | {"is_standard": is_standard}) if game.optimum else None
    params = traced(module.EnvParams(**values))
    if game.channels:
        return with_time_limit(GridGame(env, env_id, game.obs_bounds, optimum, params, game.channels))
    return with_time_limit(FromGymnax(env, env_id, game.obs_bounds, optimum, params))


def _check_numbers(env_id: str, game: _Game, given: Options) -> None:
    for name, value in given.items():
        least = game.least.get(name, 1)
        if type(value) is int and value < least:
            raise ValueError(f"{env_id}: {name} must be at least {least}, got {value}")
        if type(value) is float and not math.isfinite(value):
            raise ValueError(f"{env_id}: {name} must be finite, got {value}")
        if name in game.positive and not value > 0:
            raise ValueError(f"{env_id}: {name} must be above 0, got {value}")


@functools.lru_cache  # equal options give one object of gymnax, and so equal environments and one program
def _simulation(variant: str, sizes: tuple[tuple[str, Any], ...], seed: int | None) -> Any:
    game = _GAMES[variant]
    module = load(f"gymnax.environments.{game.module}", f"gymnax/{variant}")
    with quiet():
        env = getattr(module, game.name)(**dict(sizes))
    return env if seed is None else _Remapped(env, seed)


class _Remapped:
    """A DeepSea in which every cell has its own action that moves right, drawn once."""

    def __init__(self, env: Any, seed: int) -> None:
        self.env = env
        self.mapping = np.random.default_rng(seed).integers(2, size=(env.size, env.size)).astype(np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        obs, state = self.env.reset_env(key, params)
        return obs, state.replace(action_mapping=self.mapping)


FAMILY = Family(
    name="gymnax",
    make=make,
    variants=tuple(_GAMES),
    summary="single-agent games of MinAtar, bsuite's catch and deep sea, cart-pole, from gymnax",
    package="gymnax",
)
