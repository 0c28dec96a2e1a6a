"""What the planning methods are made of: a team as its model sees it, what is stored, what is learned from.

Axes: E environments, B stretches of experience, U unrolled steps, W stored steps of a stretch, K joint actions of a
search, N agents, A actions per agent, D entries of an agent's input. Where the whole team is one agent of the model, N is
1 and A counts joint actions.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, pytree_dataclass

from jaxmarl_suite.algorithms.core._types import ActContext
from jaxmarl_suite.algorithms.core._views import local_view
from jaxmarl_suite.algorithms.planning._config import PlanningConfig
from jaxmarl_suite.networks import TeamModel
from jaxmarl_suite.search import ENUMERATION_LIMIT, Model, Search, SearchResult, enumerate_joint_actions


@pytree_dataclass
class Shown:
    """What is stored of what a step shows before it."""

    obs: jax.Array  # [..., agents, *obs_shape]
    mask: jax.Array  # [..., agents, actions] bool


@pytree_dataclass
class Done:
    """What is stored of the step itself."""

    action: jax.Array  # [..., N] int32, the model's
    reward: jax.Array  # [...] float32, the team's


@pytree_dataclass
class Batch:
    """B stretches with their targets."""

    obs: jax.Array  # [B, U + 1, N, D] float32
    action: jax.Array  # [B, U, N] int32
    reward: jax.Array  # [B, U] float32, 0 past the end of the episode
    value: jax.Array  # [B, U + 1] float32, 0 past the end of the episode
    joint: jax.Array  # [B, U + 1, K, N] int32, joint actions of the searches
    joint_weight: jax.Array  # [B, U + 1, K] float32, of their log-probabilities; 0 where there is nothing to learn
    counts: jax.Array  # [B, U + 1] float32, 0 behind the newest stored step
    is_seen: jax.Array  # [B, U + 1] bool, `obs` is of the episode in which the stretch began
    importance: jax.Array  # [B] float32, what their losses are multiplied by
    root_value: jax.Array  # [B] float32, what the first search expects: for the logs only


class TeamView(NamedTuple):
    """A team as its model sees it."""

    n_agents: int
    num_actions: int
    obs_size: int
    encode: Callable[[jax.Array], jax.Array]
    """`obs [*, agents, *obs_shape] -> [*, N, D]`."""
    legal: Callable[[jax.Array], jax.Array]
    """`action_mask [*, agents, actions] -> [*, N, A]` bool."""
    to_env: Callable[[jax.Array], jax.Array]
    """`action [*, N] -> [*, agents]`."""


class Method(NamedTuple):
    """What sets one method apart."""

    view: TeamView
    networks: TeamModel
    search: Callable[[Model, ActContext, bool], Search]
    """`(model, ctx, explore) -> search`: with noise where it explores, without for evaluations."""
    choose: Callable[[jax.Array, SearchResult, ActContext], jax.Array]
    """`(key, result, ctx) -> action [B, N]` of play. Consumes the key."""
    joint_weight: Callable[[SearchResult, jax.Array, ActContext], jax.Array]
    """`(result [M], is_seen [M], ctx) -> [M, K]`: what the policies learn of searched joint actions; 0 for nothing."""


def agents_apart(spec: EnvSpec, *, agent_id: bool) -> TeamView:
    """Each agent of the environment is one of the model's."""
    view = local_view(spec, agent_id=agent_id and spec.n_agents > 1)
    nothing = jnp.zeros(0, jnp.float32)
    return TeamView(
        n_agents=spec.n_agents,
        num_actions=spec.num_actions,
        obs_size=view.size,
        encode=lambda obs: view.encode(obs, nothing, nothing)[0],
        legal=lambda mask: mask,
        to_env=lambda action: action,
    )


def team_as_one(name: str, spec: EnvSpec) -> TeamView:
    """The team is a single agent that sees all observations and chooses among all joint actions.

    Args:
      name: of the method, for its refusal.
      spec: of the environment.

    Raises:
      ValueError: for more joint actions than are enumerated.
    """
    check_enumerable(name, spec, "mazero samples them")
    n, count = spec.n_agents, spec.num_actions**spec.n_agents
    joint = enumerate_joint_actions(_sizes_only(spec))
    size = n * math.prod(spec.obs_shape)

    def legal(mask: jax.Array) -> jax.Array:
        found = jnp.ones((*mask.shape[:-2], count), bool)
        for agent in range(n):
            found = found & mask[..., agent, joint[:, agent]]
        return found[..., None, :]

    return TeamView(
        n_agents=1,
        num_actions=count,
        obs_size=size,
        encode=lambda obs: obs.reshape(*obs.shape[: obs.ndim - 1 - len(spec.obs_shape)], 1, size),
        legal=legal,
        to_env=lambda action: jnp.asarray(joint)[action[..., 0]],
    )


def check_enumerable(name: str, spec: EnvSpec, instead: str) -> None:
    """Refuses an environment with more joint actions than are enumerated.

    Args:
      name: of the method.
      spec: of the environment.
      instead: what takes more.

    Raises:
      ValueError: naming method, environment and limit.
    """
    count = spec.num_actions**spec.n_agents
    if count > ENUMERATION_LIMIT:
        raise ValueError(
            f"{name} enumerates joint actions, at most {ENUMERATION_LIMIT:,}, but {spec.id!r} has {count:,} "
            f"({spec.num_actions} actions of {spec.n_agents} agents); {instead}"
        )


def _sizes_only(spec: EnvSpec) -> Model:
    """A model that says how many agents and actions there are, and nothing else."""

    def nothing(*_: Any) -> Any:
        raise NotImplementedError("a model of sizes only")

    return Model(spec.n_agents, spec.num_actions, nothing, nothing)


def needed_bins(config: PlanningConfig, low: float, high: float) -> str | None:
    """What is wrong with bins that cannot hold returns from `low` to `high`; None for nothing."""
    bins = config.bins
    least, most = bins.bounds
    if least <= low and high <= most:
        return None
    return (
        f"returns from {low:g} to {high:g} do not fit into bins that hold {least:.4g} to {most:.4g} (bin_low {bins.low:g}, "
        f"bin_high {bins.high:g}); bins {bins.width:g} apart need num_bins of {bins.num_for(low, high)}"
    )


def warn_of_bins(config: PlanningConfig, spec: EnvSpec) -> None:
    """Warns where the bins cannot hold the optimal return that the environment states."""
    if spec.optimum is None:
        return
    problem = needed_bins(config, min(0.0, spec.optimum), max(0.0, spec.optimum))
    if problem:
        warnings.warn(f"{spec.id}: {problem}", stacklevel=2)
