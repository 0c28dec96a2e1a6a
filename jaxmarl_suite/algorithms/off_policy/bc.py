"""BC: behavior cloning. The actors regress on the stored actions, mean ‖π(o) - a‖² / dim(a); there is no critic.

With several agents, each clones its own actions from its own observation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import ActContext, AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import OfflineConfig, SharingConfig
from jaxmarl_suite.algorithms.off_policy._offline import offline_spec
from jaxmarl_suite.algorithms.off_policy._parts import (
    Actors,
    Batch,
    Method,
    Metrics,
    Networks,
    NoCritic,
    make_actors,
    unprepared,
)
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic


@hyperparameters
class BCConfig(OfflineConfig, SharingConfig):
    """The fields of offline learning and of actors."""


def imitation(actors: Actors, own: jax.Array, stored: jax.Array) -> jax.Array:
    """[] mean squared difference between actions [B, N, A] and stored ones, over the entries that are not padding."""
    return jnp.sum(jnp.square(own - stored), axis=(-2, -1)).mean() / actors.num_real_entries


def bc_method(actors: Actors) -> Method:
    """Behavior cloning of deterministic actors."""

    def explore(actor: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext) -> jax.Array:
        return deterministic(actors, actor, obs)

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        return jnp.zeros((), jnp.float32), {}

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        loss = imitation(actors, deterministic(actors, actor, batch.obs), batch.action)
        return loss, {"bc_loss": loss}

    return Method(
        init=lambda key: {"actor": actors.actor.init(key), "critic": NoCritic()},
        explore=explore,
        greedy=lambda actor, obs, mask: deterministic(actors, actor, obs),
        targets=lambda params: {},
        critic_loss=critic_loss,
        actor_loss=actor_loss,
        prepare=unprepared,
        update_targets=lambda targets, params, ctx: targets,
    )


def parts(config: BCConfig, env: Environment) -> tuple[Actors, Method]:
    """BC for `env`."""
    actors = make_actors(config, env, outputs=env.spec.action_dim, share_parameters=config.share_parameters)
    return actors, bc_method(actors)


SPEC: AlgorithmSpec = offline_spec("bc", BCConfig, parts, "offline: behavior cloning, one agent or teams")
