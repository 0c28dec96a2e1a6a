"""A method whose first phase learns a library from data without acting, and whose second one plays with it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import TimeStep, VectorEnv, VectorState, pytree_dataclass
from runner_tools import rows

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import (  # fmt: skip
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    episode_metrics,
    hyperparameters,
)
from jaxmarl_suite.replay import SCHEMA, write_vault
from jaxmarl_suite.runner import Experiment, TrainOptions

OFFLINE_UPDATES = 10
ENV_STEPS = 4  # per update of the second phase
PLAY_UPDATES = 6


@hyperparameters
class LibraryConfig:
    """Sizes, and one number to sweep over."""

    num_envs: int = ENV_STEPS
    offline_updates: int = OFFLINE_UPDATES
    entries: int = 3
    """Policies in the library."""
    rate: float = 0.5


@pytree_dataclass
class Library:
    """What the first phase leaves."""

    weights: jax.Array  # [K]


@pytree_dataclass
class LibraryState:
    """State of the first phase."""

    library: Library
    own: jax.Array  # [] untrained
    key: jax.Array  # []


@pytree_dataclass
class OnlineState:
    """State of the second phase."""

    library: Library  # never changed
    own: jax.Array  # []
    env: VectorState  # [E, ...]
    key: jax.Array  # []


def make(config: LibraryConfig, env: Any, has_data: bool) -> tuple[Phase, ...]:
    """Both phases, whether or not there are data: the second alone may be run."""
    vector = VectorEnv(env, config.num_envs)

    def init_library(key: jax.Array, ctx: Context) -> LibraryState:
        weights_key, own_key, key = jax.random.split(key, 3)
        return LibraryState(Library(jax.random.normal(weights_key, (config.entries,))), jax.random.normal(own_key), key)

    def learn_library(state: LibraryState, ctx: Context) -> tuple[LibraryState, Any]:
        draw_key, key = jax.random.split(state.key)
        drawn = ctx.data[jax.random.randint(draw_key, (config.entries,), 0, ctx.data.shape[0])]
        weights = state.library.weights + ctx.hp.rate * (drawn - state.library.weights)
        return LibraryState(Library(weights), state.own, key), {
            "mean": weights.mean(),
            "clock": ctx.clock.astype(jnp.float32),
        }

    def init(key: jax.Array, ctx: Context) -> OnlineState:
        library_key, own_key, env_key, key = jax.random.split(key, 4)
        library = Library(jax.random.normal(library_key, (config.entries,)))
        return OnlineState(library, jax.random.normal(own_key), vector.reset(env_key, ctx.env_params), key)

    def begin(library: Library, key: jax.Array, ctx: Context) -> OnlineState:
        fresh = init(key, ctx)
        return OnlineState(library, fresh.own, fresh.env, fresh.key)

    def play(state: OnlineState, ctx: Context) -> tuple[OnlineState, Any]:
        choice_key, env_key, key = jax.random.split(state.key, 3)
        chosen = jax.random.choice(choice_key, state.library.weights)
        env_state = vector.step(
            env_key, state.env, jnp.full((config.num_envs, 2), chosen > 0, jnp.int32), ctx.env_params
        )
        own = state.own + ctx.hp.rate * (chosen - state.own)
        learner = {
            "own": own,
            "clock": ctx.clock.astype(jnp.float32),
            "played": ctx.played(config.num_envs).astype(jnp.float32),
        }
        return OnlineState(state.library, own, env_state, key), Metrics(episode_metrics(env_state.timestep), learner)

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Any]:
        return jnp.broadcast_to(ctx.clock % 3, timestep.obs.shape[:2]), carry

    def policy(state: Any) -> Any:
        return {"library": state.library, "own": state.own}

    def no_memory(n: int) -> jax.Array:
        return jnp.zeros((n, 0))

    return (
        Phase(
            "library",
            Algorithm(init_library, learn_library, policy, no_memory, act, env_steps_per_update=0),
            updates=config.offline_updates,
            data=lambda dataset: jnp.asarray(dataset.items["x"]),
            artifact=lambda state: state.library,
        ),
        Phase("play", Algorithm(init, play, policy, no_memory, act, config.num_envs), begin=begin),
    )


def write_data(path: Path) -> Path:
    """Numbers to learn from, as stored data of `counting/countdown`."""
    numbers = np.linspace(-1, 1, 7, dtype=np.float32)
    about = {"schema": SCHEMA, "env": "counting/countdown", "env_options": {}, "size": len(numbers)}
    write_vault(path, {"x": numbers}, about)
    return path


@contextlib.contextmanager
def registered(name: str = "library-toy", make: Any = make, **settings: Any) -> Iterator[None]:
    """The method by name."""
    algorithms.register(AlgorithmSpec(name, LibraryConfig, make, takes_data=True, **settings))
    try:
        yield
    finally:
        del algorithms.core._registry._registered[name]


def library(data: Path | None, *, env: str = "counting/countdown", grid: Any = None, **options: Any) -> Experiment:
    """Ten updates without a step, then six of play."""
    settings = {name: options.pop(name) for name in ("offline_updates", "entries", "rate") if name in options}
    chosen = {
        "total_steps": PLAY_UPDATES * ENV_STEPS,
        "evaluations": 2,
        "eval_episodes": 4,
        "absolute_episodes": 4,
        "log_rows": 5,
        "checkpoint_seconds": 1e6,
        "data": None if data is None else str(data),
    }
    return Experiment("library-toy", env, settings, {}, grid or {}, TrainOptions(**{**chosen, **options}))


def of_phase(run_dir: Path, phase: str) -> dict[Any, Any]:
    """The rows of a phase, without the step that tells where in the run they are."""
    found = {key: row for key, row in rows(run_dir).items() if row["phase"] == phase}
    return {key: {name: value for name, value in row.items() if name != "step"} for key, row in found.items()}
