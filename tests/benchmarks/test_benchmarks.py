"""The benchmarks measure in tiny settings, write what --compare reads, and --compare tells slower from faster."""

import copy
import dataclasses
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import (
    _common,
    _processes,
    _tables,
    adapters,
    env_stepping,
    football,
    kernels,
    library,
    mabrax,
    micro,
    parts,
    replay,
    startup,
    training,
)
from benchmarks._tables import Column, Table, number, plain
from jaxmarl_suite.cli import main as cli
from tests.envs.adapter_tools import needs

TINY = {"num_envs": "4", "rollout_length": "4", "epochs": "1", "hidden": "(8,)"}
HARDWARE = {"platform": "cpu", "device": "cpu", "devices": 2, "system": "Linux", "python": "3", **_common.machine()}


def table(*speeds: float, is_time: bool = False) -> Table:
    rows = [{"id": f"row {i}", "speed": speed} for i, speed in enumerate(speeds)]
    columns = (Column("row", plain("id")), Column("speed", number("speed", ".1f")))
    return Table("speeds", rows, columns, ("id",), "speed", is_time)


@pytest.mark.slow
def test_training_measures_every_number_of_seeds():
    rows = training.measure("mappo", "matrix/climbing", (2,), settings=TINY, repetitions=2, seconds=0.01)
    assert [row["seeds"] for row in rows] == [1, 2]
    assert rows[0]["ratio_to_one_seed"] == 1
    for row in rows:
        assert row["is_finite"] and row["lanes_at_once"] == row["seeds"]
        assert row["env_steps_per_s"] == pytest.approx(16 * row["updates_per_s"])
        assert 0 < row["updates_per_s"] <= row["best_updates_per_s"]
        for name in ("wall_seconds", "cpu_seconds", "compile_wall_seconds", "compile_cpu_seconds"):
            assert row[name] > 0
        assert row["chunk_bytes"] > 0 and row["peak_rss_bytes"] > 2**20
    training._relate_modes(rows)
    assert [row["ratio_to_default"] for row in rows] == [1, 1]
    assert "| mappo" in _tables.render(training.table_of(rows))
    slow = [{**row, "seeds": 8, "ratio_to_one_seed": 0.5} for row in rows[1:]]
    assert [t["is_met"] for t in training.targets_of(slow, "cpu")] == [False]
    json.dumps(rows)


@pytest.mark.slow
def test_libraries_are_measured_by_number_of_learners():
    rows = library.measure("toy/point-mass", (1, 2), (4,), 4, 1, 200, 1)
    assert [(row["learners"], row["mode"]) for row in rows["library"]] == [
        (n, m) for n in (1, 2) for m in library.MODES
    ]
    assert rows["library"][0]["gain"] == 1 and len({row["bytes_per_learner"] for row in rows["library"]}) == 1
    assert all(row["gradient_steps_per_s"] > 0 and row["labels_per_s"] > 0 for row in rows["library"])
    # 6 numbers are observed and 6 are the state, each also next; 2 are the action, 1 is the reward.
    assert [row["bytes"] for row in rows["dataset"]] == [200 * (4 * 27 + 2 + 4)] * 2
    assert all("| " in _tables.render(table) for table in library.tables_of(rows))
    json.dumps(rows)


@pytest.mark.slow
def test_startup_stages_add_up(tmp_path):
    cache = Path(os.environ["JAXMARL_SUITE_CACHE"])
    row, versions = startup.start("ippo", "matrix/climbing", 2, 2048, cache)
    assert sum(row[stage] for stage in startup.STAGES) == pytest.approx(row["wall_seconds"])
    assert all(row[stage] >= 0 for stage in startup.STAGES)
    assert row["cpu_seconds"] > 0 and row["wall_seconds"] <= row["exit_seconds"]
    assert row["cache_hits"] + row["cache_misses"] > 0
    help_row = startup.start_help()
    assert help_row["cpu_seconds"] > 0
    rows = [startup.medians("train", "warm", [row]), startup.medians("--help", "none", [help_row])]
    assert "`--help`" in _tables.render(startup.table_of(rows))
    assert versions["jax"]


