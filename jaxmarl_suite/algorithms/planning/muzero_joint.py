"""Gumbel MuZero (Danihelka et al. 2022) over all joint actions: the flat baseline of MAZero, for small games.

The team is one agent that sees all observations and chooses among A**N joint actions, in a model without communication; the
search is mctx's own. The policy learns the improved policy of the search by cross-entropy. Replay, targets, unrolled losses
and everything else are MAZero's.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, EnvSpec

from jaxmarl_suite.algorithms.core._types import ActContext, AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.planning._config import JointConfig
from jaxmarl_suite.algorithms.planning._core import make_planning
from jaxmarl_suite.algorithms.planning._parts import Method, team_as_one, warn_of_bins
from jaxmarl_suite.networks import make_team_model
from jaxmarl_suite.search import Model, Search, SearchResult, best_action, gumbel_search


def joint_weights(result: SearchResult, is_seen: jax.Array, ctx: ActContext) -> jax.Array:
    """[*, K] the improved policy over joint actions; 0 where nothing was seen [*]."""
    return jnp.where(is_seen[..., None], result.weights, 0.0)


def joint_method(config: JointConfig, spec: EnvSpec) -> Method:
    """Networks of the team as one agent, Gumbel MuZero's search, cross-entropy with its improved policy.

    Raises:
      ValueError: for more joint actions than are enumerated.
    """
    view = team_as_one("muzero-joint", spec)
    networks = make_team_model(
        view.obs_size,
        view.n_agents,
        view.num_actions,
        width=config.width,
        hidden=config.hidden,
        head_hidden=config.head_hidden,
        predictor_hidden=config.predictor_hidden,
        num_bins=config.num_bins,
        num_layers=0,
    )

    def search(model: Model, ctx: ActContext, explore: bool) -> Search:
        return gumbel_search(
            model,
            num_simulations=config.num_simulations,
            max_considered=min(config.max_considered, view.num_actions),
            gumbel_scale=ctx.hp.gumbel_scale if explore else 0.0,
        )

    return Method(view, networks, search, lambda key, result, ctx: best_action(result), joint_weights)


def make(config: Any, env: Environment) -> tuple[Phase, ...]:
    """The phases of Gumbel MuZero over joint actions for `env`."""
    warn_of_bins(config, env.spec)
    return make_planning(config, env, joint_method(config, env.spec), name="plan")


SPEC = AlgorithmSpec("muzero-joint", JointConfig, make, "Gumbel MuZero over all joint actions of a small game")
