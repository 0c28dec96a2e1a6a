"""What JAX is set to otherwise in a process changes neither programs nor checkpoints."""

import ast
import gc
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from runner_tools import Recorder, assert_same_arrays, final_arrays, toy

import jaxmarl_suite
from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Experiment, TrainOptions, evaluate, resume, run
from jaxmarl_suite.runner._checkpoint import from_host
from jaxmarl_suite.runner._devices import seldom_collecting
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._play import eval_keys
from jaxmarl_suite.runner._programs import phase_keys

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


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("sac", "toy/pendulum"),
        ("gem-q", "toy/chain"),
        pytest.param("gem-meta", "toy/chain", marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.usefixtures("toys")
def test_a_run_is_evaluated_and_resumed_under_other_settings_and_says_so(tmp_path: Path) -> None:
    path, notes, recorder = run(toy(seeds=2), run_dir=tmp_path / "run"), [], Recorder()
    expected = evaluate(path, episodes=2, warn=notes.append)
    assert notes == []
    with jax.default_prng_impl("rbg"), jax.default_matmul_precision("highest"), jax.enable_x64(True):
        assert evaluate(path, episodes=2, warn=notes.append) == expected
        resume(path, listener=recorder)
    changes = (
        "began with other settings of JAX, so numbers may differ: jax_default_matmul_precision was None and is 'highest'; "
        "jax_default_prng_impl was 'threefry2x32' and is 'rbg'"
    )  # 64-bit types are switched off in both
    assert len(notes) == 1 and notes[0].endswith(changes)
    assert [line for line in recorder.said if line.endswith(changes)]


@pytest.mark.parametrize(
    "content", ["{}", "[]", "{", '{"jax_flags": 3}', '{"jax_flags": {}}', '{"jax_flags": {"of_another_version": 1}}']
)
def test_flags_that_are_not_known_are_not_compared(content: str, tmp_path: Path) -> None:
    (tmp_path / "versions.json").write_text(content)
    assert RunFolder(tmp_path).changed_flags() == ""


def test_keys_of_a_checkpoint_from_another_implementation_are_refused() -> None:
    shape = jax.eval_shape(lambda: jax.vmap(jaxmarl_envs.seed_key)(jnp.arange(3)))
    (restored,) = from_host([np.arange(6, dtype=np.uint32).reshape(3, 2)], (shape,))
    assert restored.dtype == shape.dtype and jax.random.key_data(restored).ravel().tolist() == list(range(6))
    with pytest.raises(ValueError, match=r"random keys of shape \(3, 4\) where the program's have 2 words"):
        from_host([np.zeros((3, 4), np.uint32)], (shape,))


def test_every_key_is_made_with_a_named_implementation() -> None:
    """`seed_key` is the one place that makes keys of seeds."""
    suite, envs = Path(jaxmarl_suite.__file__).parent, Path(jaxmarl_envs.__file__).parent
    found = []
    for folder in (suite, envs, suite.parent / "experiments", suite.parent / "benchmarks"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("jax.random.key", "jax.random.PRNGKey"):
                    found.append(f"{path.parent.name}/{path.name}")
    assert found == ["core/_keys.py"]


@pytest.mark.parametrize("usual", [(700, 10, 10), (0, 10, 10), (500_000, 5, 5)])
def test_the_garbage_collector_is_the_callers_again_after_a_run(usual: tuple[int, int, int]) -> None:
    @seldom_collecting
    def inside(fails: bool) -> tuple[int, int, int]:
        if fails:
            raise KeyError(gc.get_threshold()[0])
        return gc.get_threshold()

    before = gc.get_threshold()
    gc.set_threshold(*usual)
    try:
        assert inside(False) == (max(usual[0], 100_000) if usual[0] else 0, *usual[1:])
        assert gc.get_threshold() == usual
        with pytest.raises(KeyError):
            inside(True)
        assert gc.get_threshold() == usual
    finally:
        gc.set_threshold(*before)
