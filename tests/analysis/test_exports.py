"""Exports: structure, round trip, and what the other tools could not compare."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from jaxmarl_suite.analysis import csv_rows, export, load_run, marl_eval_data, rliable_scores

ENVS = {"matrix/climbing": 11.0, "matrix/penalty": 10.0}


@pytest.fixture
def runs(make_run):
    return [
        make_run(algorithm=name, env=env, optimum=best, evaluations=3, score=lambda p, s, g, k=k: k * g + s)
        for env, best in ENVS.items()
        for name, k in (("tad-ppo", 8.0), ("mappo", 5.0))
    ]


def test_marl_eval_structure_and_round_trip(runs, tmp_path):
    path = export(runs, tmp_path / "deep" / "results.json", elapsed_time=True)
    data = json.loads(path.read_text())
    assert data == marl_eval_data(runs, elapsed_time=True)
    assert list(data) == ["matrix"]
    assert list(data["matrix"]) == ["climbing", "penalty"]
    assert list(data["matrix"]["penalty"]) == ["tad-ppo", "mappo"]
    assert list(data["matrix"]["penalty"]["mappo"]) == ["seed_0", "seed_1", "seed_2", "seed_3"]
    seed = data["matrix"]["penalty"]["mappo"]["seed_2"]
    assert list(seed) == ["step_0", "step_1", "step_2", "absolute_metrics"]
    assert seed["step_1"] == {"step_count": 32000, "elapsed_time": 5.0, "return": [4.5], "length": [1.0]}
    assert seed["absolute_metrics"] == {"return": [7.0], "length": [1.0]}


def test_marl_eval_steps_hold_the_metrics_of_the_absolute_ones(runs):
    # Its check of data errors wants the same names everywhere, apart from step_count.
    for tasks in marl_eval_data(runs).values():
        names = {
            tuple(sorted(set(step) - {"step_count"}))
            for algorithms in tasks.values()
            for seeds in algorithms.values()
            for seed in seeds.values()
            for step in seed.values()
        }
        assert names == {("length", "return")}


def test_metrics_that_not_all_have_are_left_out(make_run):
    runs = [make_run(algorithm="tad-ppo", teacher=lambda p, s, g: 1.0), make_run(algorithm="mappo")]
    data = marl_eval_data(runs)
    assert set(data["matrix"]["climbing"]["tad-ppo"]["seed_0"]["step_0"]) == {"step_count", "return", "length"}


def test_settings_name_the_algorithm_and_environment_options_the_task(make_run):
    run = make_run(points=[{"env.seed": seed, "clip": clip} for seed in (4, 5) for clip in (0.1, 0.2)])
    data = marl_eval_data(run)
    assert list(data["matrix"]) == ["climbing (seed=4)", "climbing (seed=5)"]
    assert list(data["matrix"]["climbing (seed=5)"]) == ["tad-ppo clip=0.1", "tad-ppo clip=0.2"]
    commas = make_run(points=[{"sizes": [1, 2]}, {"sizes": [3]}])
    assert not any("," in name for name in marl_eval_data(commas)["matrix"]["climbing"])


def test_strict_marl_eval_refuses_what_it_could_not_aggregate(make_run):
    unfinished = make_run(is_finished=False)
    with pytest.raises(ValueError, match="matrix/climbing, tad-ppo, seed_0: no absolute metrics; is the run finished"):
        marl_eval_data(unfinished)
    assert "absolute_metrics" not in marl_eval_data(unfinished, strict=False)["matrix"]["climbing"]["tad-ppo"]["seed_0"]
    uneven = [make_run(), make_run(algorithm="mappo", seeds=(0, 1))]
    with pytest.raises(ValueError, match="mappo differs from matrix/climbing, tad-ppo in its algorithms, seeds or"):
        marl_eval_data(uneven)
    assert len(marl_eval_data(uneven, strict=False)["matrix"]["climbing"]["mappo"]) == 2


def test_rliable_scores_are_runs_by_tasks(runs, make_run):
    scores = rliable_scores(runs)
    assert scores.tasks == ("matrix/climbing", "matrix/penalty") and scores.is_normalized
    expected = np.array([[5 / 11, 5 / 10], [6 / 11, 6 / 10], [7 / 11, 7 / 10], [8 / 11, 8 / 10]])
    np.testing.assert_allclose(scores.matrices["mappo"], expected)
    raw = rliable_scores(runs, normalized=False)
    np.testing.assert_allclose(raw.matrices["tad-ppo"][:, 0], [8, 9, 10, 11])
    mixed = rliable_scores([*runs, *(make_run(algorithm=a, env="x/y", optimum=None) for a in ("tad-ppo", "mappo"))])
    assert not mixed.is_normalized and mixed.matrices["mappo"].shape == (4, 3)


def test_rliable_round_trips(runs, tmp_path):
    scores = rliable_scores(runs)
    with np.load(export(runs, tmp_path / "scores.npz")) as held:
        assert set(held) == {"tad-ppo", "mappo"}
        for name, matrix in scores.matrices.items():
            np.testing.assert_array_equal(held[name], matrix)
    content = json.loads(export(runs, tmp_path / "scores.json", layout="rliable").read_text())
    assert (content["metric"], content["normalized"], content["tasks"]) == ("return", True, list(scores.tasks))
    np.testing.assert_array_equal(content["scores"]["mappo"], scores.matrices["mappo"])


def test_rliable_refuses_what_is_not_a_matrix(runs, make_run):
    with pytest.raises(ValueError, match="mappo has no run on matrix/penalty"):
        rliable_scores(runs[:3])
    with pytest.raises(ValueError, match=r"tad-ppo has different numbers of runs: \{'matrix/a': 2, 'matrix/b': 1\}"):
        rliable_scores([make_run(env="matrix/a", seeds=(0, 1)), make_run(env="matrix/b", seeds=(0,))])
    with pytest.raises(ValueError, match="some lane has no absolute 'return'; is it finished"):
        rliable_scores(make_run(is_finished=False))


@pytest.mark.parametrize(
    ("name", "layout"), [("a.txt", None), ("a.npz", "marl-eval"), ("a.json", "excel"), ("a.json", "csv")]
)
def test_unknown_formats_are_refused(runs, tmp_path, name, layout):
    with pytest.raises(
        ValueError, match=r"accepted: 'marl-eval' to \.json, 'rliable' to \.npz or \.json, 'csv' to \.csv"
    ):
        export(runs, tmp_path / name, layout=layout)


def test_a_runs_own_files_are_not_written_over(write_run):
    folder = write_run()
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    run = load_run(folder)
    for name in ("config.json", "summary.json", "versions.json", "Config.json", "checkpoints/waves.json"):
        with pytest.raises(ValueError, match="is its own; choose another name or folder"):
            export(run, folder / name)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before
    assert export(run, folder / "results.json").is_file()
    assert export(run, folder.parent / "config.json").is_file()


def test_csv_has_every_row_once_and_a_column_per_metric(make_run, tmp_path):
    sweep = make_run(points=[{"clip": 0.1, "env.seed": 4}, {"clip": 0.2, "env.seed": 4}], seeds=(3,), evaluations=2)
    other = make_run(algorithm="mappo", seeds=(0,), evaluations=2, teacher=lambda p, s, g: 5.0, is_finished=False)
    with export([sweep, other], tmp_path / "new" / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(sweep.rows) + len(other.rows) == 2 * 5 + 4
    first = rows[0]
    assert (first["run"], first["environment"], first["seed"], first["kind"]) == (
        *(str(sweep.path), "matrix/climbing", "3", "train"),
    )
    assert {row["config.clip"] for row in rows[:10]} == {"0.1", "0.2"} and {row["env.seed"] for row in rows[:10]} == {
        "4"
    }
    last = rows[-1]
    assert (last["kind"], last["env_steps"], last["wall"], last["episodes"]) == ("eval", "64000", "12.0", "32")
    assert (last["return"], last["teacher/return"], last["config.clip"]) == ("10.0", "5.0", "")
    assert first["learner/policy_loss"] == "", "null in the run"


def test_csv_tells_a_metric_from_a_column_of_the_same_name(write_run):
    folder = write_run(seeds=(0,), evaluations=1, is_finished=False)
    text = (folder / "metrics.jsonl").read_text().replace('"length"', '"seed"')
    (folder / "metrics.jsonl").write_text(text)
    head, train, evaluation = csv_rows(load_run(folder))
    assert len(set(head)) == len(head)
    assert (evaluation[head.index("seed")], evaluation[head.index("metric.seed")]) == (0, 1.0)
    assert train[head.index("metric.seed")] == ""
