"""TD3: a deterministic actor, twin critics whose minimum is the target, a delayed actor (Fujimoto et al. 2018).

y = R + γ^n min_j Q_j⁻(s', ã), ã = clip(μ⁻(s') + clip(σ̃ ε, ±c), ±1) (Algorithm 1); the actor maximizes Q_1(s, μ(s)).
The paper uses one step (n = 1). `td3-star` is TD3 with the networks and the number of updates of GEM (Hu et al. 2021):
four critics in two groups, each of which uses the minimum of its own targets, layer normalization, two gradient steps
per environment step, and an actor that maximizes the mean of all critics. It isolates what GEM's memory adds.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import ActContext, AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import ActorConfig, ActorCriticConfig, NStepConfig
from jaxmarl_suite.algorithms.off_policy._parts import (
    Actors,
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
    without_padding,
)
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec


@hyperparameters
class SmoothingConfig(ActorConfig):
    """The fields of deterministic target actors, whose actions are smoothed."""

    policy_delay: int = 2
    """Gradient steps of the critics per gradient step of the actors; the averaged targets move together with the
    actors."""
    target_noise: float = 0.2
    """Standard deviation of the noise in target policy smoothing."""
    target_noise_clip: float = 0.5
    """Bound at which that noise is clipped."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("target_noise", "target_noise_clip"))


@hyperparameters
class DeterministicConfig(SmoothingConfig, ActorCriticConfig):
    """The fields of actor-critics and of a deterministic actor."""

    exploration_noise: float = 0.1
    """Standard deviation of the exploration noise; actions are in [-1, 1] here."""
    climb: Literal["first", "mean"] = "first"
    """What the actors maximize: the first critic, or the mean of all."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("exploration_noise",))
        if self.climb not in ("first", "mean"):
            raise ValueError(f"climb must be 'first' or 'mean', got {self.climb!r}")


@hyperparameters
class TD3Config(DeterministicConfig, NStepConfig):
    """The fields of a deterministic actor and of n-step targets."""


def deterministic(team: Actors, params: Any, obs: jax.Array) -> jax.Array:
    """[B, N, A] actions of the actors, in [-1, 1]."""
    return without_padding(team.spec, jnp.tanh(team.output(params, obs)))


def smoothed(team: Team, params: Any, obs: jax.Array, noise: jax.Array, ctx: Context) -> jax.Array:
    """[B, N, A] actions with target policy smoothing, from the standard normal `noise` [B, N, A]."""
    added = jnp.clip(ctx.hp.target_noise * noise, -ctx.hp.target_noise_clip, ctx.hp.target_noise_clip)
    return without_padding(team.spec, jnp.clip(deterministic(team, params, obs) + added, -1.0, 1.0))


def bootstrap(
    team: Team, targets: Networks, obs: jax.Array, state: jax.Array, key: jax.Array, ctx: Context
) -> jax.Array:
    """[K, B] values of the observations: each group's minimum of target critics at the target actors' smoothed action."""
    noise = jax.random.normal(key, (*obs.shape[:1], team.spec.n_agents, team.spec.action_dim), jnp.float32)
    action = smoothed(team, targets["actor"], obs, noise, ctx)
    return team.group_min(team.values(targets["critic"], obs, state, action))


def td3_method(team: Team, *, n_step: int) -> Method:
    """TD3 for a team: actors on their own observations, critics of the joint action; with one agent it is TD3.

    Args:
      team: its config is a `DeterministicConfig`.
      n_step: number of rewards summed in a target.
    """
    config: Any = team.config

    def init(key: jax.Array) -> Networks:
        actor_key, critic_key = jax.random.split(key)
        return {"actor": team.actor.init(actor_key), "critic": team.critics.init(critic_key)}

    def explore(actor: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext) -> jax.Array:
        action = deterministic(team, actor, obs)
        noise = ctx.hp.exploration_noise * jax.random.normal(key, action.shape, jnp.float32)
        return without_padding(team.spec, jnp.clip(action + noise, -1.0, 1.0))

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        after = bootstrap(team, targets, batch.next_obs, batch.next_state, key, ctx)
        return regress(team.values(critic, batch.obs, batch.state, batch.action), backed_up(batch, after))

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        joint = team.joint_actions(deterministic(team, actor, batch.obs), batch.action)
        if config.climb == "first":
            critic = jax.tree.map(lambda x: x[:1], critic)
        values = team.values(critic, batch.obs, batch.state, joint)  # [C, M, B]
        loss = -jnp.sum(values.mean((0, 2)))
        return loss, {"actor_loss": loss}

    return Method(
        init=init,
        explore=explore,
        greedy=lambda actor, obs, mask: deterministic(team, actor, obs),
        targets=dict,
        critic_loss=critic_loss,
        actor_loss=actor_loss,
        prepare=unprepared,
        update_targets=averaged,
        policy_delay=config.policy_delay,
        n_step=n_step,
    )


def parts(config: TD3Config, env: Environment) -> tuple[Team, Method]:
    """TD3 for `env`."""
    team = make_team(config, env, outputs=env.spec.action_dim)
    return team, td3_method(team, n_step=config.n_step)


SPEC: AlgorithmSpec = off_policy_spec(
    "td3", TD3Config, parts, "deterministic actor, clipped twin critics", for_teams="matd3"
)
STAR_SPEC: AlgorithmSpec = off_policy_spec(
    "td3-star",
    TD3Config,
    parts,
    "td3 with GEM's networks and number of updates",
    for_teams="matd3",
    defaults=TD3Config(
        rollout_length=100,
        gradient_steps=200,
        batch_size=128,
        warmup_steps=25_000,
        hidden=(400, 300),
        layer_norm=True,
        action_twice=True,
        num_critics=4,
        critic_groups=2,
        climb="mean",
    ),
)
