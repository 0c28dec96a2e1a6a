"""SMAX, by the names of its scenarios."""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._from_jaxmarl import Reading, from_jaxmarl
from jaxmarl_envs.adapters._packages import check_options, foreign, load, scalar_options
from jaxmarl_envs.core import Environment, Family, UnknownVariant
from jaxmarl_envs.smax._viewer import draw

_VARIANTS = (
    "3m",
    "2s3z",
    "25m",
    "3s5z",
    "8m",
    "5m_vs_6m",
    "10m_vs_11m",
    "27m_vs_30m",
    "3s5z_vs_3s6z",
    "3s_vs_5z",
    "6h_vs_8z",
    "smacv2_5_units",
    "smacv2_10_units",
    "smacv2_20_units",
)
# Determined by the scenario.
_FIXED = ("num_allies", "num_enemies", "smacv2_position_generation", "smacv2_unit_type_generation")


def make(variant: str, /, **options: Any) -> Environment:
    """JaxMARL's scenario `variant`: the allies are the agents, the enemies follow JaxMARL's heuristic.

    - Observation, reward, rules: as in `HeuristicEnemySMAX`. Global state: its `world_state` in the units of the
      observations, about [0, 1]; see `_world_state`.
    - Action mask: `get_avail_actions`; a dead unit may only stop, and observes zeros.
    - Terminated: one side is dead. Truncated: neither is after `max_steps + 1` steps (JaxMARL compares before
    counting).
    - Metric `win`: 1 in the step in which the last enemy falls with an ally alive.

    Args:
      variant: one of `FAMILY.variants`, or the name of a scenario registered with JaxMARL.
      options: numbers, booleans and strings that the classes of JaxMARL take, e.g. `max_steps`, `see_enemy_actions`,
        `attack_mode`, `action_type` ("continuous": four numbers per agent, no masks); and `two_teams` (default False):
        enemies are agents too, after the allies. Each side then has its own rewards, and `win` is that of the allies.

    Raises:
      ValueError: an unknown option, an invalid value, or JaxMARL is not installed.
      UnknownVariant: a scenario that JaxMARL does not have.
    """
    loaded = sys.modules.get("jaxmarl.environments.smax.smax_env")
    if variant not in (_VARIANTS if loaded is None else loaded.MAP_NAME_TO_SCENARIO):
        raise UnknownVariant
    env_id = f"smax/{variant}"
    smax = load("jaxmarl.environments.smax", env_id)
    accepted = scalar_options(smax.SMAX, smax.HeuristicEnemySMAX, without=_FIXED) | {"two_teams": False}
    options = check_options(env_id, options, accepted)
    for name in ("max_steps", "world_steps_per_env_step"):
        if options.get(name, 1) < 1:
            raise ValueError(f"{env_id}: {name} must be at least 1, got {options[name]}")
    return _make(env_id, options.get("max_steps", accepted["max_steps"]), tuple(sorted(options.items())))


# Equal ids and options give the same JaxMARL object, so that environments are equal and share a program.
@functools.lru_cache
def _make(env_id: str, max_steps: int, options: tuple[tuple[str, Any], ...]) -> Environment:
    smax, chosen = load("jaxmarl.environments.smax", env_id), dict(options)
    variant = env_id.partition("/")[2]
    two_teams = chosen.pop("two_teams", False)
    with foreign():
        scenario = smax.map_name_to_scenario(variant)
        if two_teams:
            only_heuristic = sorted(set(scalar_options(smax.HeuristicEnemySMAX)) & set(chosen))
            if only_heuristic:
                raise ValueError(f"{env_id}: two_teams has no heuristic enemy, so no {only_heuristic[0]!r}")
        try:
            env = (smax.SMAX if two_teams else smax.HeuristicEnemySMAX)(scenario=scenario, **chosen)
        except ValueError as error:
            raise ValueError(f"{env_id}: {error}") from None
    reading = Reading(
        episode_limit=max_steps + 1,
        is_terminal=_is_terminal,
        global_state=_world_state,
        metrics=("win",),
        measure=_measure,
        draw=draw,
        reset_is_costly=True,
    )
    return from_jaxmarl(env, reading, id=env_id)


def _alive(env: Any, state: Any) -> tuple[jax.Array, jax.Array]:
    """[] bool each: whether any ally, and any enemy, is alive."""
    alive = getattr(state, "state", state).unit_alive  # a heuristic's state holds SMAX's
    return alive[: env.num_allies].any(), alive[env.num_allies :].any()


def _is_terminal(env: Any, state: Any) -> jax.Array:
    allies, enemies = _alive(env, state)
    return ~(allies & enemies)


def _world_state(env: Any, obs: Any, state: Any) -> jax.Array:
    """[12 U], ally units first: health, position, cooldown and 6 type bits of each unit; then teams; then types.

    JaxMARL does not scale positions (up to 32) and cooldowns (down to minus the time that a weapon has been ready).
    Here they are in the units of its observations: positions in sizes of the map, cooldowns in those of the unit's type
    and never below 0; types are divided by the largest one.
    """
    smax = getattr(state, "state", state)  # a heuristic's state holds SMAX's
    count = smax.unit_types.shape[0]
    world = obs["world_state"]
    units, teams, types = world[: -2 * count].reshape(count, -1), world[-2 * count : -count], world[-count:]
    position = units[:, 1:3] / jnp.array([env.map_width, env.map_height], jnp.float32)
    cooldown = jnp.clip(units[:, 3] / env.unit_type_weapon_cooldowns[smax.unit_types], 0.0, 1.0)
    units = units.at[:, 1:3].set(position).at[:, 3].set(cooldown)
    return jnp.concatenate([units.reshape(-1), teams, types / max(env.unit_type_bits - 1, 1)])


def _measure(env: Any, state: Any, rewards: Any, dones: Any, infos: Any) -> dict[str, jax.Array]:
    allies, enemies = _alive(env, state)
    return {"win": (allies & ~enemies).astype(jnp.float32)}


FAMILY = Family(
    name="smax",
    make=make,
    variants=_VARIANTS,
    summary="micromanagement of unit teams against a heuristic, from JaxMARL",
    pattern="the name of any scenario that is registered with JaxMARL",
    package="jaxmarl",
)
