"""SAC: a stochastic actor that is rewarded for its entropy, at a temperature that keeps the entropy near a target
(Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications").

    y    = R + γ^n (min_j Q_j⁻(s', a') - α log π(a'|s')),  a' ~ π(s')     (eq. 5 and 6, twin critics of section 5.2)
    J(π) = E[α log π(a|s) - min_j Q_j(s, a)],  a ~ π(s), reparameterized  (eq. 9)
    J(α) = E[-α (log π(a|s) + H)]                                         (eq. 18)

Actions are tanh-normal, densities are those of actions in [-1, 1]. The target entropy H is -1 nat per entry, as in the
paper (-dim A); padded entries do not count. There is no target actor. Deviations: the standard deviation is bounded
smoothly (`ops.tanh_normal`) while the published code clips its logarithm; with n > 1 (the paper has 1) the entropy of
intermediate steps is not rewarded.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import ActContext, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import ActorCriticConfig, NStepConfig
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
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec
from jaxmarl_suite.ops import tanh_normal


@hyperparameters
class SACConfig(ActorCriticConfig, NStepConfig):
    """The fields of actor-critics, of n-step targets and of the entropy."""

    temperature: float = 1.0
    """Temperature, in reward per nat; the initial value if it is learned."""
    tune_temperature: bool = True
    """Learn the temperature so that the entropy stays near its target; otherwise it is constant."""
    target_entropy: float = -1.0
    """Target entropy in nats per entry of each agent's action, for actions in [-1, 1] (uniform: 0.69)."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("temperature",), finite=("target_entropy",))


def temperature(actor: Any, ctx: Context) -> jax.Array:
    """[] α: the initial temperature times exp of the learned parameter, so that it stays positive."""
    return ctx.hp.temperature * jnp.exp(actor["log_temperature"])


def sac_method(team: Team) -> Method:
    """SAC for a team: the joint policy is the product of the agents', its entropy the sum of theirs; with one agent it
    is SAC.
    """
    config: Any = team.config
    head = tanh_normal(team.spec.action_dim, padded=bool(team.spec.agent_action_sizes))

    def real(output: jax.Array) -> jax.Array:
        """[B, N, A] bool, entries that are not padding, for outputs [B, N, 2 A]."""
        return jnp.broadcast_to(team.spec.real_actions, (*output.shape[:-1], team.spec.action_dim))

    def init(key: jax.Array) -> Networks:
        actor_key, critic_key = jax.random.split(key)
        actor = {"policy": team.actor.init(actor_key), "log_temperature": jnp.zeros((), jnp.float32)}
        return {"actor": actor, "critic": team.critics.init(critic_key)}

    def draw(actor: Any, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions [B, N, A] in [-1, 1] and the joint action's log-density [B]."""
        output = team.output(actor["policy"], obs)
        unsquashed, log_prob = head.sample_and_log_prob(key, output, real(output))
        return head.to_env(unsquashed), log_prob.sum(-1)

    def explore(actor: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext) -> jax.Array:
        return draw(actor, obs, key)[0]

    def greedy(actor: Any, obs: jax.Array, mask: jax.Array) -> jax.Array:
        output = team.output(actor["policy"], obs)
        return head.to_env(head.mode(output, real(output)))

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        action, log_prob = draw(actor, batch.next_obs, key)
        after = team.group_min(team.values(targets["critic"], batch.next_obs, batch.next_state, action))
        soft = after - temperature(actor, ctx) * log_prob[None]
        return regress(team.values(critic, batch.obs, batch.state, batch.action), backed_up(batch, soft))

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        action, log_prob = draw(actor, batch.obs, key)
        joint = team.joint_actions(action, batch.action)
        values = team.values(critic, batch.obs, batch.state, joint).min(0)  # [M, B]
        alpha = temperature(actor, ctx)
        loss = jnp.mean(jax.lax.stop_gradient(alpha) * log_prob - values.sum(0))
        metrics = {"actor_loss": loss, "entropy": -log_prob.mean(), "temperature": alpha}
        if config.tune_temperature:
            wanted = ctx.hp.target_entropy * team.num_real_entries
            alpha_loss = -alpha * jax.lax.stop_gradient(log_prob + wanted).mean()
            return loss + alpha_loss, metrics | {"temperature_loss": alpha_loss}
        return loss, metrics

    return Method(
        init=init,
        explore=explore,
        greedy=greedy,
        targets=lambda params: {"critic": params["critic"]},
        critic_loss=critic_loss,
        actor_loss=actor_loss,
        prepare=unprepared,
        update_targets=averaged,
        policy_delay=config.policy_delay,
        n_step=config.n_step,
    )


def parts(config: SACConfig, env: Environment) -> tuple[Team, Method]:
    """SAC for `env`."""
    team = make_team(config, env, outputs=tanh_normal(env.spec.action_dim).num_outputs)
    return team, sac_method(team)


SPEC = off_policy_spec("sac", SACConfig, parts, "maximum-entropy actor-critic, tuned temperature", for_teams="masac")
