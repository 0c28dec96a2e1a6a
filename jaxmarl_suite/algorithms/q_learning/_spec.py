"""Registers a method, given its parts, as an algorithm that learns online or from stored replay."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import Environment, EnvSpec

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.q_learning._agents import Sequences, Steps
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._core import QState, make_q_learning
from jaxmarl_suite.algorithms.q_learning._learner import QLearning
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team
from jaxmarl_suite.replay import Dataset, read_windows, stored_blocks

Parts = Callable[[Any, Environment], tuple[Team, Method]]


def q_spec(name: str, config: type[QConfig], parts: Parts, summary: str, *, is_mixing: bool = True) -> AlgorithmSpec:
    """The spec of the algorithm called `name`.

    Args:
      name: its registered name.
      config: its config type.
      parts: `(config, env) -> (team, method)`.
      summary: one line for the listing.
      is_mixing: whether it needs at least two agents.
    """

    def make(config: Any, env: Environment, has_data: bool) -> tuple[Phase, ...]:
        if is_mixing and env.spec.n_agents < 2:
            raise ValueError(
                f"{name} mixes the utilities of at least 2 agents, but {env.spec.id!r} has 1; iql and vdn take one"
            )
        if has_data and config.prioritized:
            raise ValueError("stored replay is drawn uniformly, which prioritized=True does not allow")
        team, method = parts(config, env)
        algorithm = make_q_learning(config, env, team, method, stored=has_data)
        return (Phase("q", algorithm, data=partial(read_stored, team) if has_data else None),)

    return AlgorithmSpec(name, config, make, summary, takes_data=True, record=partial(to_items, parts))


_FIRST = "last_action"


def to_items(parts: Parts, config: QConfig, env: Environment, state: QState) -> dict[str, np.ndarray]:
    """Converts a learner's replay to stored items [M, ...], oldest first. Recurrent states are left out: they belong to
    one network.
    """
    learner = QLearning(*parts(config, env))
    layout, store = learner.layout(env), jax.tree.map(jnp.asarray, state.replay)
    windows = read_windows(layout, store.head, store.contents, stored_blocks(layout, store.head), layout.block_length)
    found = learner.to_sequences(windows)
    return jax.tree.map(np.asarray, {_FIRST: found.memory.last_action, **vars(found.steps)})


def expected_shapes(spec: EnvSpec, length: int) -> Mapping[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of one stored item by name."""
    n, obs, mask = spec.n_agents, (spec.n_agents, *spec.obs_shape), (spec.n_agents, spec.num_actions)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "obs": (obs, jnp.float32),
        "state": ((spec.state_size,), jnp.float32),
        "mask": (mask, jnp.bool_),
        "start": ((), jnp.bool_),
        "action": ((n,), jnp.int32),
        "reward": ((n,), jnp.float32),
        "terminated": ((), jnp.bool_),
        "next_obs": (obs, jnp.float32),
        "next_state": ((spec.state_size,), jnp.float32),
        "next_mask": (mask, jnp.bool_),
        "weight": ((), jnp.float32),
    }
    return {_FIRST: ((n,), jnp.int32)} | {k: ((length, *shape), dtype) for k, (shape, dtype) in shapes.items()}


def read_stored(team: Team, dataset: Dataset) -> Sequences:
    """Converts stored items to sequences [M, L, ...] for `team`; memories are those of the start of an episode.

    Raises:
      ValueError: the data is from another environment, or its sequences have a different length.
    """
    config, spec = team.config, team.agents.spec
    if dataset.about.get("env") != spec.id:
        raise ValueError(
            f"stored replay {str(dataset.path)!r} is of {dataset.about.get('env')!r}, got environment {spec.id!r}"
        )
    if dataset.about.get("rollout_length") != config.rollout_length:
        raise ValueError(
            f"stored replay {str(dataset.path)!r} holds sequences of {dataset.about.get('rollout_length')} steps, got "
            f"rollout_length {config.rollout_length}"
        )
    leaves = {}
    for name, (shape, dtype) in expected_shapes(spec, config.rollout_length).items():
        array = dataset.items.get(name)
        if array is None and 0 in shape:
            array = np.zeros((dataset.size, *shape), dtype)
        if array is None or array.shape[1:] != shape or array.dtype != dtype:
            found = "nothing" if array is None else f"{array.dtype} {array.shape[1:]}"
            raise ValueError(
                f"stored replay {str(dataset.path)!r} has {found} for {name!r}, {spec.id!r} needs "
                f"{jnp.dtype(dtype).name} {shape}"
            )
        leaves[name] = jnp.asarray(array)
    last_action = leaves.pop(_FIRST)
    memory = dataclasses.replace(team.agents.initial_memory(dataset.size), last_action=last_action)
    return Sequences(memory, Steps(**leaves))
