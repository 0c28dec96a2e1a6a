"""What is measured of libraries: returns of all their policies, and how far apart these act."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite import analysis
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic
from jaxmarl_suite.algorithms.off_policy.uber import behavior_team
from jaxmarl_suite.analysis import Run
from jaxmarl_suite.replay import read_vault
from jaxmarl_suite.runner import Trained, restore_policies

STATES = 512
"""Of the data, at which actions are compared."""


def interval(values: NDArray[np.float64], digits: int = 1) -> str:
    """Mean over seeds with its 95 % bootstrap interval."""
    e = analysis.bootstrap_estimate([values], np.mean)
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def member_returns(run: Run) -> NDArray[np.float64]:
    """[L, N] true returns of all policies of each lane's library, in the last evaluation of the first phase."""
    rows = [row for row in run.rows if row.kind == "eval" and row.phase == "library"]
    last = {row.lane: row.metrics for row in sorted(rows, key=lambda row: row.update)}
    num = int(run.config["num_intents"])
    return np.array([[last[lane.lane][f"library-{i}/return"] for i in range(num)] for lane in run.lanes])


def action_distances(path: Path, data: Path) -> NDArray[np.float64]:
    """[L] mean distance between the actions of two policies of a lane's library, over pairs and states of the data."""
    obs = np.asarray(read_vault(data).items["obs"])
    obs = jnp.asarray(obs[np.random.default_rng(0).choice(len(obs), STATES, replace=False)])
    return np.concatenate([_distances(trained, obs) for trained in restore_policies(path)])


def _distances(trained: Trained, obs: jax.Array) -> NDArray[np.float64]:
    config: Any = trained.group.config
    team = behavior_team(config, trained.group.env)

    @jax.jit
    def one(library: Any) -> jax.Array:
        actions = jax.vmap(lambda params: deterministic(team, params, obs))(library)  # [N, S, n, A]
        apart = (actions[:, None] - actions[None]).reshape(config.num_intents, config.num_intents, len(obs), -1)
        pairs = max(config.num_intents * (config.num_intents - 1), 1)
        return jnp.linalg.norm(apart, axis=-1).mean(-1).sum() / pairs

    libraries = trained.final["library"]
    return np.array([float(one(jax.tree.map(lambda x, i=i: x[i], libraries))) for i in range(len(trained.lanes))])


def is_reached(final: NDArray[np.float64], *, tier: str, mean: float, random: float) -> str:
    """Whether the mean of the seeds reaches that of medium data, or 90 % of the way from random play to expert data.

    Args:
      final: [L] returns.
      tier: of the data.
      mean: return of the data.
      random: return of uniform actions.
    """
    wanted = mean if tier == "medium" else random + 0.9 * (mean - random)
    return "yes" if final.mean() >= wanted else f"no ({wanted:.1f})"
