"""How often a search chooses the best of the joint actions that it drew, in repeated matrix games that it knows."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import seed_key

from jaxmarl_suite.search import World, WorldParams, environment_model, sampled_search

GAMES = ("M1", "M2", "M3", "M4")
SAMPLES = 20
"""Joint actions that are drawn at each node; the games have nine."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One search: policies are uniform, the model is the game."""

    horizon: int = 10
    simulations: int = 100
    drop_lowest: float = 0.75
    depth_decay: float = 0.8
    backup: str = "optimistic"
    exact_leaves: bool = False
    """Leaves have the optimal value of the steps to come; otherwise 0."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a setting came to in one game."""

    by_visits: int
    """Roots at which the most visited joint action is the best of those drawn."""
    by_q: int
    """The same for the joint action of the highest q."""
    roots: int
    root_value: float
    """Mean over the roots."""


@functools.cache
def _program(horizon: int, simulations: int, backup: Any) -> Callable[..., Any]:
    """The compiled search of all games: they differ in payoffs and in the values at the leaves."""
    game = jaxmarl_envs.make("matrix/M1", horizon=horizon)

    def evaluator(per_step: jax.Array, key: jax.Array, state: Any, timestep: Any) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((2, 3)), per_step * (horizon - state.stage).astype(jnp.float32)

    model = environment_model(game, evaluator)

    def run(params: WorldParams, rho: jax.Array, decay: jax.Array, key: jax.Array, world: World) -> Any:
        search = sampled_search(
            model,
            num_simulations=simulations,
            num_samples=SAMPLES,
            backup=backup,
            drop_lowest=rho,
            depth_decay=decay,
        )
        return search(params, key, world)

    return jax.jit(run)


def choose(game: str, setting: Setting, roots: int) -> Choice:
    """Searches from `roots` starts of the game."""
    env = jaxmarl_envs.make(f"matrix/{game}", horizon=setting.horizon)
    payoff = np.asarray(env.default_params.payoff).ravel()
    reset_key, search_key = jax.random.split(seed_key(0))
    world = World(*jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, roots), env.default_params))
    params = WorldParams(env.default_params, jnp.float32(payoff.max() if setting.exact_leaves else 0.0))
    program = _program(setting.horizon, setting.simulations, setting.backup)
    found = program(params, jnp.float32(setting.drop_lowest), jnp.float32(setting.depth_decay), search_key, world)
    of_joint = payoff[np.asarray(found.actions) @ np.array([3, 1])]
    drawn = np.where(found.is_child, of_joint, -np.inf)
    q = np.where(np.asarray(found.visits) > 0, found.q, -np.inf)
    rows, best = np.arange(roots), drawn.max(-1)
    by_visits, by_q = (int((drawn[rows, slot] == best).sum()) for slot in (np.asarray(found.best), q.argmax(-1)))
    return Choice(by_visits, by_q, roots, float(found.value.mean()))
