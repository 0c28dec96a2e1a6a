"""What is measured of a run: its area over random play, ratios of such areas, and the bias of its critics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import VectorEnv, seed_key
from numpy.typing import NDArray

from experiments._study import random_return
from jaxmarl_suite.algorithms.off_policy import gem, td3
from jaxmarl_suite.analysis import Run
from jaxmarl_suite.runner import Trained, restore_policies

LONG, SHOWN = 1_000, 200
"""Steps of an episode in which critics are judged, and how many of its first states count: behind the last of them are 800
more, whose discount is 0.0003 at the end."""


def area(run: Run) -> NDArray[np.float64]:
    """[L] mean return over all evaluations, above that of uniform actions."""
    return run.curve().values.mean(axis=1) - random_return(run.env)


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    """Ratio of means with its 90 % bootstrap interval over seeds; none where theirs may be at or below zero."""
    rng = np.random.default_rng(0)
    above, below = (x[rng.integers(len(x), size=(10_000, len(x)))].mean(axis=1) for x in (ours, theirs))
    if np.quantile(below, 0.05) <= 0:
        return "–"
    low, high = np.quantile(above / below, [0.05, 0.95])
    return f"{ours.mean() / theirs.mean():.2f} [{low:.2f}, {high:.2f}]"


def bias(path: Path, step: int, episodes: int = 20) -> NDArray[np.float64]:
    """[L] mean of Q - G over states and noise-free episodes, divided by the mean of |G|; Q the mean of all critics.

    G is the discounted return of the actors after `step` environment steps in episodes that go on for LONG steps.
    """
    found = []
    for trained in restore_policies(path, step=step):
        one = _judge(trained, episodes)
        for i, key in enumerate(jax.random.split(seed_key(0), len(trained.lanes))):
            found.append(float(one(jax.tree.map(lambda x, i=i: jnp.asarray(x[i]), trained.state.learners), key)))
    return np.array(found)


def _judge(trained: Trained, episodes: int) -> Callable[[Any, jax.Array], jax.Array]:
    """A compiled `(learned, key) -> bias []`."""
    config = trained.group.config
    env = jaxmarl_envs.make(trained.group.env.spec.id, limit=LONG)
    team, method = {"gem": gem, "td3-star": td3}[trained.group.spec.name].parts(config, env)
    vector = VectorEnv(env, episodes)

    def backwards(after: jax.Array, reward: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = reward + config.gamma * after
        return value, value

    @jax.jit
    def one(learners: Any, key: jax.Array) -> jax.Array:
        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            seen = state.timestep
            action = method.greedy(policy, seen.obs, seen.action_mask)
            value = team.values(learners.critic.params, seen.obs, seen.state[:, : team.spec.state_size], action).mean(0)
            state = vector.step(key, state, team.actions.to_env(action), env.default_params)
            return state, (value, state.timestep.reward.mean(-1))

        policy, (start, run) = method.policy(learners.params), jax.random.split(key)
        state = vector.reset(start, env.default_params)
        _, (value, reward) = jax.lax.scan(step, state, jax.random.split(run, LONG))
        following = jax.lax.scan(backwards, jnp.zeros(episodes), reward, reverse=True)[1]
        return (value - following)[:SHOWN].mean() / jnp.abs(following)[:SHOWN].mean()

    return one
