"""Devices: what `configure` sets up, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_STARTS = """
import sys
from jaxmarl_suite.runner import configure
configure(2)
import jax
from jaxmarl_suite import algorithms, train, TrainOptions
config = algorithms.get("happo").config(share_parameters=False, num_envs=4, rollout_length=1, epochs=1)
mode, folder = sys.argv[1:]
for number in range(3):
    options = TrainOptions(total_steps=8, seeds=8, first_seed=8 * number, lane_mode=mode, eval_episodes=1, evaluations=1)
    train("happo", "matrix/climbing", config=config, options=options, run_dir=f"{folder}/{number}")
print("devices", jax.device_count())
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["map", "vmap"])
def test_agents_with_networks_of_their_own_start_on_two_devices(mode: str, tmp_path: Path) -> None:
    """Batched LAPACK calls would hang here on a machine of two cores: both devices wait for threads that both hold."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    if os.environ.get("COMPILER") != "users":
        env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # quick to compile, with the same calls of LAPACK
    command = [sys.executable, "-c", _STARTS, mode, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["devices", "2"]
