"""Registers a method, given its parts, as an off-policy algorithm."""

from collections.abc import Callable
from typing import Any, Literal

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.off_policy._core import make_off_policy
from jaxmarl_suite.algorithms.off_policy._parts import Method, Setup

Parts = Callable[[Any, Environment], tuple[Setup, Method]]


def off_policy_spec(
    name: str,
    config: type,
    parts: Parts,
    summary: str,
    *,
    for_teams: str = "",
    defaults: Any = None,
    actions: Literal["continuous", "discrete"] = "continuous",
) -> AlgorithmSpec:
    """The spec of the algorithm called `name`.

    Args:
      name: its registered name.
      config: its config type.
      parts: `(config, env) -> (setup, method)`.
      summary: one line for the listing.
      for_teams: what to use for several agents, if the method is for a single agent.
      defaults: the config a run starts from; `config()` if None.
      actions: the supported kinds of actions.
    """

    def make(config: Any, env: Environment) -> tuple[Phase, ...]:
        if for_teams and env.spec.n_agents > 1:
            raise ValueError(
                f"{name} is for a single agent, but {env.spec.id!r} has {env.spec.n_agents}; use {for_teams}"
            )
        setup, method = parts(config, env)
        return make_off_policy(setup, env, method)

    return AlgorithmSpec(name, config, make, summary, actions=(actions,), defaults=defaults)
