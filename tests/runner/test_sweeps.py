"""Grids and seeds as lanes: programs, numbering, overrides, waves, memory."""

import collections
import dataclasses
import json
import re
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runner_tools import Recorder, assert_same_arrays, final_arrays, metrics, rows, tiny, toy

from jaxmarl_suite.analysis import load_run
from jaxmarl_suite.runner import Experiment, TrainOptions, _compile, choose_wave, run
from jaxmarl_suite.runner._compile import compile_group
from jaxmarl_suite.runner._lanes import lane_context, pad_lanes

pytestmark = pytest.mark.usefixtures("toys")
GIB = 2**30


def test_fifty_payoff_tables_are_one_program(tmp_path: Path) -> None:
    experiment = Experiment(
        "toy",
        "matrix/random-2x3",
        grid={"env.seed": list(range(50))},
        options=TrainOptions(total_steps=16, evaluations=1, eval_episodes=2, absolute_episodes=0, log_rows=1),
    )
    groups = experiment.groups()
    assert [len(group.lanes) for group in groups] == [50]
    recorder = Recorder()
    run_dir = run(experiment, run_dir=tmp_path / "run", listener=recorder)
    assert "50 lanes (50 points x 1 seed) in 1 compiled program," in recorder.said[0]
    # Every lane plays its own table: both agents always choose action 1.
    tables = [np.random.default_rng(seed).standard_normal((3, 3)) for seed in range(50)]
    returns = [row["metrics"]["return"] for row in rows(run_dir, "eval").values()]
    np.testing.assert_allclose(returns, [table[1, 1] for table in tables], rtol=1e-6)
    np.testing.assert_allclose(load_run(run_dir).optimum, [table.max() for table in tables], rtol=1e-6)


