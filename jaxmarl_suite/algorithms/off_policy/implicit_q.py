"""Offline implicit Q-learning (Kostrikov et al. 2022, "Offline Reinforcement Learning with Implicit Q-Learning",
arXiv 2110.06169).

The field abbreviates it IQL. Here it is `implicit-q`, because `iql` is independent Q-learning.

    V:  mean L_τ(min_k Q_k⁻(s, a) - V(s)),  L_τ(u) = |τ - 1{u < 0}| u²     (eq. 5)
    Q:  Σ_k mean (Q_k(s, a) - r - γ V(s'))²                                 (eq. 6)
    π:  mean exp(β (min_k Q_k(s, a) - V(s))) · (-log π(a|s)), weights at most 100   (eq. 7)

No action outside the data is ever evaluated. The policy is a Gaussian around tanh of the network, with a learned standard
deviation for each entry. Deviations: V and Q take their steps at the same time, so that Q's target uses V from before
the step; the weights use the critics themselves, not their averages. For teams, V and Q are of the joint action, and
each agent's log-density is weighted with the joint advantage.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import ActContext, AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import ContextConfig, OfflineConfig
from jaxmarl_suite.algorithms.off_policy._offline import offline_spec
from jaxmarl_suite.algorithms.off_policy._parts import (
    Batch,
    Method,
    Metrics,
    Networks,
    Team,
    averaged,
    backed_up,
    make_team,
    regress,
    unprepared,
)
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic
from jaxmarl_suite.networks import make_critics

LOG_STD_RANGE = (-5.0, 2.0)


@hyperparameters
class ImplicitQConfig(OfflineConfig, ContextConfig):
    """The fields of offline learning, of actors and critics, and of expectiles."""

    expectile: float = 0.7
    """τ: 0.5 estimates the mean of the stored actions' values, 1 their maximum."""
    inverse_temperature: float = 3.0
    """β: weights of stored actions are exp(β · advantage)."""
    most_weight: float = 100.0
    """Upper bound of these weights."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, fractions=("expectile",), amounts=("inverse_temperature",), positive=("most_weight",))


def expectile_loss(error: jax.Array, expectile: jax.Array) -> jax.Array:
    """[*] |τ - 1{u < 0}| u² of errors u."""
    return jnp.where(error < 0, 1.0 - expectile, expectile) * jnp.square(error)


def implicit_q_method(team: Team) -> Method:
    """Implicit Q-learning for a team; its config is an `ImplicitQConfig`."""
    config: Any = team.config
    value = make_critics(
        team.critic_view.size, 0, num=config.critic_groups, hidden=config.hidden, layer_norm=config.layer_norm
    )

    def state_value(params: Any, obs: jax.Array, state: jax.Array) -> jax.Array:
        """[K, B] V, one for each group of critics."""
        context = team.critic_view.encode(obs, state, jnp.zeros(0, jnp.float32))[0][..., 0, :]
        return value.values(params, context, jnp.zeros((*context.shape[:-1], 0), jnp.float32))

    def init(key: jax.Array) -> Networks:
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        log_std = jnp.zeros((team.spec.n_agents, team.spec.action_dim), jnp.float32)
        return {
            "actor": {"policy": team.actor.init(actor_key), "log_std": log_std},
            "critic": {"q": team.critics.init(critic_key), "v": value.init(value_key)},
        }

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        known = team.group_min(team.values(targets["q"], batch.obs, batch.state, batch.action))
        error = jax.lax.stop_gradient(known) - state_value(critic["v"], batch.obs, batch.state)
        value_loss = expectile_loss(error, ctx.hp.expectile).mean(-1).sum()
        after = state_value(critic["v"], batch.next_obs, batch.next_state)
        loss, metrics = regress(team.values(critic["q"], batch.obs, batch.state, batch.action), backed_up(batch, after))
        return loss + value_loss, metrics | {"value_loss": value_loss}

    def log_density(actor: Any, obs: jax.Array, action: jax.Array) -> jax.Array:
        """[B] log-density of joint actions; padded entries do not count."""
        log_std = jnp.broadcast_to(jnp.clip(actor["log_std"], *LOG_STD_RANGE), action.shape)
        scaled = (action - deterministic(team, actor["policy"], obs)) / jnp.exp(log_std)
        entries = -0.5 * jnp.square(scaled) - log_std - 0.5 * math.log(2.0 * math.pi)
        return jnp.where(jnp.broadcast_to(team.spec.real_actions, entries.shape), entries, 0.0).sum((-2, -1))

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        known = team.group_min(team.values(critic["q"], batch.obs, batch.state, batch.action))
        advantage = (known - state_value(critic["v"], batch.obs, batch.state)).mean(0)
        # The exponent is bounded first, since exp may overflow where its bound applies.
        exponent = jnp.minimum(ctx.hp.inverse_temperature * advantage, jnp.log(ctx.hp.most_weight))
        weight = jax.lax.stop_gradient(jnp.exp(exponent))
        loss = -jnp.mean(weight * log_density(actor, batch.obs, batch.action))
        return loss, {"actor_loss": loss, "advantage": advantage.mean(), "weight": weight.mean()}

    def explore(actor: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext) -> jax.Array:
        return greedy(actor, obs, mask)

    def greedy(actor: Any, obs: jax.Array, mask: jax.Array) -> jax.Array:
        return deterministic(team, actor["policy"], obs)

    return Method(
        init=init,
        explore=explore,
        greedy=greedy,
        targets=lambda params: {"q": params["critic"]["q"]},
        critic_loss=critic_loss,
        actor_loss=actor_loss,
        prepare=unprepared,
        update_targets=lambda targets, params, ctx: averaged(targets, {"q": params["critic"]["q"]}, ctx),
        policy_delay=config.policy_delay,
    )


def parts(config: ImplicitQConfig, env: Environment) -> tuple[Team, Method]:
    """Implicit Q-learning for `env`."""
    team = make_team(
        config, env, outputs=env.spec.action_dim, share_parameters=config.share_parameters, context=config.context
    )
    return team, implicit_q_method(team)


SPEC: AlgorithmSpec = offline_spec(
    "implicit-q",
    ImplicitQConfig,
    parts,
    "offline: implicit Q-learning, known as IQL (not `iql`, independent Q-learning)",
)
