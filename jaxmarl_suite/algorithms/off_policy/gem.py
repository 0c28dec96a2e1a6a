"""GEM: TD3 whose critics regress on the best returns found along stored trajectories (Hu et al. 2021, arXiv
2103.06469).

After each block of acting, the target networks are updated once, new targets R are computed for every stored step,
backwards along the replay (`ops.episodic_targets`), and a block of gradient steps regresses on these R. Critics form
two groups: one selects where to leave a stored trajectory, the other evaluates it, and each group bootstraps from the
minimum of its own critics.

    B^k_t = min_{j in group k} Q_j⁻(s_t, clip(μ⁻(s_t) + clip(σ̃ ε, ±c), ±1))       one noisy action for all critics
    L(Q_j) = mean[ δ₊² + κ δ₋² ],  δ = Q_j(s, a) - R^{k(j)}                        overshooting costs 1/κ times as much

The actor maximizes the mean of all critics. θ⁻ <- θ⁻ + (1 - (1 - τ)^n) (θ - θ⁻) before a block of n gradient steps,
and is constant within it. Defaults are those of the released code; the paper's full text was not available.

Deliberate differences: the running episode is also learned from, with a bootstrap at its newest step as at a time
limit, while the released code stores only whole episodes; at a time limit it is not possible to stop with value 0
(`zero_tail` restores this); acting and learning alternate in blocks of `rollout_length` steps, which need not end with
an episode.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._targets import polyak
from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._memory import MemoryConfig, memory_targets
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Metrics, Networks, Team, make_team
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec
from jaxmarl_suite.algorithms.off_policy.td3 import STAR_SPEC, DeterministicConfig, bootstrap, td3_method
from jaxmarl_suite.ops import asymmetric_loss, critic_targets, target_jump
from jaxmarl_suite.replay import Store, StoreLayout, Transitions


@hyperparameters
class GEMConfig(DeterministicConfig, MemoryConfig):
    """TD3's fields, without its n-step targets, and those of the memory."""


def gem_method(team: Team) -> Method:
    """GEM for a single agent (or for a team, which the paper does not consider)."""
    config: Any = team.config

    def prepare(
        params: Networks, targets: Networks, layout: StoreLayout, store: Store, key: jax.Array, ctx: Context
    ) -> tuple[Networks, jax.Array]:
        share = target_jump(ctx.hp.target_rate, config.gradient_steps)
        targets = polyak(params, targets, share)

        def values(steps: Transitions, key: jax.Array) -> jax.Array:
            after = steps.next_observed
            return bootstrap(team, targets, after.obs, after.state, key, ctx).T

        return targets, memory_targets(config, layout, store, values, key, ctx)

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        values = team.values(critic, batch.obs, batch.state, batch.action)
        target = critic_targets(batch.prepared, config.num_critics)
        loss = asymmetric_loss(values, target, kappa=ctx.hp.kappa).mean(-1).sum()
        error = jnp.abs(values - target).mean()
        return loss, {"critic_loss": loss, "td_error": error, "q_mean": values.mean(), "memory_mean": target.mean()}

    return td3_method(team, n_step=1)._replace(
        prepare=prepare, critic_loss=critic_loss, update_targets=lambda targets, params, ctx: targets
    )


def parts(config: GEMConfig, env: Environment) -> tuple[Team, Method]:
    """GEM for `env`."""
    team = make_team(config, env, outputs=env.spec.action_dim)
    return team, gem_method(team)


SPEC: AlgorithmSpec = off_policy_spec(
    "gem",
    GEMConfig,
    parts,
    "critics regress on the best returns along stored trajectories",
    for_teams="matd3",
    defaults=GEMConfig(
        **{f.name: getattr(STAR_SPEC.defaults, f.name) for f in dataclasses.fields(DeterministicConfig)}
    ),
)
