"""The study's test: every window once, for rules and for learned policies, and intervals over windows and seeds."""

from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.rag_serving import __main__ as study
from experiments.rag_serving import presets
from experiments.rag_serving.testing import learned_metrics, mean_interval, rule_metrics
from jaxmarl_suite.runner import Experiment, TrainOptions, evaluate, evaluate_rules, run
from tests.runner.runner_tools import tiny_config

SMALL = {"sessions": 900, "rounds": 30, "capacity": 8, "n_agents": 2}


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_rules_play_every_window():
    names = ("lru", "lfu-da")
    three = rule_metrics("rag/cache-L1", names, {**SMALL, "windows": 3})
    one = rule_metrics("rag/cache-L1", names, {**SMALL, "windows": 1})
    found = evaluate_rules("rag/cache-L1", names, env_options={**SMALL, "windows": 1}, episodes=1)
    assert three["lru"]["cost"].tolist() != three["lfu-da"]["cost"].tolist()
    for name in names:
        cost = three[name]["cost"]
        assert cost.shape == (3,) and len(set(cost.tolist())) == 3
        np.testing.assert_allclose(three[name]["return"], -30 * cost, rtol=1e-5)
        for metric in ("cost", "local_hit", "peer_hit"):
            assert one[name][metric][0] == pytest.approx(three[name][metric][0]) == pytest.approx(found[name][metric])


@pytest.mark.slow
def test_learned_policies_play_every_window(tmp_path: Path):
    options = TrainOptions(total_steps=12 * 32, seeds=2, evaluations=2, eval_episodes=4, absolute_episodes=0)
    experiment = Experiment("mappo", "rag/cache-L1", tiny_config("mappo"), {**SMALL, "windows": 2}, {}, options)
    run(experiment, run_dir=tmp_path / "run")
    tested = {"split": "test", "windows": 1}
    found = learned_metrics(tmp_path / "run", {**tested, "windows": 3})
    assert found["cost"].shape == (2, 3)
    best = [one for one in evaluate(tmp_path / "run", episodes=4, eval_env_options=tested) if one.policy == "best"]
    np.testing.assert_allclose([one.metrics["cost"] for one in best], found["cost"][:, 0], rtol=1e-5)


def test_intervals_are_over_windows_and_seeds():
    rng = np.random.default_rng(1)
    windows, seeds = rng.normal(size=200), rng.normal(size=(100, 1))
    only_windows = mean_interval(windows)
    assert only_windows.value == pytest.approx(windows.mean())
    half = (only_windows.high - only_windows.low) / 2
    assert half == pytest.approx(1.96 * windows.std() / 200**0.5, rel=0.1)
    both = mean_interval(seeds + windows)  # the variances of both means add up
    expected = 1.96 * (windows.var() / 200 + seeds.var() / 100) ** 0.5
    assert (both.high - both.low) / 2 == pytest.approx(expected, rel=0.1)
    assert mean_interval(np.full((3, 4), 2.0)).low == 2.0


def test_differences_are_paired_and_signed():
    level = presets.LEVELS["L0"]
    rules = {"lru": {"cost": np.array([0.8, 0.6])}, "lfu-da": {"cost": np.array([0.7, 0.5])}}
    found = {"cost": np.array([[0.65, 0.45], [0.65, 0.45]])}
    to_base, to_best, closed = study.compare(found, rules, level, bound=0.5)
    assert to_base == "-21.4 % [-21.4, -21.4]"  # 0.15 of 0.7 in every window
    assert to_best == "-8.3 % [-8.3, -8.3]" and closed == "+50.0 % [+50.0, +50.0]"
