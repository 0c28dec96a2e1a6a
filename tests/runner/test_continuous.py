"""PPO methods on a task with continuous actions: whole runs, interrupted ones, their evaluation."""

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import pytest
from jaxmarl_envs import EnvSpec, TimeStep, pytree_dataclass, restart, transition
from jaxmarl_envs.core import _registry
from runner_tools import UPDATE_STEPS, UPDATES, Recorder, assert_same_arrays, final_arrays, metrics, rows, tiny_config

from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Experiment, Interrupted, TrainOptions, resume, run

# PPO methods that learn in a world model need a global state, which the task here does not have.
NAMES = [
    name
    for name in algorithms.names()
    if hasattr(config := algorithms.get(name).config, "initial_std") and not hasattr(config, "horizon")
]


@pytree_dataclass
class PullState:
    """Where the load is."""

    load: jax.Array  # [] float32
    t: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Pull:
    """Two agents pull a load by two numbers each, the second of which does nothing, for three steps; pays -load²."""

    default_params: Any = dataclasses.field(default=(), compare=False)
    spec = EnvSpec("numbers/pull", 2, (1,), action_dim=2, action_bounds=(-0.5, 0.5), episode_limit=3)

    def reset(self, key: jax.Array, params: Any) -> tuple[PullState, TimeStep]:
        """The load at a random place."""
        load = jax.random.uniform(key, (), minval=-1.0)
        return PullState(load, jnp.int32(0)), restart(self.spec, obs=jnp.full((2, 1), load))

    def step(self, key: jax.Array, state: PullState, action: jax.Array, params: Any) -> tuple[PullState, TimeStep]:
        """The load moves by the sum of the first numbers; out of bounds, all is lost."""
        load = state.load + action[:, 0].sum()
        reward = jnp.where((jnp.abs(action) <= 0.5).all(), -jnp.square(load), jnp.nan)
        after = PullState(load, state.t + 1)
        return after, transition(self.spec, obs=jnp.full((2, 1), load), reward=reward, terminated=after.t >= 3)


@pytest.fixture
def pull() -> Iterator[None]:
    """`numbers/pull`, by name."""
    jaxmarl_envs.register(jaxmarl_envs.Family("numbers", lambda variant: Pull(), ("pull",)))
    yield
    del _registry._registered["numbers"]


@pytest.mark.parametrize("name", [n if n == "tad-ppo" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_a_run_and_an_interrupted_one(name: str, pull: None, few_at_a_time: None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval_episodes": 4, "absolute_episodes": 8, "log_rows": UPDATES, "evaluations": 4}
    experiment = Experiment(
        name,
        "numbers/pull",
        tiny_config(name, initial_std=1.0),  # a third of the draws lies out of bounds
        {},
        {},
        TrainOptions(total_steps=UPDATES * UPDATE_STEPS, checkpoint_seconds=1e6, **options),
    )
    whole = run(experiment, run_dir=tmp_path / "whole")
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGTERM) if calls == 5 else None)
    with pytest.raises(Interrupted):
        run(experiment, run_dir=tmp_path / "cut", listener=stop)
    cut = resume(tmp_path / "cut", experiment=experiment)
    assert_same_arrays(final_arrays(cut), final_arrays(whole))
    assert rows(cut) == rows(whole)
    for kind in ("train", "eval", "absolute"):
        found = [row["return"] for row in metrics(whole, kind)]
        assert found and all(value is None or value <= 0.0 for value in found), "a NaN is not"


def test_the_four_methods_of_the_family() -> None:
    assert set(NAMES) == {"ippo", "mappo", "happo", "tad-ppo"}
