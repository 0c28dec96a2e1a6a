"""A batch of environments with auto-reset: the one place where episodes are restarted."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass


@pytree_dataclass
class VectorState:
    """State of E environments. Every array has a leading [E]; the runner shards exactly these."""

    inner: Any  # [E, ...] environment states
    timestep: TimeStep  # [E, ...] what was last shown


@dataclasses.dataclass(frozen=True)
class VectorEnv:
    """E copies of an environment stepped together, restarted as they end.

    Auto-reset sits after `vmap`: `step` shows the first observation of the next episode and keeps what the old one
    ended in as `final_obs`, `final_state` and `final_mask`.
    """

    env: Environment
    num_envs: int

    def __post_init__(self) -> None:
        """Refuses an empty batch."""
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")

    @property
    def spec(self) -> EnvSpec:
        """Static description of one instance."""
        return self.env.spec

    def reset(self, key: jax.Array, params: Params) -> VectorState:
        """E fresh episodes. Consumes `key`."""
        inner, timestep = jax.vmap(self.env.reset, (0, None))(environment_keys(key, self.num_envs), params)
        return VectorState(inner, timestep)

    def step(self, key: jax.Array, state: VectorState, action: jax.Array, params: Params) -> VectorState:
        """All environments one step on, those that ended restarted. `action`: [E, N] or [E, N, D]. Consumes `key`."""
        step_keys = environment_keys(key, self.num_envs)
        reset_keys = environment_keys(key, self.num_envs, start=self.num_envs)
        inner, timestep = jax.vmap(self.env.step, (0, 0, 0, None))(step_keys, state.inner, action, params)
        fresh_inner, fresh = jax.vmap(self.env.reset, (0, None))(reset_keys, params)
        done = timestep.done

        def select(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), new, old)

        return VectorState(
            inner=jax.tree.map(select, fresh_inner, inner),
            timestep=timestep.replace(
                obs=select(fresh.obs, timestep.obs),
                state=select(fresh.state, timestep.state),
                action_mask=select(fresh.action_mask, timestep.action_mask),
            ),
        )


def environment_keys(key: jax.Array, num: int, *, start: int = 0) -> jax.Array:
    """[num] keys, different for different `start + i`, made from `key` without hashing. Consumes `key`.

    Counter-based generators promise independent streams for any two different keys, and `key` is itself a hash; on CPU
    splitting it would cost more than many an environment.
    """
    index = jnp.arange(start + 1, start + num + 1, dtype=jnp.uint32)  # from 1: `key` itself is not handed on
    data = jax.random.key_data(key)
    data = jnp.tile(data, (num, 1)).at[:, -1].set(data[-1] ^ index)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
