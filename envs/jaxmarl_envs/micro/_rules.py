"""Simple policies for the allies, as functions of the observation: `rule(timestep) -> action [N] int32` of one
instance.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.core import EnvSpec, TimeStep
from jaxmarl_envs.micro._show import DIRECTIONS

Array = jax.Array
Rule = Callable[[TimeStep], Array]
_STOP = 1


def rules_of(spec: EnvSpec, start: np.ndarray) -> Mapping[str, Rule]:
    """The rules by name. `start`: [U, 2] cells, allies first; [0, 2] if starts are random."""
    ahead = np.zeros(2)
    if len(start):
        ahead = start[spec.n_agents :].mean(0) - start[: spec.n_agents].mean(0)
    return {name: functools.partial(_attack, spec, ahead, name) for name in ("nearest", "weakest")}


def _attack(spec: EnvSpec, ahead: np.ndarray, preference: str, timestep: TimeStep) -> Array:
    """[N] int32: attack the `nearest` or the `weakest` enemy that may be attacked; medivacs heal accordingly.

    If there is none, walk to the nearest enemy in sight; otherwise in the direction `ahead` [2].
    """
    blocks = {block.name: block for block in spec.entities}
    mask, count = timestep.action_mask, spec.num_actions - 6

    def feature(name: str, of: str) -> Array:
        """[N, M or N-1]; zeros if there is no such feature."""
        block = blocks[of]
        seen = block.read(timestep.obs)
        return seen[..., block.features.index(name)] if name in block.features else jnp.zeros_like(seen[..., 0])

    def worth(of: str) -> Array:
        return feature("distance", of) if preference == "nearest" else feature("hp", of) + feature("shield", of)

    value = worth("enemies")
    if "is medivac" in blocks["self"].features and "allies" in blocks:
        heals = feature("is medivac", "self") > 0  # [N, 1]
        value = jnp.where(heals, _by_number(worth("allies"), count), value)
    target = 6 + jnp.where(mask[:, 6:], value, jnp.inf).argmin(-1)

    distance = feature("distance", "enemies")
    nearest = jnp.where(distance > 0, distance, jnp.inf).argmin(-1, keepdims=True)
    offset = [jnp.take_along_axis(feature(name, "enemies"), nearest, -1)[:, 0] for name in ("dx", "dy")]
    sees = (distance > 0).any(-1)
    dx, dy = (jnp.where(sees, near, far) for near, far in zip(offset, ahead.astype(np.float32)))
    ways = jnp.stack([dx * x + dy * y for x, y in DIRECTIONS], -1)  # [N, 4] progress in each direction
    best = jnp.where(mask[:, 2:6], ways, -jnp.inf)
    walk = jnp.where((best > 0).any(-1), 2 + best.argmax(-1), _STOP)

    action = jnp.where(mask[:, 6:].any(-1), target, walk)
    return jnp.where(mask[:, 0], 0, action).astype(jnp.int32)


def _by_number(of_others: Array, count: int) -> Array:
    """[N, count]: features of allies 0..count-1, from those of the N - 1 others; zeros for the agent itself."""
    n = of_others.shape[0]
    padded = jnp.concatenate([of_others, jnp.zeros((n, 1), jnp.float32)], 1)
    number = np.arange(n)
    place = np.where(number < number[:, None], number, np.where(number == number[:, None], n - 1, number - 1))
    found = jnp.take_along_axis(padded, place, 1)
    return jnp.pad(found, ((0, 0), (0, max(count - n, 0))))[:, :count]
