"""The cooperative particle environments of JaxMARL."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.adapters._from_jaxmarl import Reading, from_jaxmarl
from jaxmarl_envs.adapters._packages import check_options, foreign, load, scalar_options
from jaxmarl_envs.core import Environment, Family, UnknownVariant
from jaxmarl_envs.mpe._viewer import draw

_CLASSES = {
    "simple-spread": "SimpleSpreadMPE",
    "simple-reference": "SimpleReferenceMPE",
    "simple-speaker-listener": "SimpleSpeakerListenerMPE",
}
_FIXED = ("action_type", "dim_c", "dim_p")


def make(variant: str, /, **options: Any) -> Environment:
    """JaxMARL's particle environment `variant`.

    Every episode is truncated, after `max_steps + 1` steps (JaxMARL compares before counting); nothing terminates.
    There are no masks and no global state. There is one reward per agent, as in JaxMARL. Speaker and listener have
    observations and actions of different sizes and are padded. JaxMARL's competitive environments are not listed, but
    `adapters.from_jaxmarl` accepts them.

    Args:
      variant: one of `FAMILY.variants`.
      options: numbers that JaxMARL's class takes, e.g. `max_steps`, `num_agents`, `local_ratio`; and `continuous`
        (default False): forces in [0, 1] instead of five directions.

    Raises:
      ValueError: an unknown option, an invalid value, or JaxMARL is not installed.
      UnknownVariant: any other variant.
    """
    if variant not in _CLASSES:
        raise UnknownVariant
    env_id = f"mpe/{variant}"
    mpe = load("jaxmarl.environments.mpe", env_id)
    accepted = scalar_options(mpe.SimpleMPE, getattr(mpe, _CLASSES[variant]), without=_FIXED) | {"continuous": False}
    options = check_options(env_id, options, accepted)
    if options.get("max_steps", 1) < 1:
        raise ValueError(f"{env_id}: max_steps must be at least 1, got {options['max_steps']}")
    return _make(env_id, options.get("max_steps", accepted["max_steps"]), tuple(sorted(options.items())))


@functools.lru_cache  # equal options give one object of JaxMARL, and so equal environments and one program
def _make(env_id: str, max_steps: int, options: tuple[tuple[str, Any], ...]) -> Environment:
    mpe, chosen = load("jaxmarl.environments.mpe", env_id), dict(options)
    if chosen.pop("continuous", False):
        chosen["action_type"] = "Continuous"
    with foreign():
        try:
            env = getattr(mpe, _CLASSES[env_id.partition("/")[2]])(**chosen)
        except AssertionError as error:
            raise ValueError(f"{env_id}: {error}") from None
    reading = Reading(episode_limit=max_steps + 1, is_terminal=_never, draw=draw, reset_is_costly=True)
    return from_jaxmarl(env, reading, id=env_id)


def _never(env: Any, state: Any) -> jax.Array:
    return jnp.zeros((), bool)


FAMILY = Family(
    name="mpe",
    make=make,
    variants=tuple(_CLASSES),
    summary="cooperative particle environments, from JaxMARL",
    package="jaxmarl",
)
