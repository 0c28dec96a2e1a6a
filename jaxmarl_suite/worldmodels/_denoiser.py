"""The network of the diffusion model: a code of the visible actions, and a U-Net over the time axis.

Axes: B batch axes, H history states, G entries of the state, N agents, X entries of an action.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import check_sizes, layer_norm
from jaxmarl_suite.worldmodels._layers import (
    MLP,
    Attention,
    Conv3,
    GatedFeedForward,
    SelfAttentionBlock,
    Upsample,
    dense,
    group_norm,
)

Params = Any


@dataclasses.dataclass(frozen=True)
class DenoiserSizes:
    """Widths and depths. The defaults are DIMA's, about 14 million parameters."""

    channels: int = 64
    """Channels of the U-Net, on every level."""
    levels: int = 3
    """Levels of the U-Net: time is halved between them, so that 2^(levels - 1) must divide the history's length plus 1."""
    blocks: int = 2
    """Residual blocks of a level on the way down; one more on the way up."""
    latents: int = 32
    """Latent vectors that read the actions."""
    latent_width: int = 512
    """Entries of a latent vector."""
    depth: int = 2
    """Self-attention layers over the latents."""
    heads: int = 8
    """Heads of those layers."""
    head_width: int = 64
    """Entries of a head, also in the attention that reads the actions."""
    width: int = 256
    """Width of everything else: embedded actions, noise, condition."""
    frequencies: int = 128
    """Frequencies of the embedded noise level."""

    def __post_init__(self) -> None:
        """Rejects sizes below 1."""
        check_sizes("denoiser", 0, depth=self.depth)
        check_sizes("denoiser", **{k: v for k, v in dataclasses.asdict(self).items() if k != "depth"})


SMALL_DENOISER = DenoiserSizes(
    channels=32, latents=8, latent_width=64, depth=1, heads=4, head_width=16, width=64, frequencies=32
)
"""Sizes for CPUs."""


@documented
class Denoiser(NamedTuple):
    """The network F of a diffusion model, before preconditioning."""

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key. The last layer starts at zero, and so does F."""
    apply: Callable[..., jax.Array]
    """`(params, x [*B, G], noise [*B], history [*B, H, G], actions [*B, H, N, X], shown [*B, N] bool) -> F [*B, G]`. The
    last of the actions are those of the current step, of which the hidden agents' have no effect at all; all earlier
    ones are visible."""


class _ActionCode(nn.Module):
    """A perceiver over one token per agent and step: [*B, H, N, X] with masks [*B, H, N] -> [*B, width]."""

    sizes: DenoiserSizes

    @nn.compact
    def __call__(self, actions: jax.Array, visible: jax.Array) -> jax.Array:
        sizes, (steps, agents) = self.sizes, actions.shape[-3:-1]
        tokens = MLP((sizes.width, sizes.width))(actions)
        of_agent = self.param("agent", nn.initializers.normal(0.02), (agents, sizes.width), jnp.float32)
        of_step = self.param("step", nn.initializers.normal(0.02), (steps, sizes.width), jnp.float32)
        tokens = tokens + jnp.broadcast_to(of_agent[None] + of_step[:, None], tokens.shape)
        batch = actions.shape[:-3]
        tokens = tokens.reshape(*batch, steps * agents, sizes.width)
        mask = visible.reshape(*batch, 1, steps * agents)
        latents = self.param("latents", nn.initializers.normal(1.0), (sizes.latents, sizes.latent_width), jnp.float32)
        latents = jnp.broadcast_to(latents, (*batch, *latents.shape))
        read = Attention(1, sizes.head_width, sizes.latent_width)
        latents = latents + read(layer_norm(latents), layer_norm(tokens), mask)
        latents = latents + GatedFeedForward()(layer_norm(latents))
        everything = jnp.ones((*(1,) * len(batch), 1, 1), bool)
        for _ in range(sizes.depth):
            latents = SelfAttentionBlock(sizes.heads, sizes.head_width)(latents, everything)
        return dense(sizes.width)(layer_norm(latents.mean(axis=-2)))


class _Adaptive(nn.Module):
    """A group normalization whose scale and shift depend on the condition."""

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        scale, shift = jnp.split(dense(2 * x.shape[-1])(condition)[..., None, :], 2, axis=-1)
        return group_norm(x) * (1.0 + scale) + shift


class _ResidualBlock(nn.Module):
    """Two convolutions with adaptive normalization; the second starts at zero. [*B, L, D] -> [*B, L, C]."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        kept = x if x.shape[-1] == self.channels else dense(self.channels)(x)
        x = Conv3(self.channels)(nn.silu(_Adaptive()(x, condition)))
        x = Conv3(self.channels, zero=True)(nn.silu(_Adaptive()(x, condition)))
        return kept + x