def test_stepping_plays_the_same_game_and_uses_all_cores():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        row = env_stepping.measure("hallway/4-4", 64, 200, 2)
    assert row["ours_reward_per_step"] == pytest.approx(row["bare_reward_per_step"], rel=0.5)
    assert row["ours_steps_per_s"] > 0 and row["ratio"] > 0 and row["bare_cpu_seconds"] > 0
    assert row["bare_bytes"] == 12 and row["ours_bytes"] > 4 * 40  # two cells and the clock; four times ten cells
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux and two cores")
    cores = len(os.sched_getaffinity(0))
    rows = env_stepping.measure_cores("hallway/4-4", 8 * cores, 10, 1)
    assert [(r["mode"], r["devices"]) for r in rows] == [("one core", 1), ("one device", 1), ("all cores", cores)]
    assert rows[0]["ratio_to_one_core"] == 1 and all(r["cpu_seconds"] > 0 for r in rows)


def test_stepping_compares_stock_with_the_suite():
    sizes = {"num_envs": 16, "steps": 20, "repetitions": 1}
    rows = env_stepping.measure_floor(("matrix/climbing", "hallway/4-4"), sizes, "cpu")
    assert [(r["id"], r["mode"]) for r in rows] == [
        (name, mode) for name in ("matrix/climbing", "hallway/4-4") for mode in ("stock", "suite")
    ]
    assert rows[0]["ours_reward_per_step"] == pytest.approx(rows[1]["ours_reward_per_step"])
    table = env_stepping.floor_table(rows)
    assert len(table.rows) == 4 and len(_tables.render(table).splitlines()) == 4
    slow = [{**row, "ratio": 2.0} if row["id"] == "hallway/4-4" else {**row, "ratio": 1.0} for row in rows]
    assert [(t["value"], "hallway/4-4" in t["name"]) for t in env_stepping.floor_targets(slow)] == [(2.0, True)] * 2


def test_a_process_without_the_suites_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false --xla_dump_to=x --xla_backend_extra_options=y")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    kept = _processes.child_environment(JAX_PLATFORMS="cpu")
    assert kept["XLA_FLAGS"].count("--") == 3 and kept["JAX_NUM_CPU_DEVICES"] == "2" and kept["JAX_PLATFORMS"] == "cpu"
    stock = _processes.child_environment(keep_flags=False)
    assert stock["XLA_FLAGS"] == "--xla_dump_to=x" and "JAX_NUM_CPU_DEVICES" not in stock


def test_kernels_compute_the_same_and_are_timed():
    first, *others = (jax.jit(f)(*arrays) for f, arrays in kernels.forms((3, 5), 4, 2).values())
    assert first.shape == (4, 2)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-5)
    rows = kernels.measure((3, 5), 4, 2, repetitions=2, calls=2)
    assert rows[0]["ratio"] == 1 and len(rows) == 4 and all(row["seconds"] > 0 for row in rows)
    assert "| with a copy of x" in _tables.render(kernels.table_of(rows))


@needs("jaxmarl")
@pytest.mark.slow
def test_adapters_are_measured_beside_the_original():
    row = adapters.measure("mpe/simple-spread", 2, 0.01, 2, ("step_env", "adapter"))
    assert row["step_env_us"] > 0 and row["adapter_us"] >= row["adapter_best_us"] > 0 and row["steps"] >= 8
    assert row["bare_ratio"] == pytest.approx(row["adapter_us"] / row["step_env_us"], rel=1)
    full = {**row, "step_us": 2.0, "VectorEnv_us": 1.0, "restart_ratio": 0.5, "steps_per_s": 1e6}
    assert "| mpe/simple-spread" in _tables.render(adapters.table_of([full]))
    assert [t["is_met"] for t in adapters.targets_of([full | {"bare_ratio": 2.0}])] == [False, True]
    with pytest.raises(ValueError, match="ids must be"):
        adapters.Args(ids=("matrix/xor",))


@pytest.mark.slow
def test_football_is_measured_beside_plain_python():
    row = football.measure("empty_goal", 2, 2, 1)
    assert row["ratio"] == pytest.approx(row["steps_per_s"] / row["python_steps_per_s"]) and row["compile_s"] > 0
    assert "| empty_goal" in _tables.render(football.table_of([row]))
    at_target = {**row, "id": "3_vs_1_with_keeper", "num_envs": 256, "steps_per_s": 200_000.0}
    assert [t["is_met"] for t in football.targets_of([at_target, row])] == [True]
    with pytest.raises(ValueError, match="unknown environment 'football/soccer'"):
        football.Args(scenarios=("soccer",))


