"""Adapters from and to the environments of other projects, each of which is imported on first use.

The other direction of `jaxmarl_envs.make("smax/3m")`: `to_jaxmarl(jaxmarl_envs.make("hallway/4-4"))`.
"""

from typing import Any

from jaxmarl_envs.adapters._from_gymnax import FromGymnax, from_gymnax
from jaxmarl_envs.adapters._from_jaxmarl import FromJaxMARL, Reading, from_jaxmarl
from jaxmarl_envs.adapters._from_jumanji import FromJumanji, JumanjiReading, from_jumanji
from jaxmarl_envs.adapters._packages import check_parts, installation, is_installed, load
from jaxmarl_envs.core import Environment

__all__ = [
    "FromGymnax",
    "FromJaxMARL",
    "FromJumanji",
    "JumanjiReading",
    "Reading",
    "from_gymnax",
    "from_jaxmarl",
    "from_jumanji",
    "installation",
    "is_installed",
    "to_jaxmarl",
    "to_jumanji",
    "to_pettingzoo",
]


_OURS = "an environment of this package"
_PARTS = ("spec", "default_params", "reset", "step")


def to_jaxmarl(env: Environment, params: Any = None, *, final_obs: bool = False) -> Any:
    """`env` as a `jaxmarl.environments.MultiAgentEnv`; `_to_jaxmarl.ToJaxMARL` documents the mapping.

    Args:
      env: one instance, not batched.
      params: traced parameters, fixed; `env.default_params` if None.
      final_obs: whether infos contain the last observation and state, which JaxMARL's restart would replace.

    Raises:
      ValueError: JaxMARL is not installed, or `env` is not an environment of this package.
    """
    load("jaxmarl", "to_jaxmarl")
    check_parts("to_jaxmarl", _OURS, env, _PARTS)
    from jaxmarl_envs.adapters._to_jaxmarl import ToJaxMARL

    return ToJaxMARL(env, params, final_obs=final_obs)


def to_jumanji(env: Environment, params: Any = None) -> Any:
    """`env` as a `jumanji.env.Environment`; `_to_jumanji.ToJumanji` documents the mapping.

    Args:
      env: one instance, not batched.
      params: traced parameters, fixed; `env.default_params` if None.

    Raises:
      ValueError: jumanji is not installed, or `env` is not an environment of this package.
    """
    load("jumanji", "to_jumanji")
    check_parts("to_jumanji", _OURS, env, _PARTS)
    from jaxmarl_envs.adapters._to_jumanji import ToJumanji

    return ToJumanji(env, params)


def to_pettingzoo(env: Environment, params: Any = None, *, masks: bool = False, seed: int = 0) -> Any:
    """`env` as a `pettingzoo.ParallelEnv`; `_to_pettingzoo.ToPettingZoo` documents the mapping.

    Args:
      env: one instance, not batched.
      params: traced parameters; `env.default_params` if None.
      masks: whether observations are dicts with `action_mask`.
      seed: seed of the first `reset`, and of all later ones without a seed.

    Raises:
      ValueError: PettingZoo is not installed, `env` is not an environment of this package, or masks of continuous
        actions are requested.
    """
    load("pettingzoo", "to_pettingzoo")
    check_parts("to_pettingzoo", _OURS, env, _PARTS)
    from jaxmarl_envs.adapters._to_pettingzoo import ToPettingZoo

    return ToPettingZoo(env, params, masks=masks, seed=seed)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
