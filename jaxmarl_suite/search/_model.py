"""The interface between a search and a model of the task: two pure functions, learned or exact.

Axes: B searches in a batch, N agents, A actions per agent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxmarl_envs.core import EnvSpec, documented

Params = Any
Embedding = Any


@documented
class Root(NamedTuple):
    """A model's output for the states that searches start from."""

    logits: jax.Array
    """[B, N, A] float32, logits of each agent's policy."""
    value: jax.Array
    """[B] float32, the team's expected discounted return."""
    embedding: Embedding
    """Leaves [B, ...]: what `recurrent` continues from."""
    legal: jax.Array
    """[B, N, A] bool, with at least one action per agent. Illegal actions are never searched at the root."""


@documented
class Prediction(NamedTuple):
    """A model's output for a joint action in a state, and for the next state."""

    reward: jax.Array
    """[B] float32, the team's reward."""
    discount: jax.Array
    """[B] float32, discount of the next state's value; 0 if the episode ended."""
    logits: jax.Array
    """[B, N, A] float32, logits of each agent's policy in the next state."""
    value: jax.Array
    """[B] float32, value of the next state."""


@documented
class Model(NamedTuple):
    """A model of a team's task: a learned one, an environment (`environment_model`), or your own."""

    n_agents: int
    """N, number of agents."""
    num_actions: int
    """A, number of actions per agent."""
    root: Callable[[Params, jax.Array, Any], Root]
    """`(params, key, inputs) -> Root`. The model decides what `inputs` are, e.g. observations or states. Consumes the
    key."""
    recurrent: Callable[[Params, jax.Array, jax.Array, Embedding], tuple[Prediction, Embedding]]
    """`(params, key, actions [B, N] int32, embedding) -> (Prediction, embedding)`. Consumes the key."""


def check_discrete(spec: EnvSpec) -> None:
    """Rejects an environment with continuous actions.

    Raises:
      ValueError: continuous actions.
    """
    if not spec.is_discrete:
        raise ValueError(
            f"search needs discrete actions, and {spec.id!r} has continuous ones (action_dim={spec.action_dim})"
        )


def check_model(model: Model) -> None:
    """Rejects invalid sizes.

    Raises:
      ValueError: naming the size.
    """
    for name in ("n_agents", "num_actions"):
        value = getattr(model, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"a model's {name} must be an integer of at least 1, got {value!r}")


def check_root(model: Model, root: Root) -> None:
    """Rejects arrays that do not match the model's sizes, while a search is traced.

    Raises:
      ValueError: naming the array, its shape and the one that is needed.
    """
    batch = root.value.shape[:1]
    wanted = {"value": batch, "logits": (*batch, model.n_agents, model.num_actions)}
    wanted["legal"] = wanted["logits"]
    for name, shape in wanted.items():
        if getattr(root, name).shape != shape or not batch:
            raise ValueError(f"a model's root needs {name} of shape {shape or ('B',)}, got {getattr(root, name).shape}")


def check_prediction(model: Model, prediction: Prediction, batch: int) -> None:
    """Rejects arrays that do not match the model's sizes, while a search is traced.

    Raises:
      ValueError: naming the array, its shape and the one that is needed.
    """
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(("reward", "discount", "value"), (batch,))
    wanted["logits"] = (batch, model.n_agents, model.num_actions)
    for name, shape in wanted.items():
        if getattr(prediction, name).shape != shape:
            raise ValueError(
                f"a model's recurrent function needs {name} of shape {shape}, got {getattr(prediction, name).shape}"
            )
