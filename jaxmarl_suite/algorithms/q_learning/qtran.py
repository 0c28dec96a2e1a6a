"""QTRAN-base: an unrestricted joint value is learned by Q-learning, and two more losses tie the utilities to its greedy
action (Son et al. 2019).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import Context, hyperparameters
from jaxmarl_suite.algorithms.q_learning._agents import Sequences
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, Terms, bootstrap, make_team
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.networks import joint_value, state_value
from jaxmarl_suite.ops import greedy, legal_max, take


@hyperparameters
class QTRANConfig(QConfig):
    """Q-learning's fields and the weights of QTRAN's additional losses."""

    optimal_weight: float = 1.0
    """Weight of the error if all agents act greedily."""
    other_weight: float = 0.1
    """Weight of the error otherwise, where the sum of utilities may only exceed the joint value."""
    joint_hidden: int = 64
    """Width of the joint value network and of the state value network."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("optimal_weight", "other_weight"))


def parts(config: QTRANConfig, env: Environment) -> tuple[Team, Method]:
    """QTRAN for `env`: L = L_td + optimal_weight L_opt + other_weight L_nopt."""
    team, spec = make_team(config, env), env.spec
    agents = team.agents
    joint = joint_value(
        spec.n_agents, spec.num_actions, agents.feature_size, team.view.size, hidden=config.joint_hidden
    )
    value = state_value(team.view.size, hidden=config.joint_hidden)

    def init(key: jax.Array) -> dict[str, Any]:
        joint_key, value_key = jax.random.split(key)
        return {"joint": joint.init(joint_key), "value": value.init(value_key)}

    def terms(params: Any, target: Any, batch: Sequences, ctx: Context) -> Terms:
        steps = batch.steps
        own, old = agents.unroll(params["agents"], batch), agents.unroll(target["agents"], batch)
        context = team.context(steps.obs, steps.state)
        joint_q = joint.value(params["joint"], own.features, steps.action, context)
        next_action = team.next_action(own.next_q, old.next_q, steps.next_mask)
        next_context = team.context(steps.next_obs, steps.next_state)
        next_q = joint.value(target["joint"], old.next_features, next_action, next_context)
        td = joint_q - bootstrap(steps, next_q[..., None], ctx)[..., 0]

        best_action = greedy(own.q, steps.mask)
        best_joint = joint.value(params["joint"], own.features, best_action, context)
        v = value.value(params["value"], context)
        optimal = legal_max(own.q, steps.mask).sum(-1) - jax.lax.stop_gradient(best_joint) + v
        others = jnp.minimum(take(own.q, steps.action).sum(-1) - jax.lax.stop_gradient(joint_q) + v, 0.0)
        loss = jnp.square(td) + ctx.hp.optimal_weight * jnp.square(optimal) + ctx.hp.other_weight * jnp.square(others)
        return Terms(loss, jnp.abs(td), joint_q, jnp.zeros((), jnp.float32))

    return team, Method(init, terms)


SPEC = q_spec("qtran", QTRANConfig, parts, "an unrestricted joint value with utilities bound to its greedy action")
