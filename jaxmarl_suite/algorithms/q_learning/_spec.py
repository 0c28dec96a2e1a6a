"""Registers a method, given its parts, as an algorithm that learns online or from stored replay."""

import dataclasses
from collections.abc import Callable
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
from jaxmarl_suite.replay import (
    NO_ACTION,
    REWARD,
    Dataset,
    Recorded,
    join_streams,
    read_steps,
    read_windows,
    stored_blocks,
)

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

    return AlgorithmSpec(name, config, make, summary, takes_data=True, record=partial(to_recorded, parts))


def to_recorded(parts: Parts, config: QConfig, env: Environment, state: QState) -> Recorded:
    """Converts a learner's replay to a dataset, oldest steps first. Recurrent states are left out: they belong to one
    network.

    Raises:
      ValueError: nothing is stored yet.
    """
    learner = QLearning(*parts(config, env))
    layout, store = learner.layout(env), jax.tree.map(jnp.asarray, state.replay)
    windows = read_windows(layout, store.head, store.contents, stored_blocks(layout, store.head), layout.block_length)
    found = learner.to_sequences(windows)
    first = found.memory.last_action[:, None]
    later = jnp.where(found.steps.start[:, 1:, None], NO_ACTION, found.steps.action[:, :-1])
    streams: dict[str, Any] = {"last_action": jnp.concatenate([first, later], axis=1), "truncated": windows.truncated}
    streams |= {name: array for name, array in vars(found.steps).items() if name not in ("start", "reward")}
    streams[REWARD] = found.steps.reward
    items = jax.tree.map(np.asarray, streams)
    begins = np.ones(len(first), bool)
    if (
        not config.whole_episodes
    ):  # [blocks * E, L, ...] to [E, blocks * L, ...]: blocks of an environment are one stream
        items = {name: _by_environment(array, layout.num_envs) for name, array in items.items()}
        begins = (items["last_action"][:, 0] == NO_ACTION).all(-1)
    return join_streams(items, begins=begins, counts=items.pop("weight") > 0)


def _by_environment(array: np.ndarray, num_envs: int) -> np.ndarray:
    """Blocks [K E, L, ...] as streams [E, K L, ...]."""
    blocks = array.reshape(-1, num_envs, *array.shape[1:])
    return np.swapaxes(blocks, 0, 1).reshape(num_envs, -1, *array.shape[2:])


def read_stored(team: Team, dataset: Dataset) -> Sequences:
    """Cuts a dataset into sequences [M, L, ...] for `team`; memories are those of the start of an episode.

    With `whole_episodes`, each episode is a sequence, padded at its end; otherwise the steps are cut as they follow each
    other, and only the last sequence is padded.

    Raises:
      ValueError: the data does not fit (see `read_steps`), or an episode is longer than L with `whole_episodes`.
    """
    config, spec = team.config, team.agents.spec
    length, whole = config.rollout_length, config.whole_episodes
    first, steps = dataset.once(("sequences", spec, length, whole), lambda: _cut_steps(spec, length, whole, dataset))
    memory = dataclasses.replace(team.agents.initial_memory(first.shape[0]), last_action=first)
    return Sequences(memory, steps)


def _cut_steps(spec: EnvSpec, length: int, whole_episodes: bool, dataset: Dataset) -> tuple[jax.Array, Steps]:
    """`(last actions before each sequence [M, N], steps [M, L, ...])`."""
    found = read_steps(dataset, spec)
    rows, counts = _sequence_rows(np.asarray(found["episode"]), length, whole_episodes, dataset)
    episode = np.asarray(found["episode"])[rows]
    start = np.zeros(rows.shape, bool)
    start[:, 1:] = episode[:, 1:] != episode[:, :-1]

    def cut(name: str) -> jax.Array:
        if name not in found:
            return jnp.zeros((*rows.shape, 0), jnp.float32)
        return jnp.asarray(found[name])[rows]

    names = ("obs", "state", "mask", "action", "terminated", "next_obs", "next_state", "next_mask")
    weight = jnp.asarray(counts, jnp.float32)
    steps = Steps(**{n: cut(n) for n in names}, start=jnp.asarray(start), reward=cut(REWARD), weight=weight)
    first = jnp.asarray(found["last_action"])[rows[:, 0]]
    return first, steps.without_padding() if whole_episodes else steps


def _sequence_rows(
    episode: np.ndarray, length: int, whole_episodes: bool, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """`(rows, counts)` [M, L]: steps of each sequence, and which of them count; padding repeats the last one."""
    size = len(episode)
    if whole_episodes:
        first = np.flatnonzero(np.diff(episode, prepend=-1))
        lengths = np.diff(first, append=size)
        if lengths.max() > length:
            raise ValueError(
                f"stored replay {str(dataset.path)!r} has an episode of {lengths.max()} steps, longer than rollout_length "
                f"{length}, which whole_episodes needs"
            )
    else:
        first = np.arange(0, size, length)
        lengths = np.minimum(size - first, length)
    step = np.arange(length)
    return first[:, None] + np.minimum(step, lengths[:, None] - 1), step < lengths[:, None]
