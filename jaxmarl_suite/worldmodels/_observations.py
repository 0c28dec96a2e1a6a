"""Observations from states: exact where they are a known function of the state, or learned with a discrete code.

Axes: B batch axes, G entries of the state, N agents, K tokens, D entries of a code, C codes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes
from jaxmarl_suite.worldmodels._layers import MLP

Params = Any


@documented
class ObservationDecoder(NamedTuple):
    """What agents observe in a state. Known functions have no parameters, and a loss of zero."""

    is_learned: bool
    """Whether there is anything to learn."""
    init: Callable[[jax.Array], Params]
    """`key -> (weights, codes)`. Consumes the key. Gradients are taken of the weights only."""
    decode: Callable[[Params, jax.Array, jax.Array], jax.Array]
    """`((weights, codes), normalized state [*B, G], state [*B, G]) -> observations [*B, N, *obs_shape]`."""
    loss: Callable[..., tuple[jax.Array, Any]]
    """`(weights, codes, normalized states [B, G], observations [B, N, *obs_shape]) -> (loss, (metrics, new codes))`."""


@pytree_dataclass
class Codes:
    """A codebook as running averages of the vectors that were assigned to each code (van den Oord et al. 2017, app. A)."""

    vectors: jax.Array  # [C, D] float32
    count: jax.Array  # [C] float32, average number of assigned vectors
    total: jax.Array  # [C, D] float32, average sum of them


def nearest_code(codes: Codes, x: jax.Array) -> jax.Array:
    """[*B] int32, the code nearest to each vector [*B, D]."""
    matches = x @ codes.vectors.T
    size = jnp.broadcast_to(jnp.sum(jnp.square(codes.vectors), axis=-1), matches.shape)
    return jnp.argmin(size - 2 * matches, axis=-1).astype(jnp.int32)


def move_codes(codes: Codes, x: jax.Array, index: jax.Array, decay: float) -> Codes:
    """The codebook after one more batch of vectors [M, D] with their codes [M]; unused codes keep their vectors."""
    chosen = jax.nn.one_hot(index, codes.count.shape[0], dtype=jnp.float32)
    count = decay * codes.count + (1 - decay) * chosen.sum(0)
    total = decay * codes.total + (1 - decay) * chosen.T @ x
    vectors = jnp.where(count[:, None] > 1e-3, total / jnp.maximum(count, 1e-3)[:, None], codes.vectors)
    return Codes(vectors, count, total)


class _Coder(nn.Module):
    """Layers before and after the codes."""

    tokens: int
    code_size: int
    width: int
    out_size: int

    def setup(self) -> None:
        self.encoder = MLP((self.width, self.width, self.tokens * self.code_size), "gelu")
        self.decoder = MLP((self.width, self.width, self.out_size), "gelu")

    def encode(self, x: jax.Array) -> jax.Array:
        code = self.encoder(x)
        return code.reshape(*code.shape[:-1], self.tokens, self.code_size)

    def decode(self, code: jax.Array) -> jax.Array:
        return self.decoder(code.reshape(*code.shape[:-2], self.tokens * self.code_size))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.decode(self.encode(x))


def exact_observations(observe: Callable[[jax.Array], jax.Array]) -> ObservationDecoder:
    """Observations as a known function of the state.

    Args:
      observe: `state [G] -> observations [N, *obs_shape]`, such as an environment's `observe`.
    """

    def decode(params: Params, normalized: jax.Array, state: jax.Array) -> jax.Array:
        several = observe
        for _ in range(state.ndim - 1):
            several = jax.vmap(several)
        return several(state)

    def loss(weights: Params, codes: Any, normalized: jax.Array, obs: jax.Array) -> tuple[jax.Array, Any]:
        return jnp.zeros((), jnp.float32), ({}, codes)

    return ObservationDecoder(False, lambda key: ((), ()), decode, loss)


def coded_observations(
    state_size: int,
    n_agents: int,
    obs_shape: tuple[int, ...],
    *,
    tokens: int = 12,
    code_size: int = 64,
    num_codes: int = 256,
    width: int = 256,
    decay: float = 0.8,
    commitment: float = 10.0,
) -> ObservationDecoder:
    """DIMA's decoder: a state becomes a few discrete codes, from which the observations of all agents are decoded.

    Loss: L1 of the observations, plus `commitment` times the squared distance of the vectors from their codes. Gradients
    pass the codes unchanged; the codebook follows its vectors.

    Args:
      state_size: G.
      n_agents: N.
      obs_shape: of one agent.
      tokens: K.
      code_size: D.
      num_codes: C.
      width: of the layers.
      decay: of the codebook's averages, per step.
      commitment: weight of the vectors' distance from their codes.

    Raises:
      ValueError: a size below 1.
    """
    out_size = n_agents * _product(obs_shape)
    check_sizes(
        "observation decoder",
        state_size=state_size,
        n_agents=n_agents,
        tokens=tokens,
        code_size=code_size,
        num_codes=num_codes,
        width=width,
    )
    module = _Coder(tokens, code_size, width, out_size)

    def init(key: jax.Array) -> Params:
        weights_key, codes_key = jax.random.split(key)
        vectors = jax.random.normal(codes_key, (num_codes, code_size), jnp.float32)
        codes = Codes(vectors, jnp.zeros((num_codes,), jnp.float32), jnp.zeros_like(vectors))
        return module.init(weights_key, jnp.zeros((1, state_size))), codes

    def apply(weights: Params, x: jax.Array, method: str) -> jax.Array:
        found: Any = module.apply(weights, x, method=method)
        return found

    def decode(params: Params, normalized: jax.Array, state: jax.Array) -> jax.Array:
        weights, codes = params
        code = codes.vectors[nearest_code(codes, apply(weights, normalized, "encode"))]
        return apply(weights, code, "decode").reshape(*state.shape[:-1], n_agents, *obs_shape)

    def loss(weights: Params, codes: Codes, normalized: jax.Array, obs: jax.Array) -> tuple[jax.Array, Any]:
        vectors = apply(weights, normalized, "encode")
        index = nearest_code(codes, vectors)
        code = codes.vectors[index]
        passed = vectors + jax.lax.stop_gradient(code - vectors)
        error = jnp.abs(apply(weights, passed, "decode") - obs.reshape(obs.shape[0], out_size)).mean()
        away = jnp.mean(jnp.square(vectors - jax.lax.stop_gradient(code)))
        flat = jax.lax.stop_gradient(vectors.reshape(-1, code_size))
        codes = move_codes(codes, flat, index.ravel(), decay)
        return error + commitment * away, ({"obs_loss": error, "commitment": away}, codes)

    return ObservationDecoder(True, init, decode, loss)


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
