"""A learned `TeamModel` as a model for search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks import TeamModel
from jaxmarl_suite.ops import ScalarBins
from jaxmarl_suite.search._checks import check_number
from jaxmarl_suite.search._model import Model, Prediction, Root


@documented
class Observed(NamedTuple):
    """Inputs of a `learned_model`: the observations of B teams, as in a `TimeStep`."""

    obs: jax.Array
    """[B, N, O] float32."""
    action_mask: jax.Array
    """[B, N, A] bool."""


def learned_model(
    networks: TeamModel, n_agents: int, num_actions: int, bins: ScalarBins, discount: jax.Array | float
) -> Model:
    """Networks as a model: `params` are those of the networks, `inputs` an `Observed`.

    Legal actions are known only at the root. Ends of episodes are not predicted: the model should learn zeros for what
    follows them.

    Args:
      networks: networks from `make_team_model`.
      n_agents: N.
      num_actions: A.
      bins: bins for reward and value.
      discount: γ of one step. May be traced.

    Raises:
      ValueError: a discount outside [0, 1].
    """
    check_number("discount", discount, "lie between 0 and 1", lambda x: 0 <= x <= 1)

    def root(params: Any, key: jax.Array, inputs: Observed) -> Root:
        state = networks.represent(params, inputs.obs)
        logits, value = networks.assess(params, state)
        return Root(logits, bins.decode(value), state, inputs.action_mask)

    def recurrent(
        params: Any, key: jax.Array, actions: jax.Array, embedding: jax.Array
    ) -> tuple[Prediction, jax.Array]:
        state, reward = networks.advance(params, embedding, actions)
        logits, value = networks.assess(params, state)
        found = bins.decode(value)
        return Prediction(bins.decode(reward), jnp.full_like(found, discount), logits, found), state

    return Model(n_agents, num_actions, root, recurrent)
