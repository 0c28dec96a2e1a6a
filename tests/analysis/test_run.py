"""Run folders: what is read, what is tolerated, and what is refused by name."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import jaxmarl_suite.analysis
from jaxmarl_suite.analysis import load_run, normalize


def test_reads_the_description(write_run):
    path = write_run(points=({"learning_rate": 1e-4}, {"learning_rate": 3e-4}), seeds=(5, 7))
    run = load_run(str(path))
    assert (run.algorithm, run.env, run.total_steps, run.status) == ("tad-ppo", "matrix/climbing", 64000, "finished")
    assert [lane.seed for lane in run.lanes] == [5, 7, 5, 7]
    assert run.points == (0, 1)
    assert run.lanes[2].overrides == {"learning_rate": 3e-4}
    assert run.versions["python"] == "3.11"
    assert run.metric_names("eval") == ("return", "length")
    assert run.metric_names("train") == ("return", "learner/policy_loss")
    assert run.lane_indices(1).tolist() == [2, 3]
    with pytest.raises(ValueError, match="no point 2; it has \\[0, 1\\]"):
        run.lane_indices(2)


def test_curve_and_absolute_hold_each_lanes_values(make_run):
    run = make_run(points=({"a": 1}, {"a": 2}), seeds=(0, 3), evaluations=3, score=lambda p, s, g: 100 * p + 10 * s + g)
    curve = run.curve("return")
    assert curve.env_steps.tolist() == [0, 32000, 64000]
    assert curve.updates.tolist() == [0, 500, 1000]
    np.testing.assert_allclose(curve.values, [[0, 0.5, 1], [30, 30.5, 31], [100, 100.5, 101], [130, 130.5, 131]])
    np.testing.assert_allclose(curve.wall[0], [2, 7, 12])
    np.testing.assert_allclose(run.curve("return", point=1).values, curve.values[2:])
    np.testing.assert_allclose(run.absolute(), [1, 31, 101, 131])
    np.testing.assert_allclose(run.absolute(point=1, normalized=True), [101 / 11, 131 / 11])
    np.testing.assert_allclose(run.curve("return", normalized=True).values, curve.values / 11)
    assert np.isnan(run.curve("learner/policy_loss", kind="train").values).all()  # null
    with pytest.raises(ValueError, match=r"run-0: no eval metric 'win'; it has return, length"):
        run.curve("win")
    with pytest.raises(ValueError, match=r"no train metric 'policy_loss'; .*did you mean 'learner/policy_loss'\?"):
        run.curve("policy_loss", kind="train")


def test_each_lane_is_divided_by_its_own_optimum(write_run):
    path = write_run(seeds=(0, 1))
    config = json.loads((path / "config.json").read_text())
    config["lanes"][1]["optimum"] = 4.0
    (path / "config.json").write_text(json.dumps(config))
    run = load_run(path)
    np.testing.assert_allclose(run.absolute(normalized=True), [10 / 11, 10.1 / 4])


@pytest.mark.parametrize(("optimum", "held"), [(None, "unknown"), (0.0, "0"), (-5.0, "-5")])
def test_only_a_positive_optimum_normalizes(make_run, optimum, held):
    run = make_run(optimum=optimum)
    assert not run.can_normalize
    with pytest.raises(ValueError, match=f"cannot normalize lane 0: its optimum is {held}, it must be positive"):
        run.curve("return", normalized=True)


def test_normalize_broadcasts_over_trailing_axes():
    scores = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(normalize(scores, np.array([1.0, 2.0])), [[0, 1, 2], [1.5, 2, 2.5]])


def test_of_repeated_rows_the_last_counts(write_run):
    path = write_run(seeds=(0,), evaluations=2)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    again = [json.loads(line) for line in lines if '"kind": "eval"' in line or '"kind": "absolute"' in line]
    for row in again:
        row["metrics"]["return"] += 100
    (path / "metrics.jsonl").write_text("\n".join(lines + [json.dumps(row) for row in again]) + "\n")
    run = load_run(path)
    np.testing.assert_allclose(run.curve("return").values, [[100, 110]])
    np.testing.assert_allclose(run.absolute(), [110])


def test_updates_that_start_again_in_a_second_phase_stay_apart(write_run):
    path = write_run(seeds=(0,), evaluations=2)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    later = [dict(row, phase="fine-tune", env_steps=row["env_steps"] + 64000) for row in rows if row["kind"] == "eval"]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + later))
    curve = load_run(path).curve("return")
    assert curve.env_steps.tolist() == [0, 64000, 64000, 128000]
    assert curve.updates.tolist() == [0, 1000, 0, 1000]


def test_rows_of_older_versions_get_the_names_of_today(write_run):
    """They had `episode_return` beside `entropy`; a resumed run has rows of both kinds."""
    path = write_run(seeds=(0,), evaluations=3, teacher=lambda *at: 2.0)
    today, old = load_run(path), []
    for row in [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]:
        found = row["metrics"]
        if row["kind"] != "train":
            row["metrics"] = found | {"episode_length": found.pop("length"), "teacher/episode_length": 3.0, "win": 0.5}
        elif row["update"] < 1000:
            found = {"episode_return": found["return"], "episode_length": 1.0, "policy_loss": 0.25, "win": 0.125}
            row["metrics"] = found | {"length_error": 4.0}
        old.append(row)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    run = load_run(path)
    assert run.metric_names("eval") == ("return", "teacher/return", "length", "teacher/length", "win")
    assert run.metric_names("train") == ("return", "length", "learner/policy_loss", "win", "learner/length_error")
    for kind in ("train", "eval"):
        np.testing.assert_array_equal(run.curve(kind=kind).values, today.curve(kind=kind).values)
    np.testing.assert_array_equal(run.curve("learner/policy_loss", kind="train").values, [[0.25, 0.25, np.nan]])
    np.testing.assert_array_equal(run.curve("win", kind="train").values, [[0.125, 0.125, np.nan]])


def test_a_torn_last_line_is_left_out(write_run):
    path = write_run(is_finished=False)
    whole = load_run(path)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "lane": 0, "upd')
    run = load_run(path)
    assert run.rows == whole.rows
    assert run.status == "unfinished"
    assert np.isnan(run.absolute()).all()


def test_a_malformed_middle_line_is_named(write_run):
    path = write_run()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[6] = '{"kind": "eval", "lane'
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 7: not valid JSON"):
        load_run(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"lane": 0}, "'kind' is missing"),
        ({"kind": "eval", "lane": 99}, "lane 99 is not in config.json"),
        ({"kind": "eval", "lane": 0, "metrics": {"return": "high"}}, "metric 'return' must be a number or null"),
        ({"kind": "eval", "lane": 0, "metrics": {}, "update": "x"}, "'update' must be int; got 'x'"),
        ({"kind": "eval", "lane": 0, "metrics": [], "update": 1}, "'metrics' must be dict"),
        ([1, 2], "expected a JSON object, found list"),
    ],
)
def test_a_wrong_row_is_named(write_run, row, message):
    path = write_run(evaluations=1, is_finished=False)
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 9: ") as caught:
        load_run(path)
    assert message in str(caught.value)


def test_rows_of_other_kinds_are_skipped(write_run):
    path = write_run()
    before = load_run(path)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "note", "text": "resumed"}\n')
    assert load_run(path).rows == before.rows


def test_lanes_must_agree_about_steps(write_run):
    path = write_run(seeds=(0, 1), evaluations=1, is_finished=False)
    row = {"kind": "eval", "lane": 1, "phase": "ppo", "update": 0, "env_steps": 9, "wall": 1, "metrics": {"return": 1}}
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="update 0 disagree about env_steps: 0 and 9"):
        load_run(path).curve("return")


def test_missing_and_malformed_files_are_named(write_run, tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such run folder"):
        load_run(tmp_path / "nowhere")
    path = write_run()
    (path / "summary.json").unlink()
    (path / "versions.json").unlink()
    assert load_run(path).versions == {}
    (path / "metrics.jsonl").rename(path / "elsewhere")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: missing"):
        load_run(path)
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not valid JSON"):
        load_run(path)
    (path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json: expected a JSON object"):
        load_run(path)
    (path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json: missing; is .*run-0 a run folder\?"):
        load_run(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2; this version reads schema 1"),
        ({"algorithm": None}, "'algorithm' must be str"),
        ({"lanes": []}, "'lanes' is empty"),
        ({"lanes": [{"lane": 0, "point": 0}]}, r"lanes\[0\]: 'seed' is missing"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0}] * 2}, r"lanes\[1\]: lane 0 appears twice"),
        ({"lanes": [{"lane": 0, "point": 0, "seed": 0, "optimum": "11"}]}, "'optimum' must be a number or null"),
    ],
)
def test_a_wrong_description_is_refused(write_run, change, message):
    path = write_run()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=message):
        load_run(path)


def test_empty_metrics_load_and_say_so_when_asked(write_run):
    path = write_run()
    (path / "metrics.jsonl").write_text("")
    run = load_run(path)
    assert run.rows == ()
    with pytest.raises(ValueError, match="no eval metric 'return'; it has no eval rows yet"):
        run.curve("return")


def test_importing_loads_nothing_heavy():
    folder = Path(jaxmarl_suite.analysis.__file__).parent
    for source in folder.glob("*.py"):
        for node in ast.parse(source.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            heavy = {name.split(".")[0] for name in names} & {"jax", "scipy", "matplotlib", "flax"}
            assert not heavy, f"{source.name} imports {heavy} at import"
