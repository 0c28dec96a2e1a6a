"""What JAX is set to otherwise in a process changes neither programs nor checkpoints."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from runner_tools import assert_same_arrays, final_arrays, toy

from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Experiment, TrainOptions, evaluate, run
from jaxmarl_suite.runner._programs import eval_keys, phase_keys

SHORT = TrainOptions(total_steps=64, evaluations=1, eval_episodes=2, absolute_episodes=0, log_rows=1)
SMALL = {"hidden": (4,), "rollout_length": 8, "gradient_steps": 1, "batch_size": 4, "capacity": 64, "warmup_steps": 16}


def test_keys_are_of_one_implementation_whatever_the_default() -> None:
    seeds = jnp.arange(3)
    expected = phase_keys(seeds, 1), eval_keys(seeds, jnp.int32(2))
    with jax.default_prng_impl("rbg"):
        found = phase_keys(seeds, 1), eval_keys(seeds, jnp.int32(2))
    for ours, theirs in zip(found, expected):
        assert jax.random.key_impl(ours) == jax.random.key_impl(theirs)
        assert (jax.random.key_data(ours) == jax.random.key_data(theirs)).all()


@pytest.mark.parametrize(("name", "env"), [("sac", "toy/pendulum"), ("gem-q", "toy/chain"), ("gem-meta", "toy/chain")])
def test_off_policy_methods_train_with_64_bit_types_switched_on(name: str, env: str, tmp_path: Path) -> None:
    config = algorithms.get(name).config(**SMALL)
    with jax.enable_x64(True):
        path = run(Experiment(name, env, config, options=SHORT), run_dir=tmp_path / "run")
        found = evaluate(path, episodes=2)
    assert all(array.dtype.itemsize <= 4 for array in final_arrays(path))
    assert json.loads((path / "summary.json").read_text())["status"] == "finished"
    assert {one.policy for one in found} == {"final", "best"}


@pytest.mark.usefixtures("toys")
def test_a_run_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    plain = run(toy(seeds=2), run_dir=tmp_path / "plain")
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        other = run(toy(seeds=2), run_dir=tmp_path / "other")
    assert_same_arrays(final_arrays(plain), final_arrays(other))
