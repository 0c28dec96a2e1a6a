"""From a method's parts to a registered algorithm that learns from play or from stored replay."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import Environment, EnvSpec

from jaxmarl_suite.algorithms._base import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms._q_agents import Memory, Sequences, Steps
from jaxmarl_suite.algorithms._q_config import QConfig
from jaxmarl_suite.algorithms._q_learning import make_q_learning
from jaxmarl_suite.algorithms._q_methods import Method, Team
from jaxmarl_suite.replay import Dataset

Parts = Callable[[Any, Environment], tuple[Team, Method]]


def q_spec(name: str, config: type[QConfig], parts: Parts, summary: str, *, is_mixing: bool = True) -> AlgorithmSpec:
    """The algorithm called `name`.

    Args:
      name: as it is registered.
      config: its config type.
      parts: `(config, env) -> (team, method)`.
      summary: one line for the listing.
      is_mixing: needs at least two agents.
    """

    def build(config: Any, env: Environment, *, stored: bool) -> tuple[Phase, ...]:
        if is_mixing and env.spec.n_agents < 2:
            raise ValueError(
                f"{name} mixes the utilities of at least 2 agents, but {env.spec.id!r} has 1; iql and vdn take one"
            )
        return make_q_learning(config, env, *parts(config, env), stored=stored)

    def make(config: Any, env: Environment) -> tuple[Phase, ...]:
        return build(config, env, stored=False)

    def make_stored(config: Any, env: Environment) -> tuple[Phase, ...]:
        if config.prioritised:
            raise ValueError("stored replay is drawn uniformly, which prioritised=True does not allow")
        return build(config, env, stored=True)

    return AlgorithmSpec(name, config, make, summary, make_stored=make_stored, read_stored=read_stored, record=to_items)


_FIRST = "last_action"


def to_items(state: Any) -> dict[str, np.ndarray]:
    """A learner's replay as stored items [M, ...], oldest first. Memories are left out: they are one network's own."""
    ring = state.replay
    size = ring.experience.steps.action.shape[1] if bool(ring.is_full) else int(ring.current_index)
    shift = int(ring.current_index) if bool(ring.is_full) else 0
    items = {_FIRST: ring.experience.memory.last_action, **vars(ring.experience.steps)}
    return {name: np.roll(np.asarray(array)[0, :size], -shift, axis=0) for name, array in items.items()}


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


def read_stored(config: QConfig, env: Environment, dataset: Dataset) -> Sequences:
    """Stored items as sequences [M, L, ...] for `env`; memories start at zero.

    Raises:
      ValueError: where the data is of another environment, or sequences have another length.
    """
    spec = env.spec
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
    hidden = jnp.zeros((dataset.size, spec.n_agents, config.width if config.recurrent else 0), jnp.float32)
    return Sequences(Memory(hidden, last_action), Steps(**leaves))