def test_a_static_field_makes_one_program_a_value_and_says_so_first(tmp_path: Path) -> None:
    experiment = toy(grid={"num_envs": [2, 4], "step": [0.5, 1.0, 2.0]}, seeds=2)
    first, second = experiment.groups()
    assert [lane.index for lane in first.lanes] == list(range(6))
    assert [lane.index for lane in second.lanes] == list(range(6, 12))
    recorder = Recorder()
    heard: list[str] = []
    recorder._on_rows = lambda calls: heard.append(recorder.said[0])
    run_dir = run(experiment, run_dir=tmp_path / "run", listener=recorder)
    assert heard and "12 lanes (6 points x 2 seeds) in 2 compiled programs, 48 environment steps each" in heard[0]
    assert [line for line in recorder.said if line.startswith("program")] == [
        "program 1 of 2: 6 lanes like {'num_envs': 2, 'step': 0.5}",
        "program 2 of 2: 6 lanes like {'num_envs': 4, 'step': 0.5}",
    ]
    assert recorder.env_steps == 12 * 48
    stored = json.loads((run_dir / "config.json").read_text())["lanes"]
    assert [(e["lane"], e["point"], e["seed"]) for e in stored] == [(i, i // 2, i % 2) for i in range(12)]
    assert [e["overrides"] for e in stored[::2]] == [
        {"num_envs": envs, "step": step} for envs in (2, 4) for step in (0.5, 1.0, 2.0)
    ]
    for row in rows(run_dir).values():
        assert (row["point"], row["seed"]) == (row["lane"] // 2, row["lane"] % 2)
        assert row["kind"] == "absolute" or row["env_steps"] == row["update"] * (2 if row["lane"] < 6 else 4)


def test_options_of_the_environment_are_traced_where_they_are_parameters(tmp_path: Path) -> None:
    experiment = toy(grid={"env.bonus": [0.0, 2.5], "env.longest": [1, 3]})
    assert [[lane.index for lane in group.lanes] for group in experiment.groups()] == [[0, 2], [1, 3]]
    run_dir = run(experiment, run_dir=tmp_path / "run")
    for lane, (bonus, longest) in enumerate([(0.0, 1), (0.0, 3), (2.5, 1), (2.5, 3)]):
        for found in metrics(run_dir, "eval", lane):
            assert found["return"] == pytest.approx((2 + bonus) * found["length"], rel=1e-6)
            assert found["length"] == 1.0 if longest == 1 else found["length"] > 1.0


@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_waves_give_the_rows_of_all_lanes_at_once(at_once: int, tmp_path: Path) -> None:
    experiment = toy(grid={"step": [0.5, 1.0]}, seeds=4)
    together = run(experiment, run_dir=tmp_path / "together")
    recorder = Recorder()
    apart = run(
        toy(grid={"step": [0.5, 1.0]}, seeds=4, lanes_at_once=at_once), run_dir=tmp_path / "apart", listener=recorder
    )
    assert f"{at_once} lanes run at once, 8 in all" in recorder.said
    assert rows(apart) == rows(together)
    waves = [final_arrays(apart, f"000-{first:05d}") for first in range(0, 8, at_once)]
    assert_same_arrays([np.concatenate(parts) for parts in zip(*waves)], final_arrays(together))
    assert recorder.env_steps == 8 * 48


def test_little_memory_splits_the_lanes_and_too_little_is_refused(tmp_path: Path) -> None:

    (group,) = toy(seeds=8).groups()
    _, programs, placement = choose_wave(group, toy(seeds=8).options)
    needed = programs[0].memory["total"] * placement.mesh.size
    recorder = Recorder()
    half = toy(seeds=8, memory_gib=needed / 2 / GIB)
    run_dir = run(half, run_dir=tmp_path / "half", listener=recorder)
    (line,) = (line for line in recorder.said if "run at once" in line)
    assert 1 <= int(line.split()[0]) < 8
    assert rows(run_dir) == rows(run(toy(seeds=8), run_dir=tmp_path / "all"))
    with pytest.raises(ValueError, match=r"one lane needs .* GiB, and 1e-07 GiB may be used; lower num_envs") as error:
        run(toy(seeds=2, memory_gib=1e-7), run_dir=tmp_path / "refused")
    assert "0.00 GiB" not in str(error.value)
    assert not (tmp_path / "refused").exists(), "a refused run leaves nothing behind"


def test_evaluations_count_towards_the_memory() -> None:
    experiment = toy(seeds=1, eval_episodes=2**15, absolute_episodes=0)
    _, programs, placement = choose_wave(experiment.groups()[0], experiment.options)
    trained, all_of_it = programs[0].memory["total"], programs[0].peak_bytes
    assert all_of_it > 2 * trained
    options = dataclasses.replace(experiment.options, memory_gib=(trained + all_of_it) / 2 * placement.mesh.size / GIB)
    with pytest.raises(
        ValueError, match=r"one lane needs .*; evaluations need most of it: lower eval_episodes, or raise"
    ):
        choose_wave(experiment.groups()[0], options)


@pytest.mark.parametrize(
    ("name", "changes", "lower"),
    [
        ("vdn", {"capacity": 2**23}, "capacity (8388608 now)"),
        ("td3", {"capacity": 2**26}, "capacity (67108864 now)"),
        ("td3", {"capacity": 24 * 2796203, "num_envs": 24}, "capacity (67108872 now)"),  # half of it is refused
        ("ippo", {"num_envs": 2**20}, "num_envs (1048576 now)"),
        ("toy-without-floats", {}, "num_envs (8 now)"),
    ],
)
def test_the_setting_that_makes_a_state_too_large_is_named(name: str, changes: dict[str, int], lower: str) -> None:
    experiment = tiny(name, changes=changes, total_steps=2**31 - 1, memory_gib=1e-8)
    (group,) = experiment.groups()
    with pytest.raises(ValueError, match=re.escape(f"GiB may be used; lower {lower}, or raise memory_gib")):
        choose_wave(group, experiment.options)


def test_lanes_keep_the_types_of_their_numbers() -> None:
    (group,) = toy(grid={"step": [0.5, 1.0]}, seeds=2).groups()
    numbers = [
        {
            "float": 0.5 + i,
            "int": i,
            "bool": i % 2 == 0,
            "half": np.float16(i),
            "double": np.full(2, i / 3),
            "array": jnp.full((3,), i, jnp.int8),
            "key": jax.random.key(i, impl="rbg"),
            "none": None,
        }
        for i in range(4)
    ]
    lanes = [dataclasses.replace(lane, env_params=params) for lane, params in zip(group.lanes, numbers)]
    context = lane_context(lanes, 7)
    found = context.env_params
    assert context.hp.step.tolist() == [0.5, 0.5, 1.0, 1.0] and context.hp.step.dtype == jnp.float32
    expected = {
        "float": "float32",
        "int": "int32",
        "bool": "bool",
        "half": "float16",
        "double": "float32",
        "array": "int8",
    }
    assert {name: str(found[name].dtype) for name in expected} == expected
    for name in expected:
        np.testing.assert_array_equal(found[name], np.asarray([one[name] for one in numbers], found[name].dtype))
    assert found["none"] is None and str(jax.random.key_impl(found["key"])) == "rbg"
    np.testing.assert_array_equal(
        jax.random.key_data(found["key"]), [jax.random.key_data(one["key"]) for one in numbers]
    )
    shapes = jax.eval_shape(lambda: lane_context(lanes, 7)).env_params
    assert shapes["key"].dtype == found["key"].dtype


def test_an_algorithm_with_nothing_to_tune_and_nothing_learned(tmp_path: Path) -> None:
    options = TrainOptions(total_steps=48, seeds=3, evaluations=2, eval_episodes=4, absolute_episodes=4)
    run_dir = run(Experiment("toy-without-floats", "counting/countdown", options=options), run_dir=tmp_path / "run")
    assert {row["lane"] for row in rows(run_dir, "absolute").values()} == {0, 1, 2}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"stepp": [1.0]}, "no field 'stepp' in the config of toy; did you mean 'step'"),
        ({"step": []}, "grid over 'step' has no values"),
        ({"step": ["fast"]}, "step must be float, got 'fast'"),
        ({"num_envs": [1.5]}, "num_envs must be int, got 1.5"),
    ],
)
def test_a_grid_that_cannot_work_is_refused_before_anything_is_written(grid, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run(toy(grid=grid), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_environments_that_cannot_be_spread_evenly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="over 2 devices: their number must be a multiple of that, got 3"):
        run(toy(changes={"num_envs": 3}, lane_mode="envs"), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", 1e39])
def test_numbers_of_any_algorithm_are_finite(value: object) -> None:
    """The toy's config checks nothing itself."""
    message = rf"^step must be finite, got {re.escape(str(float(value)))}$"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        toy(grid={"step": [1.0, value]}).groups()
    with pytest.raises(ValueError, match=message):
        toy(changes={"step": float(value)}).groups()  # type: ignore[arg-type]


def test_the_context_of_many_lanes_is_one_transfer_a_leaf() -> None:
    """As operands of one operation of XLA, 4,000 lanes took 142 seconds."""
    grid = {"env.seed": [0, 1], "step": [0.5, 1.0]}
    (group,) = Experiment("toy", "matrix/random-2x3", grid=grid, options=TrainOptions(seeds=50)).groups()
    lanes = list(group.lanes)
    assert not jax.make_jaxpr(lambda: lane_context(lanes, 1))().eqns
    ctx = lane_context(lanes, 1)
    np.testing.assert_array_equal(ctx.hp.step, np.repeat(np.float32([0.5, 1.0, 0.5, 1.0]), 50))
    assert ctx.hp.step.dtype == np.float32
    for found, *each in zip(
        *(jax.tree.leaves(tree) for tree in (ctx.env_params, *(lane.env_params for lane in lanes)))
    ):
        np.testing.assert_array_equal(found, np.stack(each))
        assert found.dtype == jnp.asarray(each[0]).dtype


def test_a_type_error_while_programs_are_made_is_not_taken_for_a_key_that_cannot_be_hashed() -> None:
    (group,) = toy(seeds=1).groups()
    lanes, placement = pad_lanes(list(group.lanes), TrainOptions())
    with (
        mock.patch.object(_compile, "_compile", side_effect=TypeError("of the environment")) as compile_,
        mock.patch.object(_compile, "_compiled", collections.OrderedDict()),
        pytest.raises(TypeError, match="of the environment"),
    ):
        compile_group(group, lanes, placement, TrainOptions())
    assert compile_.call_count == 1


@pytest.mark.parametrize("field", ["_hidden", "hidden_", "two__parts"])
def test_unknown_fields_are_named_whatever_the_underscores_of_the_others(field: str) -> None:
    config = dataclasses.make_dataclass("Odd", [(field, int, 1)], frozen=True)
    spec = dataclasses.replace(toy().spec, config=config, defaults=None)
    with mock.patch.object(Experiment, "spec", spec), pytest.raises(ValueError, match=f"no field 'q'.*{field}"):
        Experiment("toy", "matrix/climbing", grid={"q": [1]}).points()
