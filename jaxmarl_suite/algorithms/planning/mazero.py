"""MAZero (Liu et al. 2024, arXiv 2405.11778): a search over sampled joint actions in a learned model of the team.

Values of nodes are OS(λ), policies learn by AWPO: -Σ_c visits_c min(exp(Â_c / α), 3) Σ_i log π_i(a_c,i), where Â_c is the
standardized advantage of a searched joint action over the target network's value. Networks, search and learning follow the
paper and its code where both are known; where they disagree the defaults are the paper's ρ and the code's α and learning
rate. Sizes of search and batch are for a CPU: MAZero has 100 simulations of 10 joint actions, and batches of 256. Deliberate
differences, beside those of `_core`: agents are told which one they are; rewards and values have more and finer bins, wide
enough for the suite's games.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, EnvSpec

from jaxmarl_suite.algorithms.core._types import ActContext, AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.planning._config import MAZeroConfig
from jaxmarl_suite.algorithms.planning._core import make_planning
from jaxmarl_suite.algorithms.planning._parts import Method, agents_apart, warn_of_bins
from jaxmarl_suite.algorithms.planning._targets import advantage_weights
from jaxmarl_suite.networks import make_team_model
from jaxmarl_suite.search import Model, Search, SearchResult, sample_action, sampled_search


def temperature(config: MAZeroConfig, ctx: ActContext) -> jax.Array:
    """[] of the visits by which play draws joint actions."""
    if not config.cool_down:
        return ctx.hp.visit_temperature
    factor = jnp.where(ctx.progress < 0.5, 1.0, jnp.where(ctx.progress < 0.75, 0.5, 0.25))
    return ctx.hp.visit_temperature * factor


def joint_weights(config: MAZeroConfig, result: SearchResult, is_seen: jax.Array, ctx: ActContext) -> jax.Array:
    """[*, K] how much policies learn of each searched joint action [*, K]; 0 where nothing was seen [*]."""
    counts = result.is_child & is_seen[..., None]
    share = result.prior if config.policy_loss == "awpo-prior" else result.weights
    share = jnp.where(counts, share, 0.0)
    if config.policy_loss == "cloning":
        return share
    advantage = result.q - result.raw_value[..., None]
    hp = ctx.hp
    return share * advantage_weights(advantage, counts, hp.advantage_temperature, hp.max_advantage_weight)


def mazero_method(config: MAZeroConfig, spec: EnvSpec) -> Method:
    """MAZero's networks, search and policy loss."""
    view = agents_apart(spec, agent_id=config.agent_id)
    networks = make_team_model(
        view.obs_size,
        view.n_agents,
        view.num_actions,
        width=config.width,
        hidden=config.hidden,
        head_hidden=config.head_hidden,
        predictor_hidden=config.predictor_hidden,
        num_bins=config.num_bins,
        num_layers=config.communication_layers,
        num_heads=config.num_heads,
        dropout=config.dropout,
    )

    def search(model: Model, ctx: ActContext, explore: bool) -> Search:
        return sampled_search(
            model,
            num_simulations=config.num_simulations,
            num_samples=config.num_samples,
            backup=config.backup,
            drop_lowest=ctx.hp.drop_lowest,
            depth_decay=ctx.hp.depth_decay,
            noise_share=ctx.hp.noise_share if explore else 0.0,
            noise_concentration=ctx.hp.noise_concentration,
        )

    return Method(
        view=view,
        networks=networks,
        search=search,
        choose=lambda key, result, ctx: sample_action(key, result, temperature(config, ctx)),
        joint_weight=lambda result, is_seen, ctx: joint_weights(config, result, is_seen, ctx),
    )


def make(config: Any, env: Environment) -> tuple[Phase, ...]:
    """The phases of MAZero for `env`."""
    warn_of_bins(config, env.spec)
    return make_planning(config, env, mazero_method(config, env.spec), name="plan")


SPEC = AlgorithmSpec(
    "mazero", MAZeroConfig, make, "tree search over sampled joint actions in a learned model of the team"
)