@needs("jaxmarl")
@pytest.mark.slow
def test_micro_is_measured_beside_smax():
    row = micro.measure("3m", 2, 0.01, 2)
    assert (
        row["smax_us"] > 0
        and row["micro_us"] > 0
        and row["ratio"] == pytest.approx(row["smax_us"] / row["micro_us"], rel=1)
    )
    assert " 3m |" in _tables.render(micro.table_of([row]))
    assert [t["is_met"] for t in micro.targets_of([{**row, "id": "3s5z", "ratio": 21.0}, row])] == [True]
    with pytest.raises(ValueError, match=r"maps must be among .*3s5z.*; got 'bane_vs_bane'"):
        micro.Args(maps=("bane_vs_bane",))


@pytest.mark.slow
def test_robots_are_measured_beside_brax():
    row = mabrax.measure("mabrax/hopper-3x1", 2, "spring", 0.01, 2, ("brax", "ours"))
    assert row["brax_us"] > 0 and row["ours_us"] >= row["ours_best_us"] > 0 and row["backend"] == "spring"
    assert row["bare_ratio"] == pytest.approx(row["ours_us"] / row["brax_us"], rel=1)
    assert "| mabrax/hopper-3x1" in _tables.render(mabrax.stepping_table([row]))
    assert [t["is_met"] for t in mabrax.targets_of([row | {"bare_ratio": ratio} for ratio in (1.0, 2.0)])] == [
        True,
        False,
    ]
    with pytest.raises(ValueError, match="ids must be mabrax"):
        mabrax.Args(ids=("matrix/xor",))
    with pytest.raises(ValueError, match="robots must be among"):
        mabrax.Args(robots=("cat",))


@pytest.mark.slow
def test_compilation_is_measured():
    row = mabrax.measure_compilation("reacher", "spring", 2)
    assert min(row[name] for name in ("making_seconds", "brax_seconds", "ours_seconds")) > 0
    assert "| reacher" in _tables.render(mabrax.compilation_table([row]))


@pytest.mark.parametrize("is_time", [False, True])
def test_compare_tells_slower_from_faster(is_time):
    old = table(100.0, 100.0, 100.0, is_time=is_time)
    faster, slower = (80.0, 120.0) if is_time else (120.0, 80.0)
    changes = _common.compare(old.rows, table(faster, 99.0, slower, 5.0, is_time=is_time), 0.1)
    assert [c.is_regression for c in changes] == [False, False, True]  # the fourth row is new
    assert changes[0].ratio > 1 > changes[2].ratio
    assert not _common.compare(old.rows, table(slower, is_time=is_time), 0.3)[0].is_regression


def test_finish_writes_compares_and_exits(tmp_path, capsys):
    file, page = tmp_path / "old.json", tmp_path / "README.md"
    page.write_text("<!-- table:speeds begin -->\n<!-- table:speeds end -->\n")
    options = _common.Options(json=file, readme=True)
    assert _common.begin("speed", options) is None
    found = _common.finish("speed", options, HARDWARE, [table(1.0, 2.0)], readme=page)
    assert json.loads(file.read_text()) == json.loads(json.dumps(found))
    assert "| row 1 |" in page.read_text() and HARDWARE["cpu"] in page.read_text()

    options = _common.Options(compare=file)
    old = _common.begin("speed", options)
    _common.finish("speed", options, HARDWARE, [table(1.5, 1.9)], old=old)
    with pytest.raises(SystemExit) as stop:
        _common.finish("speed", options, HARDWARE, [table(1.5, 1.7)], old=old)
    assert stop.value.code == 1
    assert "1 of 2 rows are slower" in capsys.readouterr().out
    _common.finish("speed", dataclasses.replace(options, tolerance=0.2), HARDWARE, [table(1.5, 1.7)], old=old)

    other = copy.deepcopy(HARDWARE) | {"cpu": "another"}
    _common.finish("speed", options, other, [table(1.0, 2.0)], old=old)
    assert "different machines: cpu differ" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no row in common"):
        _common.finish("speed", options, HARDWARE, [Table("others", [], (), ("id",), "speed")], old=old)


