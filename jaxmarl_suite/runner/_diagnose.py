"""Testing the world model of a run against its environment."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import seed_key

from jaxmarl_suite.algorithms import ActContext
from jaxmarl_suite.runner._devices import in_32_bits
from jaxmarl_suite.runner._evaluate import Trained, check_lane, restore_policies


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The world model of one lane beside its environment. M samples, T steps, H history, G entries of the state."""

    algorithm: str
    env: str
    lane: int
    env_steps: int
    """Environment steps of the lane that the model was trained on."""
    true: np.ndarray
    """[M, H + T, G] states of the environment."""
    predicted: np.ndarray
    """[M, T, G] states of the model, from the first H true ones and the true actions, without correction."""
    error: np.ndarray
    """[M, T, G] absolute differences, in standard deviations of the states; 0 for entries that never vary."""
    gains: np.ndarray
    """[N] part of the effect of each agent's action that the model reproduces; empty for discrete actions."""
    seconds: float
    """Wall time of the measurement, without compilation."""


@in_32_bits
def diagnose(
    run_dir: str | Path,
    *,
    lane: int = 0,
    samples: int = 20,
    steps: int = 15,
    seed: int = 0,
    warn: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Tests the model in the newest checkpoint of one lane: open loops of T steps, and the effects of single actions.

    Args:
      run_dir: a run of a method with a world model; the run may be unfinished.
      lane: which lane.
      samples: M, tests from random places of fresh episodes, played with the lane's policy.
      steps: T.
      seed: of the episodes and of the model's samples.
      warn: called with warnings about unreadable checkpoints.

    Raises:
      ValueError: the run has no such lane or no world model, or sizes that cannot work.
    """
    waves = restore_policies(run_dir, warn=warn)
    check_lane(lane, [one.index for trained in waves for one in trained.lanes])
    trained, position = next(
        (trained, at) for trained in waves for at, one in enumerate(trained.lanes) if one.index == lane
    )
    spec = trained.group.spec
    if spec.diagnose is None:
        raise ValueError(f"{spec.name} has no world model that could be tested")
    quality, seconds = _measure(trained, position, samples, steps, seed)
    known = np.asarray(quality.weight) > 0
    if not known.any():
        raise ValueError(
            f"no episode of {trained.group.env.spec.id!r} lasted for the {steps} steps of a test; ask for fewer"
        )
    return Diagnosis(
        algorithm=spec.name,
        env=trained.group.env.spec.id,
        lane=lane,
        env_steps=trained.env_steps,
        true=np.asarray(quality.true)[known],
        predicted=np.asarray(quality.predicted)[known],
        error=np.asarray(quality.error)[known],
        gains=np.asarray(quality.gains),
        seconds=seconds,
    )


def _measure(trained: Trained, position: int, samples: int, steps: int, seed: int) -> tuple[Any, float]:
    """`(ModelQuality, seconds)`."""
    lane, group = trained.lanes[position], trained.group
    assert group.spec.diagnose is not None
    state = jax.tree.map(lambda x: x[position], trained.state)
    zero = jnp.zeros((), jnp.int32)
    ctx = ActContext(hp=lane.config, env_params=lane.env_params, clock=zero, horizon=zero + 1)
    test = partial(group.spec.diagnose, lane.config, group.env, samples=samples, steps=steps)
    compiled = jax.jit(test).lower(state, ctx, seed_key(seed)).compile()
    start = time.perf_counter()
    quality = jax.block_until_ready(compiled(state, ctx, seed_key(seed)))
    return quality, time.perf_counter() - start
