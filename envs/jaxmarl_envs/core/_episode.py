"""Recorded episodes: random play, recording, saving and loading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core._cheap import random_legal
from jaxmarl_envs.core._environment import Environment, Params, Wrapper
from jaxmarl_envs.core._keys import seed_key
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass

_FIELDS = ("actions", "rewards", "terminated", "truncated")
Act = Callable[[jax.Array, TimeStep], jax.Array]


@pytree_dataclass
class Episode:
    """A record of T steps as NumPy arrays, with everything needed to draw it."""

    states: Any  # [T + 1, ...] states of the innermost environment
    actions: jax.Array  # [T, N] int32 or [T, N, D] float32
    rewards: jax.Array  # [T, N] float32
    terminated: jax.Array  # [T] bool
    truncated: jax.Array  # [T] bool

    def __len__(self) -> int:
        """T, the number of steps."""
        return len(self.actions)

    def save(self, path: str | Path) -> Path:
        """Writes an `.npz` file, which `load_episode` reads; returns its path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"an episode is stored as .npz, got {str(path)!r}")
        arrays: dict[str, Any] = {
            f"states{jax.tree_util.keystr(p)}": np.asarray(x)
            for p, x in jax.tree_util.tree_leaves_with_path(self.states)
        }
        arrays |= {name: np.asarray(getattr(self, name)) for name in _FIELDS}
        np.savez_compressed(path, **arrays)
        return path


def load_episode(env: Environment, path: str | Path) -> Episode:
    """The episode of `env` stored at `path`.

    Raises:
      ValueError: the stored states are not those of `env`.
    """
    innermost = getattr(env, "unwrapped", env)
    state, _ = jax.eval_shape(innermost.reset, seed_key(0), innermost.default_params)
    leaves, structure = jax.tree_util.tree_flatten_with_path(state)
    names = [f"states{jax.tree_util.keystr(p)}" for p, _ in leaves]
    with np.load(path) as stored:
        found = sorted(name for name in stored.files if name.startswith("states"))
        if found != sorted(names):
            raise ValueError(f"{str(path)!r} holds no episode of {env.spec.id!r}: {found}, expected {sorted(names)}")
        states = jax.tree.unflatten(structure, [stored[name] for name in names])
        return Episode(states, **{name: stored[name] for name in _FIELDS})


def random_action(spec: EnvSpec, key: jax.Array, action_mask: jax.Array) -> jax.Array:
    """Uniformly random legal actions: [*, N] int32, or [*, N, D] float32 within `action_bounds`. Consumes `key`.

    Padded entries of continuous actions are set to the middle of the bounds.

    Args:
      spec: spec of the environment.
      key: random key.
      action_mask: [*, N, A] bool, or [*, N, D] for continuous actions, as in a `TimeStep`.
    """
    if spec.is_discrete:
        return random_legal(key, action_mask)
    noise = jax.random.uniform(key, action_mask.shape, jnp.float32)
    low, high = (bound if np.isfinite(bound) else float(np.sign(bound)) for bound in spec.action_bounds)
    return jnp.where(action_mask, low + noise * (high - low), 0.5 * (low + high))


def record_episode(
    env: Environment, key: jax.Array, act: Act | None = None, *, params: Params = None, max_steps: int = 1000
) -> Episode:
    """Records one episode of `env`, up to its end or `max_steps`. Consumes `key`.

    Args:
      env: one instance, not batched.
      key: random key.
      act: `(key, timestep) -> action`, called from Python once per step, so it may keep state; random if None.
      params: traced parameters; `env.default_params` if None.
      max_steps: where to stop if the episode has no end.
    """
    params = env.default_params if params is None else params
    choose = act or jax.jit(lambda key, timestep: random_action(env.spec, key, timestep.action_mask))
    reset_key, key = jax.random.split(key)
    state, timestep = jax.jit(env.reset)(reset_key, params)
    step = jax.jit(env.step)
    states = [_innermost_state(env, state)]
    steps: list[tuple[jax.Array, ...]] = []
    while len(steps) < max_steps and not (steps and timestep.done):
        act_key, step_key, key = jax.random.split(key, 3)
        action = jnp.asarray(choose(act_key, timestep))
        state, timestep = step(step_key, state, action, params)
        states.append(_innermost_state(env, state))
        steps.append((action, timestep.reward, timestep.terminated, timestep.truncated))

    def stack(*rows: Any) -> np.ndarray:
        return np.stack([np.asarray(row) for row in rows])

    columns: dict[str, Any] = {name: stack(*column) for name, column in zip(_FIELDS, zip(*steps))}
    return Episode(jax.tree.map(stack, *states), **columns)


def _innermost_state(env: Any, state: Any) -> Any:
    while isinstance(env, Wrapper):
        env, state = env.env, env.inner_state(state)
    return state
