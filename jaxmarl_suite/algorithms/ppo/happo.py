"""HAPPO: agents updated one after another in random order, each advantage weighted with its predecessors' new ratios
(Kuba et al. 2022, algorithm 4). Agents still act independently.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._learner import Learner, LossFn, by_agent, fit
from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.core._views import central_view
from jaxmarl_suite.algorithms.ppo._actors import KINDS
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import PPO, make_ppo, make_ppo_learner
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy
from jaxmarl_suite.algorithms.ppo._losses import first
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy


def one_after_another(
    policy: JointPolicy, actor: Learner, batch: dict, loss_fn: LossFn, optimizer: Any, key: jax.Array, config: PPOConfig
) -> tuple[Learner, dict[str, jax.Array]]:
    """Updates agents in random order, agent i_m with the advantages M_m A, where

    M_1 = 1,   M_{m+1} = M_m · π_new(a_{i_m}) / π_old(a_{i_m})   (Kuba et al. 2022, eq. 10).
    """
    rows, common = by_agent(batch)

    def update_one(
        carry: tuple[Learner, jax.Array], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Learner, jax.Array], dict[str, jax.Array]]:
        actor, factor = carry
        agent, key = inputs
        own, own_rows = jax.tree.map(lambda a: a[agent], (actor, rows))
        weighted = own_rows | common | {"advantage": own_rows["advantage"] * factor}
        own, metrics = fit(own, weighted, loss_fn, optimizer, key, epochs=config.epochs, minibatches=config.minibatches)
        output, _ = policy.network.unroll(
            own.params, first(own_rows["carry"]), own_rows["x"], own_rows["extra"], common["start"]
        )
        log_prob = policy.head.log_prob(output, own_rows["mask"], own_rows["action"])
        factor = factor * jnp.exp(log_prob - own_rows["log_prob"])
        return (jax.tree.map(lambda a, b: a.at[agent].set(b), actor, own), factor), metrics

    order_key, key = jax.random.split(key)
    n = policy.view.outputs
    order = jax.random.permutation(order_key, n)
    factor = jnp.ones((*batch["start"].shape, 1), jnp.float32)
    (actor, _), metrics = jax.lax.scan(update_one, (actor, factor), (order, jax.random.split(key, n)))
    return actor, jax.tree.map(jnp.mean, metrics)


def parts(config: PPOConfig, env: Environment) -> PPO:
    """HAPPO's learner for `env`; rejects shared parameters, with which agents cannot be updated separately."""
    if config.share_parameters:
        raise ValueError("happo updates agents apart: share_parameters must be False, got True")
    policy, critic_view = local_policy(config, env), central_view(env.spec)
    return make_ppo_learner(config, env.spec, policy, critic_view, fit_actors=one_after_another)


def make(config: PPOConfig, env: Environment) -> tuple[Phase, ...]:
    """HAPPO for `env`."""
    return (Phase("ppo", make_ppo(parts(config, env), env)),)


SPEC = AlgorithmSpec(
    "happo",
    PPOConfig,
    make,
    "PPO with a central critic and sequential, ratio-weighted updates of the agents",
    actions=KINDS,
    defaults=PPOConfig(share_parameters=False),
)
