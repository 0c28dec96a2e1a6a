"""Stored experience as training data of a world model, and as starts of its episodes.

Axes: B windows, L steps of a window, H history, G entries of the state, N agents.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, pytree_dataclass

from jaxmarl_suite.replay import Windows, next_observed
from jaxmarl_suite.worldmodels._environment import Starts
from jaxmarl_suite.worldmodels._model import encode_actions
from jaxmarl_suite.worldmodels._normalizer import Normalizer
from jaxmarl_suite.worldmodels._outcomes import OutcomeSequences
from jaxmarl_suite.worldmodels._states import Segments


@pytree_dataclass
class Played:
    """What is stored of a step."""

    action: jax.Array  # [*, N, ...] as the environment took it
    reward: jax.Array  # [*] float32, of the team


@pytree_dataclass
class Seen:
    """What is stored of an observation, in the task's units."""

    state: jax.Array  # [*, G] float32
    obs: jax.Array  # [*, N, *obs_shape] float32; [*, N, 0] where observations are a known function of the state


def _episodes(windows: Windows) -> jax.Array:
    """[B, L] int32: the number of ends in the window before each step."""
    ended = (windows.terminated | windows.truncated).astype(jnp.int32)
    return jnp.cumsum(ended, axis=1, dtype=jnp.int32) - ended


def read_segments(spec: EnvSpec, normalizer: Normalizer, windows: Windows) -> Segments:
    """Training data of a model of states, from windows of `Played` and `Seen`.

    Terminal states are not stored, and no episode goes on from one: they are not targets.
    """
    before = jax.tree.map(lambda x: x[:, :-1], windows.observed)
    after: Any = next_observed(windows)
    return Segments(
        state=normalizer.normalize(before.state),
        after=normalizer.normalize(after.state),
        action=encode_actions(spec, windows.steps.action),
        episode=_episodes(windows),
        is_valid=windows.is_stored & windows.is_known & ~windows.terminated,
    )


def read_sequences(spec: EnvSpec, normalizer: Normalizer, windows: Windows) -> OutcomeSequences:
    """Training data of a model of outcomes, from windows of `Played` and `Seen`."""
    episode = _episodes(windows)
    new = episode[:, 1:] != episode[:, :-1]
    return OutcomeSequences(
        state=normalizer.normalize(windows.observed.state[:, :-1]),
        action=encode_actions(spec, windows.steps.action),
        reward=windows.steps.reward,
        terminated=windows.terminated,
        start=jnp.concatenate([jnp.ones_like(new[:, :1]), new], axis=1),
        is_valid=windows.is_stored,
    )


def read_starts(spec: EnvSpec, windows: Windows) -> Starts:
    """The last step of each window as the start of an episode in the model, with the history in the window."""
    episode = _episodes(windows)
    known = episode == episode[:, -1:]
    action = encode_actions(spec, windows.steps.action)[:, :-1]
    return Starts(
        state=windows.observed.state[:, :-1],
        action=jnp.where(known[:, :-1, None, None], action, 0.0),
        is_known=known,
    )