class _UNet(nn.Module):
    """[*B, L, G] -> [*B, L, G] over time, given a condition [*B, width]."""

    sizes: DenoiserSizes

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        sizes, state_size = self.sizes, x.shape[-1]
        x = Conv3(sizes.channels)(x)
        kept = [x]
        for level in range(sizes.levels):
            if level:
                x = Conv3(sizes.channels, stride=2)(x)
                kept.append(x)
            for _ in range(sizes.blocks):
                x = _ResidualBlock(sizes.channels)(x, condition)
                kept.append(x)
        for _ in range(2):
            x = _ResidualBlock(sizes.channels)(x, condition)
        for level in range(sizes.levels):
            if level:
                x = Upsample(sizes.channels)(x)
            for _ in range(sizes.blocks + 1):
                x = _ResidualBlock(sizes.channels)(jnp.concatenate([x, kept.pop()], axis=-1), condition)
        return Conv3(state_size, zero=True)(nn.silu(group_norm(x, affine=True)))


def _frequencies(number: int) -> np.ndarray:
    """[number] float32, standard normal and the same in every network."""
    return np.random.default_rng(0).standard_normal(number).astype(np.float32)


class _Denoiser(nn.Module):
    sizes: DenoiserSizes

    @nn.compact
    def __call__(
        self, x: jax.Array, noise: jax.Array, history: jax.Array, actions: jax.Array, shown: jax.Array
    ) -> jax.Array:
        sizes = self.sizes
        visible = jnp.ones(actions.shape[:-1], bool).at[..., -1, :].set(shown)
        frequency = _frequencies(sizes.frequencies)
        angle = 2 * jnp.pi * noise[..., None] * jnp.broadcast_to(frequency, (*noise.shape, sizes.frequencies))
        waves = dense(sizes.width)(jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1))
        condition = MLP((sizes.width, sizes.width))(waves + _ActionCode(sizes)(actions, visible))
        together = jnp.concatenate([history, x[..., None, :]], axis=-2)
        return _UNet(sizes)(together, condition)[..., -1, :]


def make_denoiser(
    state_size: int, n_agents: int, action_size: int, *, history: int = 3, sizes: DenoiserSizes = SMALL_DENOISER
) -> Denoiser:
    """DIMA's network. The U-Net sees H history states and the noisy state as a short sequence; only its last entry counts.

    Args:
      state_size: G.
      n_agents: N.
      action_size: X.
      history: H.
      sizes: widths and depths.

    Raises:
      ValueError: a size below 1, or a history that the U-Net's levels do not divide.
    """
    check_sizes("denoiser", state_size=state_size, n_agents=n_agents, action_size=action_size, history=history)
    divisor = 2 ** (sizes.levels - 1)
    if (history + 1) % divisor:
        raise ValueError(
            f"denoiser: history plus 1 must be a multiple of {divisor} for a U-Net of {sizes.levels} levels, got "
            f"history {history}; accepted: {divisor - 1 or divisor}, {2 * divisor - 1}, ..."
        )
    module = _Denoiser(sizes)

    def init(key: jax.Array) -> Params:
        return module.init(
            key,
            jnp.zeros((1, state_size)),
            jnp.zeros((1,)),
            jnp.zeros((1, history, state_size)),
            jnp.zeros((1, history, n_agents, action_size)),
            jnp.ones((1, n_agents), bool),
        )

    def apply(
        params: Params, x: jax.Array, noise: jax.Array, history: jax.Array, actions: jax.Array, shown: jax.Array
    ) -> jax.Array:
        found: Any = module.apply(params, x, noise, history, actions, shown)
        return found

    return Denoiser(init, apply)
