"""A batch of environments with auto-reset: the only place where episodes are restarted."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxmarl_envs.core._environment import Environment, Params
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass

_PARTS = 16  # of a batch, reset at a time where resets are costly: more than end in most steps, and far fewer than all


@pytree_dataclass
class VectorState:
    """State of E environments. Every array has a leading [E], over which the runner shards it."""

    inner: Any  # [E, ...] environment states
    timestep: TimeStep  # [E, ...] the latest timesteps


@dataclasses.dataclass(frozen=True)
class VectorEnv:
    """E copies of an environment that step together and restart as they end.

    Auto-reset comes after `vmap`: `step` returns the first observation of the next episode and keeps the last one of
    the old episode as `final_obs`, `final_state` and `final_mask`.

    By default every instance is reset in every step, and the result is used where an episode ended, which is fastest
    for cheap resets. With `spec.reset_is_costly`, only instances whose episode ended are reset, in a `while_loop` with
    the same keys: the episodes are the same, but `step` has no reverse-mode gradient.
    """

    env: Environment
    num_envs: int

    def __post_init__(self) -> None:
        """Rejects an empty batch."""
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")

    @property
    def spec(self) -> EnvSpec:
        """Static description of one instance."""
        return self.env.spec

    def reset(self, key: jax.Array, params: Params) -> VectorState:
        """Starts E new episodes. Consumes `key`."""
        inner, timestep = jax.vmap(self.env.reset, (0, None))(environment_keys(key, self.num_envs), params)
        return VectorState(inner, timestep)

    def step(self, key: jax.Array, state: VectorState, action: jax.Array, params: Params) -> VectorState:
        """Steps all environments, and restarts those that ended. `action`: [E, N] or [E, N, D]. Consumes `key`."""
        step_keys = environment_keys(key, self.num_envs)
        reset_keys = environment_keys(key, self.num_envs, start=self.num_envs)
        inner, timestep = jax.vmap(self.env.step, (0, 0, 0, None))(step_keys, state.inner, action, params)
        restart = self._restart_ended if self.spec.reset_is_costly else self._restart
        return restart(reset_keys, VectorState(inner, timestep), params)

    def _restart(self, keys: jax.Array, state: VectorState, params: Params) -> VectorState:
        """`state` with a new episode where one ended: every instance is reset, and the results are selected."""
        fresh = VectorState(*jax.vmap(self.env.reset, (0, None))(keys, params))
        done = state.timestep.done

        def select(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), new, old)

        return _show(jax.tree.map(select, _shown(fresh), _shown(state)), state.timestep)

    def _restart_ended(self, keys: jax.Array, state: VectorState, params: Params) -> VectorState:
        """The same, but resets only instances whose episode ended, a part of the batch at a time until none is left."""
        if self.num_envs == 1:  # a branch costs less than a loop
            done = state.timestep.done[0]
            return jax.lax.cond(done, lambda: self._restart(keys, state, params), lambda: state)
        size = -(-self.num_envs // _PARTS)

        def restart_some(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            waiting, shown = carry
            (index,) = jnp.nonzero(waiting, size=size, fill_value=self.num_envs)  # past the end: dropped below
            fresh = VectorState(*jax.vmap(self.env.reset, (0, None))(keys.at[index].get(mode="clip"), params))
            shown = jax.tree.map(lambda new, old: old.at[index].set(new, mode="drop"), _shown(fresh), shown)
            return waiting.at[index].set(False, mode="drop"), shown

        carry = state.timestep.done, _shown(state)
        _, shown = jax.lax.while_loop(lambda carry: carry[0].any(), restart_some, carry)
        return _show(shown, state.timestep)


def _shown(state: VectorState) -> Any:
    """The parts that the next episode replaces: all but the reward and the end of the step just taken."""
    return state.inner, state.timestep.obs, state.timestep.state, state.timestep.action_mask


def _show(shown: Any, timestep: TimeStep) -> VectorState:
    inner, obs, state, action_mask = shown
    return VectorState(inner, timestep.replace(obs=obs, state=state, action_mask=action_mask))


def environment_keys(key: jax.Array, num: int, *, start: int = 0) -> jax.Array:
    """[num] keys, different for different `start + i`, made from `key` without hashing. Consumes `key`.

    Counter-based generators give independent streams for any two different keys, and `key` is itself a hash; on CPU
    splitting it would cost more than stepping many environments.
    """
    index = jnp.arange(start + 1, start + num + 1, dtype=jnp.uint32)  # from 1, so that `key` itself is not reused
    data = jax.random.key_data(key)
    data = jnp.tile(data, (num, 1)).at[:, -1].set(data[-1] ^ index)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
