"""From a method's parts to a registered off-policy algorithm."""

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
    """The algorithm called `name`.

    Args:
      name: as it is registered.
      config: its config type.
      parts: `(config, env) -> (setup, method)`.
      summary: one line for the listing.
      for_teams: what to use for several agents, where the method takes one only.
      defaults: the config a run starts from; `config()` if None.
      actions: the kind that it is for.
    """

    def make(config: Any, env: Environment) -> tuple[Phase, ...]:
        if for_teams and env.spec.n_agents > 1:
            raise ValueError(
                f"{name} is for a single agent, but {env.spec.id!r} has {env.spec.n_agents}; use {for_teams}"
            )
        setup, method = parts(config, env)
        return make_off_policy(setup, env, method)

    return AlgorithmSpec(name, config, make, summary, actions=(actions,), defaults=defaults)
