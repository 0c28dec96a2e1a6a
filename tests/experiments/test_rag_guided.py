"""MAPPO that begins as an imitation of a rule: its network, its phases, and what it refuses."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import make
from jaxmarl_envs.rag._interface import ENTRY, OWN, POOL, TEAM

from experiments.rag_serving import guided
from jaxmarl_suite.runner import Experiment, TrainOptions, run

SMALL = {"sessions": 900, "windows": 2, "n_agents": 2, "capacity": 16, "requests": 12}


def test_claims_read_their_own_request():
    size = OWN + POOL * ENTRY + TEAM + 2
    network = guided.entry_network(size, guided.GuidedConfig(hidden=(8,)), 1.0)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (1, 3, 2, size))

    def logits(x):
        carry = network.initial_carry((3, 2))
        y, after = network.unroll(params, carry, x, jnp.zeros((1, 3, 2, 0)), jnp.zeros((1, 3), bool))
        assert y.shape == (1, 3, 2, 25) and after.shape == (1, *carry.shape)
        return np.asarray(y)

    before = logits(x)
    for k in range(POOL):
        start = OWN + k * ENTRY
        changed = logits(x.at[..., start : start + ENTRY].add(1.0)) != before
        expected = np.zeros(25, bool)
        expected[1 + 3 * k : 4 + 3 * k] = True
        assert (changed == expected).all()
    assert (logits(x.at[..., -1].add(1.0)) != before).all()  # the agent's index


@pytest.mark.slow
def test_it_imitates_and_goes_on(tmp_path: Path):
    config = guided.GuidedConfig(
        num_envs=4, rollout_length=16, epochs=4, hidden=(16,), imitation_fraction=0.5, imitation_learning_rate=1e-2
    )
    options = TrainOptions(total_steps=24 * 64, evaluations=2, eval_episodes=2, absolute_episodes=0, log_rows=24)
    with jax.numpy_dtype_promotion("standard"):
        run(Experiment(guided.NAME, "rag/serve-L2", config, SMALL, {}, options), run_dir=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [row["metrics"] for row in rows if row["kind"] == "train"]
    agreement = [metrics["learner/agreement"] for metrics in trained if "learner/agreement" in metrics]
    assert len(agreement) == 12 and agreement[-1] > 0.5 > agreement[0]
    assert sum("learner/clip_fraction" in metrics for metrics in trained) == 12


def test_refuses():
    with pytest.raises(
        ValueError, match="needs a serving task with the rule 'balanced-sjf\\+lfu-da', got 'matrix/xor'"
    ):
        guided.make(guided.GuidedConfig(), make("matrix/xor"))
    with pytest.raises(ValueError, match="recurrent must be False"):
        guided.GuidedConfig(recurrent=True)
    with pytest.raises(ValueError, match="imitation_fraction must lie between 0 and 1, got 1"):
        guided.GuidedConfig(imitation_fraction=1.0)