def test_mistakes_are_told_before_measuring(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        _common.begin("speed", _common.Options(compare=tmp_path / "none.json"))
    (tmp_path / "other.json").write_text('{"benchmark": "other", "schema": 1}')
    with pytest.raises(ValueError, match="not a result of the benchmark"):
        _common.begin("speed", _common.Options(compare=tmp_path / "other.json"))
    with pytest.raises(ValueError, match="no such folder"):
        _common.begin("speed", _common.Options(json=tmp_path / "none" / "out.json"))
    with pytest.raises(ValueError, match="tolerance"):
        _common.Options(tolerance=2)
    with pytest.raises(ValueError, match="FIELD=VALUE"):
        training.Args(set=("num_envs",))
    with pytest.raises(ValueError, match="must be positive"):
        kernels.Args(leading=())


@pytest.mark.slow
def test_parts_of_an_update_are_timed():
    rows = parts.measure_method("ippo", 1, 2, 1, TINY, "matrix/climbing")
    assert [row["part"] for row in rows] == ["play", "learn", parts.WHOLE] and rows[-1]["ratio"] == 1
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in rows)
    assert "| ippo " in _tables.render(parts.parts_table(rows))
    cells = parts.grus(parts.Size(3, 2, 4, 5))
    flax, ours = (jax.jit(call.function)(*call.args) for call in cells.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), flax, ours)
    rows = parts.measure("mappo", "cell", cells, "ours", 1, 1)
    assert "| Flax " in _tables.render(parts.gru_table(rows))
    with pytest.raises(ValueError, match="must be positive"):
        parts.Args(calls=0)


@pytest.mark.slow
@needs("jaxmarl")
def test_parts_of_the_contests_are_timed():
    for name in ("qmix", "mappo"):
        rows = parts.measure_method(name, 40, 1, 1)
        play, learn, whole = rows
        assert play["cpu_seconds"] < whole["cpu_seconds"] and learn["ratio"] > 0.2


def test_page_has_a_place_for_every_table():
    text = _common.README.read_text(encoding="utf-8")
    cpu = (
        "training",
        "training-continuous",
        "peers",
        "parts",
        "parts-gru",
        "episodic",
        "kernels",
        "replay",
        "replay-bytes",
        "startup",
        "stepping",
        "cores",
        "adapters",
        "mabrax",
        "mabrax-compile",
        "micro",
        "rag",
        "rag-trace",
        "football",
    )
    for name in (
        *cpu,
        "training-gpu",
        "training-continuous-gpu",
        "startup-gpu",
        "stepping-gpu",
    ):
        for end in ("begin", "end"):
            assert text.splitlines().count(f"<!-- table:{name} {end} -->") == 1


@pytest.mark.parametrize(
    "name",
    ["training", "kernels", "parts", "replay", "startup", "env-stepping", "adapters", "mabrax", "micro", "football"],
)
def test_command_line_knows_the_scripts(name, capsys):
    assert cli(["bench", name, "--help"]) == 0
    assert "--compare" in capsys.readouterr().out
    assert cli(["bench", name, "--compare", "no/such/file.json"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_command_line_lists_scripts_only(capsys):
    assert cli(["--json", "bench"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["benchmarks"]
    assert {"training", "kernels", "startup", "env-stepping"} <= set(listed) and not [
        n for n in listed if "common" in n
    ]


def test_stored_steps_take_fewer_bytes_than_transitions():
    """By hand: an observation, state and mask once instead of twice, and one more for each time limit."""
    rows = [replay.stored_bytes(sizes) for sizes in replay.SIZES]
    vdn, td3 = rows
    observed, rest = 4 * 3 * 75 + 4 * 72 + 3 * 8, 4 * 3 + 4 * 3 + 1 + 4 + 1 + 4 * (3 * 64 + 3) / 32
    assert vdn["transition_bytes"] == pytest.approx(2 * observed + rest)
    # 40 time limits in 4000 steps; the store keeps truncation and the number of a cut beside the ends.
    assert vdn["stored_bytes"] == pytest.approx(observed * (1 + 41 / 4000) + rest + 1 + 4, rel=1e-4)
    assert td3["transition_bytes"] == 2 * 4 * 17 + 4 * 6 + 4 + 2
    assert vdn["share"] < 0.6 and td3["share"] < 0.7
    assert "| td3 " in _tables.render(replay.bytes_table_of(rows))


@pytest.mark.slow
def test_replay_is_measured_with_several_capacities():
    small = {"num_envs": "2", "rollout_length": "2", "batch_size": "2", "learning_starts": "2", "width": "4"}
    rows = replay.measure("vdn", "hallway/2-2", (64, 4096), (1,), {**small, "recurrent": "false"}, 2, 0.01)
    assert [row["capacity"] for row in rows] == [64, 4096] and rows[0]["ratio"] == 1
    assert all(row["updates_per_s"] > 0 and row["aliased_bytes"] > row["replay_bytes"] for row in rows)
    small, large = rows
    assert large["replay_bytes"] == 64 * small["replay_bytes"]
    assert large["temporary_bytes"] < small["temporary_bytes"] + 0.05 * large["replay_bytes"]
    assert "| vdn " in _tables.render(replay.table_of(rows))
