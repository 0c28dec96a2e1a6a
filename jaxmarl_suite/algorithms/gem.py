"""GEM: TD3 whose critics regress on the best returns found along stored trajectories (Hu et al. 2021, arXiv 2103.06469).

A block of play is followed by one jump of the target networks, by new targets R for every stored step, computed backwards
along the replay (`ops.episodic_targets`), and by a block of gradient steps on these R. Critics form two groups: one chooses
where to leave a stored trajectory, the other says what that is worth, and each group's bootstrap is the smallest of its own.

    B^k_t = min_{j in group k} Q_j⁻(s_t, clip(μ⁻(s_t) + clip(σ̃ ε, ±c), ±1))       one noisy action for all critics
    L(Q_j) = mean[ δ₊² + κ δ₋² ],  δ = Q_j(s, a) - R^{k(j)}                        overshooting costs 1/κ times as much

The actor climbs the mean of all critics. θ⁻ <- θ⁻ + (1 - (1 - τ)^n) (θ - θ⁻) before a block of n gradient steps, and stands
still in it. Defaults are those of the released code; the paper's full text was not at hand.

Deliberate differences: the running episode is learnt from, its newest step bootstrapping as at a time limit, where the
released code stores whole episodes; a time limit offers no stop of value 0 (`zero_tail` brings it back); play and learning
alternate in blocks of `rollout_length` steps whose end need not be that of an episode.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms._base import AlgorithmSpec, Context, hyperparameters
from jaxmarl_suite.algorithms._off_policy_config import OffPolicyConfig
from jaxmarl_suite.algorithms._off_policy_parts import Batch, Method, Metrics, Networks, Step, Team, make_team
from jaxmarl_suite.algorithms._off_policy_spec import off_policy_spec
from jaxmarl_suite.algorithms.td3 import STAR_SPEC, TD3Config, bootstrap, td3_method
from jaxmarl_suite.ops import (
    asymmetric_loss,
    capped_episodic_targets,
    critic_targets,
    episodic_targets,
    mean_episodic_targets,
    target_jump,
)
from jaxmarl_suite.replay import StepState, refresh_targets


@hyperparameters
class GEMConfig(TD3Config):
    """TD3's fields and those of the memory."""

    kappa: float = 0.25
    """Weight of underestimates in the critics' loss; 1 is the symmetric loss."""
    floor: bool = True
    """A target is at least its own one-step target."""
    zero_tail: bool = False
    """At a time limit, offer also to stop with the value 0, as the released code does; an overestimate where rewards are
    negative."""
    max_steps: int = dataclasses.field(default=0, metadata={"least": 0})
    """Most rewards taken from a trajectory; 0 for all there are. Costs work in proportion: for ablations."""
    average: bool = False
    """Targets are means over all stops, weighted by `beta` ** (steps - 1), instead of the best: an ablation."""
    beta: float = 0.9
    """See `average`."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        self._check_range(0.0, float("inf"), "kappa", "beta")
        if self.critic_groups not in (1, 2):
            raise ValueError(f"critic_groups must be 1 (the plain maximum) or 2 for GEM, got {self.critic_groups}")
        if self.n_step != 1:
            raise ValueError(f"n_step must be 1 for GEM, whose targets run along whole episodes, got {self.n_step}")
        if self.average and self.max_steps:
            raise ValueError(f"max_steps caps the best stop only; with average=True it must be 0, got {self.max_steps}")


def gem_method(team: Team) -> Method:
    """GEM of a single agent (or of a team, which the paper does not have)."""
    config: Any = team.config

    def prepare(
        params: Networks, targets: Networks, ring: StepState, key: jax.Array, ctx: Context
    ) -> tuple[Networks, jax.Array]:
        share = target_jump(ctx.hp.target_rate, config.gradient_steps)
        targets = jax.tree.map(lambda old, new: old + share * (new - old), targets, params)

        def values(steps: Step, key: jax.Array) -> jax.Array:
            return bootstrap(team, targets, steps.next_obs, steps.next_state, key, ctx).T

        how: Any = partial(episodic_targets)
        if config.average:
            how = partial(mean_episodic_targets, beta=ctx.hp.beta)
        elif config.max_steps:
            how = partial(capped_episodic_targets, max_steps=config.max_steps)
        how = partial(how, gamma=ctx.hp.gamma, floor=config.floor, zero_tail=config.zero_tail)
        # From the clock, which all lanes share, so that the number of chunks is no lane's own.
        played = (ctx.clock + 1) * config.rollout_length
        return targets, refresh_targets(ring, values, how, key, at_most=played)

    def critic_loss(
        critic: Any, actor: Any, targets: Networks, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, Metrics]:
        values = team.values(critic, batch.obs, batch.state, batch.action)
        remembered = critic_targets(batch.prepared, config.num_critics)
        loss = asymmetric_loss(values, remembered, kappa=ctx.hp.kappa).mean(-1).sum()
        error = jnp.abs(values - remembered).mean()
        return loss, {"critic_loss": loss, "td_error": error, "q_mean": values.mean(), "memory_mean": remembered.mean()}

    return td3_method(team)._replace(
        prepare=prepare, critic_loss=critic_loss, follow=lambda targets, params, ctx: targets
    )


def parts(config: GEMConfig, env: Environment) -> tuple[Team, Method]:
    """GEM for `env`."""
    team = make_team(config, env, outputs=env.spec.action_dim)
    return team, gem_method(team)


_SHARED: OffPolicyConfig = STAR_SPEC.defaults
SPEC: AlgorithmSpec = off_policy_spec(
    "gem",
    GEMConfig,
    parts,
    "critics regress on the best returns along stored trajectories",
    for_teams="matd3",
    defaults=GEMConfig(**{f.name: getattr(_SHARED, f.name) for f in dataclasses.fields(_SHARED)}),
)
