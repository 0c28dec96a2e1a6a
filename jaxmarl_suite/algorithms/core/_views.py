"""Views: the inputs of a network. Methods differ by the views of their actor and critic."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.ops import ActionHead


class View(NamedTuple):
    """A function that encodes a network's inputs, and their sizes.

    `encode(obs [*B, N, ...], state [*B, G], action [*B, N, ...])` returns `x [*B, rows, size]`, the input of the
    recurrent part, and `extra [*B, outputs, extra_size]`, which joins after it.
    """

    size: int
    extra_size: int
    rows: int
    """Recurrent states per environment: N, or 1."""
    outputs: int
    """Outputs per environment: N, or 1."""
    encode: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _flat_obs(spec: EnvSpec, obs: jax.Array) -> jax.Array:
    return obs.reshape(*obs.shape[: obs.ndim - len(spec.obs_shape)], math.prod(spec.obs_shape))


def _context(spec: EnvSpec, obs: jax.Array, state: jax.Array) -> jax.Array:
    """[*B, 1, D]: the global state, or all observations if there is none."""
    if spec.state_size:
        return state[..., None, :]
    flat = _flat_obs(spec, obs)
    return flat.reshape(*flat.shape[:-2], 1, -1)


def _context_size(spec: EnvSpec) -> int:
    return spec.state_size or spec.n_agents * math.prod(spec.obs_shape)


def local_view(spec: EnvSpec, *, agent_id: bool) -> View:
    """Each agent's own observation, with a one-hot of its index if parameters are shared."""
    n = spec.n_agents
    size = math.prod(spec.obs_shape) + (n if agent_id else 0)

    def encode(obs: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = _flat_obs(spec, obs)
        if agent_id:
            x = jnp.concatenate([x, jnp.broadcast_to(jnp.eye(n, dtype=jnp.float32), (*x.shape[:-1], n))], axis=-1)
        return x, jnp.zeros((*x.shape[:-1], 0), jnp.float32)

    return View(size, 0, n, n, encode)


def central_view(spec: EnvSpec) -> View:
    """The global state (all observations if there is none), once per environment."""

    def encode(obs: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = _context(spec, obs, state)
        return x, jnp.zeros((*x.shape[:-1], 0), jnp.float32)

    return View(_context_size(spec), 0, 1, 1, encode)


def sequential_view(spec: EnvSpec, head: ActionHead, *, local_context: bool = False) -> View:
    """The states of Γ(M) for all k: a context, the one-hot of k, and `head.embed` of the actions a_1..a_{k-1} (the
    others are zero).

    The recurrent part sees the context once per environment step, independent of N. With `local_context` agent k's
    context is its own observation instead of the global state, so that only its predecessors' actions are privileged.
    """
    n = spec.n_agents

    def encode(obs: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = _flat_obs(spec, obs) if local_context else _context(spec, obs, state)
        embedded = head.embed(action)  # [*B, N, X]
        visible = jnp.tril(jnp.ones((n, n), jnp.float32), -1)[..., None]  # [k, j, 1]: predecessors j < k only
        visible = visible.reshape((1,) * (embedded.ndim - 2) + visible.shape)
        prefix = (visible * embedded[..., None, :, :]).reshape(*embedded.shape[:-1], n * head.embed_size)
        index = jnp.broadcast_to(jnp.eye(n, dtype=jnp.float32), (*embedded.shape[:-1], n))
        return x, jnp.concatenate([index, prefix], axis=-1)

    size = math.prod(spec.obs_shape) if local_context else _context_size(spec)
    return View(size, n + n * head.embed_size, n if local_context else 1, n, encode)
