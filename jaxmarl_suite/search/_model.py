"""What a search asks of a model of the task: two pure functions, learned or exact.

Axes: B searches side by side, N agents, A actions per agent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxmarl_envs.core import EnvSpec, documented

Params = Any
Embedding = Any


@documented
class Root(NamedTuple):
    """What a model says of the states that searches start from."""

    logits: jax.Array
    """[B, N, A] float32, of each agent's policy."""
    value: jax.Array
    """[B] float32, the team's expected discounted return."""
    embedding: Embedding
    """Leaves [B, ...]: what `recurrent` continues from."""
    legal: jax.Array
    """[B, N, A] bool, at least one action per agent. What is illegal is never searched at the root."""


@documented
class Prediction(NamedTuple):
    """What a model says of a joint action in a state, and of the state that it leads to."""

    reward: jax.Array
    """[B] float32, the team's reward."""
    discount: jax.Array
    """[B] float32, by which what follows counts less; 0 where the episode ended."""
    logits: jax.Array
    """[B, N, A] float32, of each agent's policy in the new state."""
    value: jax.Array
    """[B] float32, of the new state."""


@documented
class Model(NamedTuple):
    """A model of a team's task. Learned ones, environments (`environment_model`) and anybody's own are of this type."""

    n_agents: int
    """N."""
    num_actions: int
    """A."""
    root: Callable[[Params, jax.Array, Any], Root]
    """`(params, key, inputs) -> Root`. What `inputs` are is the model's own business: observations, states. Consumes
    the key."""
    recurrent: Callable[[Params, jax.Array, jax.Array, Embedding], tuple[Prediction, Embedding]]
    """`(params, key, actions [B, N] int32, embedding) -> (Prediction, embedding)`. Consumes the key."""


def check_discrete(spec: EnvSpec) -> None:
    """Refuses an environment whose actions cannot be enumerated or counted.

    Raises:
      ValueError: for continuous actions.
    """
    if not spec.is_discrete:
        raise ValueError(
            f"search needs discrete actions, and {spec.id!r} has continuous ones (action_dim={spec.action_dim})"
        )


def check_model(model: Model) -> None:
    """Refuses sizes that no team has.

    Raises:
      ValueError: naming the size.
    """
    for name in ("n_agents", "num_actions"):
        value = getattr(model, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"a model's {name} must be an integer of at least 1, got {value!r}")


def check_root(model: Model, root: Root) -> None:
    """Refuses, while a search is traced, what does not fit the model's sizes.

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
    """Refuses, while a search is traced, what does not fit the model's sizes.

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
