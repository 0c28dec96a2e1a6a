"""JaxMARL's Overcooked by the names of its layouts."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.adapters._from_jaxmarl import Reading, from_jaxmarl
from jaxmarl_envs.adapters._packages import check_options, foreign, load, scalar_options
from jaxmarl_envs.core import Environment, EpisodeMetrics, Family, UnknownVariant
from jaxmarl_envs.overcooked._viewer import draw

_COUNTS = {16: 3, 17: 3, 18: 3, 19: 3, 20: 20}
"""Layers of an observation that are not binary, by their largest value: ingredients in a pot and in a soup, steps until
it is done."""
_LARGEST = np.array([_COUNTS.get(layer, 1) for layer in range(26)], np.float32)
_VARIANTS = ("cramped_room", "asymm_advantages", "coord_ring", "forced_coord", "counter_circuit")


def make(variant: str, /, **options: Any) -> Environment:
    """JaxMARL's first Overcooked with the layout `variant`: two cooks, who both observe the whole kitchen.

    Observations are JaxMARL's [width, height, 26], as float32 in [0, 1]: counts of onions are divided by 3, the time
    that a pot still cooks by 20. The reward is the team's; the shaped rewards that JaxMARL also reports are the metric
    `shaped_reward` (their mean over both cooks, summed over the episode). Every episode is truncated, after
    `max_steps`; nothing terminates. There are no masks, and no global state in addition to the observations.

    Args:
      variant: one of `FAMILY.variants`.
      options: `max_steps`, `random_reset`; and `shaped` (default 0.0): the factor with which each cook's shaped reward
        is added to its reward.

    Raises:
      ValueError: an unknown option, an invalid value, or JaxMARL is not installed.
      UnknownVariant: any other variant.
    """
    if variant not in _VARIANTS:
        raise UnknownVariant
    env_id = f"overcooked/{variant}"
    overcooked = load("jaxmarl.environments.overcooked", env_id)
    accepted = scalar_options(overcooked.Overcooked) | {"shaped": 0.0}
    chosen = accepted | check_options(env_id, options, accepted)
    if chosen["max_steps"] < 1:
        raise ValueError(f"{env_id}: max_steps must be at least 1, got {chosen['max_steps']}")
    return _make(env_id, chosen.pop("shaped"), tuple(sorted(chosen.items())))


@functools.lru_cache  # equal options give one object of JaxMARL, and so equal environments and one program
def _make(env_id: str, shaped: float, options: tuple[tuple[str, Any], ...]) -> Environment:
    chosen, overcooked = dict(options), load("jaxmarl.environments.overcooked", env_id)
    layout = overcooked.overcooked_layouts[env_id.partition("/")[2]]
    with foreign(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it recommends its second version
        env = overcooked.Overcooked(layout=layout, **chosen)
    reading = Reading(
        episode_limit=chosen["max_steps"],
        is_terminal=_never,
        observe=_observe,
        obs_bounds=(0.0, 1.0),
        metrics=("shaped_reward",),
        measure=_measure,
        bonus=_shaped if shaped else None,
        bonus_scale=shaped,
        draw=draw,
        reset_is_costly=True,
    )
    return EpisodeMetrics(from_jaxmarl(env, reading, id=env_id), sums=("shaped_reward",))


def _observe(env: Any, obs: jax.Array) -> jax.Array:
    return obs / jnp.broadcast_to(_LARGEST, obs.shape)


def _never(env: Any, state: Any) -> jax.Array:
    return jnp.zeros((), bool)


def _shaped(infos: Any) -> dict[str, jax.Array]:
    return infos["shaped_reward"]


def _measure(env: Any, state: Any, rewards: Any, dones: Any, infos: Any) -> dict[str, jax.Array]:
    shaped = infos["shaped_reward"]
    return {"shaped_reward": jnp.mean(jnp.stack([jnp.asarray(shaped[agent], jnp.float32) for agent in env.agents]))}


FAMILY = Family(
    name="overcooked",
    make=make,
    variants=_VARIANTS,
    summary="two cooks in a small kitchen, from JaxMARL",
    package="jaxmarl",
)
