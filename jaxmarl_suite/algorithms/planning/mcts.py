"""Planning without learning: each joint action is the best of a search that plays the environment itself.

There is nothing to train: the one phase takes no environment step, and what counts are the evaluations, with as many
simulations as the config lists. The search is shown the whole state of the environment, also what agents do not see: no
decentralized policy could have its returns.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, pytree_dataclass

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    ActFn,
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    hyperparameters,
)
from jaxmarl_suite.algorithms.planning._parts import check_enumerable
from jaxmarl_suite.search import (
    Search,
    World,
    WorldParams,
    best_action,
    environment_model,
    gumbel_search,
    muzero_search,
    rollout_evaluator,
    sampled_search,
)


@hyperparameters
class MCTSConfig:
    """What planning in the environment is configured by. Floats may differ between the lanes of a sweep."""

    simulations: tuple[int, ...] = (10, 25, 50)
    """Model steps of a search. Rows show the return with the last number as `return`, others as `search-10/return`."""
    search: Literal["sampled", "gumbel", "muzero"] = "sampled"
    """MAZero's over sampled joint actions, or mctx's own over all of them, for small games. Its "muzero" takes joint actions
    that it has not tried for the worst it has, and may stay with a mediocre one; "gumbel" tries them in turn."""
    num_samples: int = 10
    """Joint actions drawn at each node ("sampled" only), at most the least number of simulations."""
    backup: Literal["optimistic", "mean"] = "optimistic"
    """Values of nodes ("sampled" only): OS(λ), or the mean of all returns below."""
    drop_lowest: float = 0.75
    """ρ of OS(λ): the share of a depth's returns that is dropped."""
    depth_decay: float = 0.8
    """λ of OS(λ): the weight of a depth relative to the one above."""
    max_considered: int = 16
    """Joint actions that a search tries at its root ("gumbel" only)."""
    gamma: float = 1.0
    """Discount of one environment step."""
    rollout_steps: int = dataclasses.field(default=0, metadata={"least": 0})
    """A leaf is worth the return of so many steps of uniform play from there, or of those to the end; 0 for no value."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        check_integers(self)
        check_floats(self, fractions=("drop_lowest", "depth_decay", "gamma"))
        for name, accepted in (("search", ("sampled", "gumbel", "muzero")), ("backup", ("optimistic", "mean"))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {getattr(self, name)!r}")
        if not self.simulations or len(set(self.simulations)) < len(self.simulations):
            raise ValueError(f"simulations must be different numbers, at least one, got {self.simulations}")
        if self.search == "sampled" and min(self.simulations) < self.num_samples:
            raise ValueError(
                f"simulations must be at least num_samples, as every joint action of the root is tried once, got "
                f"{self.simulations} and {self.num_samples}"
            )


@pytree_dataclass
class MCTSState:
    """Nothing is learned: how often that was confirmed."""

    updates: jax.Array  # [] int32


def make_search(config: MCTSConfig, env: Environment, ctx: ActContext, num_simulations: int) -> Search:
    """The search with so many simulations, in `env`."""
    evaluator = rollout_evaluator(env, config.rollout_steps, ctx.hp.gamma) if config.rollout_steps else None
    model = environment_model(env, evaluator, ctx.hp.gamma)
    if config.search == "muzero":
        return muzero_search(model, num_simulations=num_simulations)
    if config.search == "gumbel":
        considered = min(config.max_considered, env.spec.num_actions**env.spec.n_agents)
        return gumbel_search(model, num_simulations=num_simulations, max_considered=considered, gumbel_scale=0.0)
    return sampled_search(
        model,
        num_simulations=num_simulations,
        num_samples=config.num_samples,
        backup=config.backup,
        drop_lowest=ctx.hp.drop_lowest,
        depth_decay=ctx.hp.depth_decay,
    )


def act(
    config: MCTSConfig,
    env: Environment,
    num_simulations: int,
    policy: Any,
    carry: jax.Array,
    shown: tuple[Any, TimeStep],
    key: jax.Array,
    ctx: ActContext,
) -> tuple[jax.Array, jax.Array]:
    """`(action [n, N], carry)`: the best joint actions from the states that environments are in. Consumes `key`."""
    search = make_search(config, env, ctx, num_simulations)
    params = WorldParams(ctx.env_params, ctx.env_params if config.rollout_steps else ())
    return best_action(search(params, key, World(*shown))), carry


def update(state: MCTSState, ctx: Context) -> tuple[MCTSState, Metrics]:
    """Nothing is learned."""
    return MCTSState(state.updates + 1), Metrics({}, {"updates": state.updates.astype(jnp.float32) + 1.0})


def make(config: Any, env: Environment) -> tuple[Phase, ...]:
    """The one phase, whose policies are searches in `env`."""
    if config.search != "sampled":
        check_enumerable(f"mcts with search {config.search!r}", env.spec, "search 'sampled' draws num_samples of them")
    *others, most = config.simulations
    acts: dict[int, ActFn] = {number: partial(act, config, env, number) for number in config.simulations}
    algorithm = Algorithm(
        init=lambda key, ctx: MCTSState(jnp.zeros((), jnp.int32)),
        update=update,
        policy=lambda state: state,
        init_carry=lambda n: jnp.zeros((n, 0), jnp.int32),
        act=acts[most],
        env_steps_per_update=0,
        extra_acts={f"search-{number}": acts[number] for number in others},
        sees_state=True,
    )
    return (Phase("plan", algorithm, updates=1),)


SPEC = AlgorithmSpec("mcts", MCTSConfig, make, "tree search in the environment itself: plans, and learns nothing")
