"""MAPPO learns to cache: on windows that it was not trained on it is below LRU, and below play without learning."""

import jax
import pytest

from experiments.rag_serving.testing import learned_metrics, mean_interval, rule_metrics
from jaxmarl_suite import runner
from jaxmarl_suite.runner import TrainOptions

SETTINGS = {
    "num_envs": 32,
    "rollout_length": 32,
    "epochs": 4,
    "minibatches": 2,
    "learning_rate": 1e-3,
    "entropy": 0.003,
}
TASK = {"n_agents": 2, "capacity": 16, "rounds": 128, "windows": 8}


@pytest.mark.slow
@pytest.mark.optimized
def test_caching_better_than_lru(tmp_path):
    options = TrainOptions(total_steps=150 * 1024, seeds=2, evaluations=2, eval_episodes=32, absolute_episodes=0)
    with jax.numpy_dtype_promotion("standard"):
        run = runner.train(
            "mappo", "rag/cache-L1", config=SETTINGS, env_options=TASK, options=options, run_dir=tmp_path / "run"
        )
        learned = learned_metrics(run, {"split": "test"})["cost"]
        lru = rule_metrics("rag/cache-L1", ("lru",), {**TASK, "split": "test"})["lru"]["cost"]
    assert learned.shape == (2, 8)
    assert mean_interval(learned - lru).high < 0  # the same windows
