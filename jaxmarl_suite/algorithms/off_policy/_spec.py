"""Registers a method, given its parts, as an off-policy algorithm; its replay as a dataset."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.off_policy._config import OffPolicyConfig
from jaxmarl_suite.algorithms.off_policy._core import OffPolicy, OffPolicyState, make_off_policy
from jaxmarl_suite.algorithms.off_policy._parts import Method, Setup
from jaxmarl_suite.replay import NO_ACTION, REWARD, Recorded, join_streams, read_transitions, slots_in_time

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

    record = partial(to_recorded, parts)
    return AlgorithmSpec(name, config, make, summary, actions=(actions,), defaults=defaults, record=record)


def to_recorded(parts: Parts, config: OffPolicyConfig, env: Environment, state: OffPolicyState) -> Recorded:
    """Converts a learner's replay to a dataset, oldest steps first. Every agent gets the team's reward.

    Raises:
      ValueError: rewards were stored multiplied by 0, or nothing is stored yet.
    """
    if not config.reward_scale:
        raise ValueError("a replay with reward_scale 0 has lost its rewards")
    learner = OffPolicy(*parts(config, env))
    spec, layout, store = env.spec, learner.layout(env), jax.tree.map(jnp.asarray, state.replay)
    count = int(store.head.num_stored)
    slot = slots_in_time(layout, store.head, jnp.arange(count, dtype=jnp.int32))
    envs, slot = jnp.meshgrid(jnp.arange(layout.num_envs, dtype=jnp.int32), slot, indexing="ij")
    found = read_transitions(layout, store.head, store.contents, envs, slot)
    streams = {name: getattr(found.observed, name) for name in ("obs", "state", "mask")}
    streams |= {f"next_{name}": getattr(found.next_observed, name) for name in ("obs", "state", "mask")}
    streams["action"] = learner.setup.actions.to_env(found.steps.action)
    reward = found.steps.reward / config.reward_scale
    streams[REWARD] = jnp.broadcast_to(reward[..., None], (*reward.shape, spec.n_agents))
    streams |= {"terminated": found.terminated, "truncated": found.truncated}
    if spec.is_discrete:
        ended = (found.terminated | found.truncated)[:, :-1, None]
        before = jnp.where(ended, NO_ACTION, found.steps.action[:, :-1])
        streams["last_action"] = jnp.concatenate([jnp.full_like(before[:, :1], NO_ACTION), before], axis=1)
    # A full ring may have come round: it then begins anywhere in an episode.
    begins = np.full(layout.num_envs, count < layout.capacity)
    return join_streams(jax.tree.map(np.asarray, streams), begins=begins, counts=np.asarray(found.is_known))
