"""TD3+BC: TD3 on stored data, whose actor also imitates the stored actions (Fujimoto & Gu 2021, arXiv 2106.06860).

    J(π) = -λ mean Q_1(s, π(s)) + mean ‖π(s) - a‖² / dim(a),  λ = α / mean |Q_1(s, π(s))|, without gradient

Critics and targets are TD3's. With α = 0 only imitation is left. Deviation: states are not normalized. For teams it is
MATD3 with the same two terms.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import OfflineConfig, TeamFields
from jaxmarl_suite.algorithms.off_policy._offline import offline_spec
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Metrics, Team, make_team
from jaxmarl_suite.algorithms.off_policy.bc import imitation
from jaxmarl_suite.algorithms.off_policy.td3 import SmoothingConfig, deterministic, td3_method


@hyperparameters
class TD3BCConfig(OfflineConfig, SmoothingConfig, TeamFields):
    """The fields of offline learning, of TD3's targets and of teams."""

    alpha: float = 2.5
    """Weight of the critic against imitation, for values of mean size 1."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("alpha",))


def scale_of_values(values: jax.Array) -> jax.Array:
    """[] mean |Q| without gradient, by which values are divided; never 0."""
    return jnp.maximum(jax.lax.stop_gradient(jnp.abs(values).mean()), 1e-8)


def td3_bc_method(team: Team) -> Method:
    """TD3+BC for a team; its config is a `TD3BCConfig`."""

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        own = deterministic(team, actor, batch.obs)
        joint = team.joint_actions(own, batch.action)
        values = team.values(jax.tree.map(lambda x: x[:1], critic), batch.obs, batch.state, joint)[0]  # [M, B]
        cloning = imitation(team, own, batch.action)
        loss = cloning - ctx.hp.alpha / scale_of_values(values) * jnp.sum(values.mean(-1))
        return loss, {"actor_loss": loss, "bc_loss": cloning}

    return td3_method(team, n_step=1)._replace(
        explore=lambda actor, obs, mask, key, ctx: deterministic(team, actor, obs), actor_loss=actor_loss
    )


def parts(config: TD3BCConfig, env: Environment) -> tuple[Team, Method]:
    """TD3+BC for `env`."""
    shared, context, others = config.share_parameters, config.context, config.others
    team = make_team(config, env, outputs=env.spec.action_dim, share_parameters=shared, context=context, others=others)
    return team, td3_bc_method(team)


SPEC: AlgorithmSpec = offline_spec("td3-bc", TD3BCConfig, parts, "offline: td3 that also imitates, one agent or teams")
