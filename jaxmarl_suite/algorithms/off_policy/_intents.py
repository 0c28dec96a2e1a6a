"""Random intents: reward functions that are drawn and never trained, for learning behaviors without rewards.

Intent i is a network of the critics' context and the joint action (raw, actions in [-1, 1]) with ReLU layers and
PyTorch's initialization, biases included (Hu et al. 2023, "Unsupervised Behavior Extraction via Random Intent Priors",
arXiv 2310.18687). It depends on its key and its number only, not on how many there are.

Labels have mean 0 and standard deviation 1 over the whole dataset, then `scale` and `shift` are applied. The published
code divides by the variance and uses the true reward's moments instead, so it is not free of rewards.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.networks import Critics, make_critics

LEAST_STD = 1e-6
_CHUNK = 1024


@pytree_dataclass
class Intents:
    """N reward functions, and the moments of their labels on a dataset."""

    params: Any  # leaves [N, ...]
    mean: jax.Array  # [N]
    std: jax.Array  # [N]


def intent_network(context_size: int, action_size: int, hidden: Sequence[int]) -> Critics:
    """The network of intents; `values(params, context [B, D], action [B, X])` are their raw labels [N, B]."""
    return make_critics(context_size, action_size, num=1, hidden=hidden)


def draw_intents(network: Critics, num: int, key: jax.Array) -> Intents:
    """N random reward functions, with moments still to be measured. Consumes `key`."""

    def one(index: jax.Array) -> Any:
        return jax.tree.map(lambda x: x[0], network.init(jax.random.fold_in(key, index)))

    params = jax.vmap(one)(jnp.arange(num, dtype=jnp.int32))
    return Intents(params, jnp.zeros((num,), jnp.float32), jnp.ones((num,), jnp.float32))


def measured(network: Critics, intents: Intents, context: jax.Array, action: jax.Array) -> Intents:
    """The intents with the moments of their labels over a dataset [T, D], [T, X], in chunks of it."""
    size = action.shape[0]
    starts = jnp.arange(0, size, _CHUNK, dtype=jnp.int32)

    def total(of_labels: Any) -> jax.Array:
        def add(so_far: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
            rows = start + jnp.arange(min(_CHUNK, size), dtype=jnp.int32)
            at = jnp.minimum(rows, size - 1)
            values = of_labels(network.values(intents.params, context[at], action[at]))
            return so_far + jnp.where((rows < size)[None], values, 0.0).sum(-1), None

        return jax.lax.scan(add, jnp.zeros_like(intents.mean), starts)[0] / size

    mean = total(lambda values: values)
    variance = total(lambda values: jnp.square(values - mean[:, None]))
    return Intents(intents.params, mean, jnp.sqrt(variance))


def labels(
    network: Critics,
    intents: Intents,
    context: jax.Array,
    action: jax.Array,
    *,
    scale: jax.Array | float = 1.0,
    shift: jax.Array | float = 0.0,
) -> jax.Array:
    """[N, B] standardized rewards of the steps [B, D], [B, X]."""
    raw = network.values(intents.params, context, action)
    return scale * (raw - intents.mean[:, None]) / jnp.maximum(intents.std, LEAST_STD)[:, None] + shift
