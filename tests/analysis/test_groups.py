"""Which lanes are compared with which, and what their series are called."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from jaxmarl_suite.analysis import group_runs, load_run, marl_eval_data, plot, summarize


def labels(runs, **options):
    return [series.label for series in group_runs(runs, **options)]


def test_one_series_for_each_algorithm_in_a_fixed_order(make_run):
    runs = [make_run(algorithm=name) for name in ("zeta", "qmix", "mappo", "tad-ppo")]
    assert labels(runs) == ["tad-ppo", "mappo", "qmix", "zeta"]


def test_environments_keep_their_order_of_appearance(make_run):
    runs = [make_run(env=env) for env in ("rag/b", "matrix/a")]
    assert [series.env for series in group_runs(runs)] == ["rag/b", "matrix/a"]
    optioned = make_run(env="matrix/penalty", env_options={"penalty": -50.0, "seed": 3})
    assert group_runs(optioned)[0].env == "matrix/penalty (penalty=-50)"


def test_points_of_a_sweep_are_labeled_by_what_varies_in_numerical_order(make_run):
    points = [{"learning_rate": rate, "clip": 0.2} for rate in (1e-2, 1e-4, 3e-4)]
    assert labels(make_run(points=points)) == [
        "tad-ppo learning_rate=0.0001",
        "tad-ppo learning_rate=0.0003",
        "tad-ppo learning_rate=0.01",
    ]


def test_separate_runs_are_labeled_by_their_configuration(make_run):
    runs = [make_run(config={"nested": {"clip": clip}}) for clip in (0.2, 0.1)]
    assert labels(runs) == ["tad-ppo nested.clip=0.1", "tad-ppo nested.clip=0.2"]


def test_an_override_equals_the_same_value_in_another_runs_configuration(make_run):
    swept = make_run(points=[{"clip": 0.1}, {"clip": 1.0}], seeds=(0, 1), config={"clip": 0.5})
    single = make_run(config={"clip": 1}, seeds=(2, 3))
    series = group_runs([swept, single])
    assert [(s.label, s.num_lanes, s.seeds) for s in series] == [
        ("tad-ppo clip=0.1", 2, (0, 1)),
        ("tad-ppo clip=1", 4, (0, 1, 2, 3)),
    ]


def test_learning_from_stored_replay_is_another_setting(make_run):
    runs = [make_run(algorithm="vdn"), make_run(algorithm="vdn", train={"data": "/data/xor"})]
    assert labels(runs) == ["vdn data=/data/xor", "vdn data=default"]
    assert labels(runs[1]) == ["vdn"]


def test_settings_are_compared_within_an_environment_only(make_run):
    runs = [make_run(env="matrix/a", config={"clip": 0.1}), make_run(env="matrix/b", config={"clip": 0.2})]
    assert labels(runs) == ["tad-ppo", "tad-ppo"]


def test_seeds_of_runs_alike_are_joined_at_common_evaluations(make_run):
    first = make_run(seeds=(0, 1), evaluations=3, score=lambda p, s, g: s + g)
    second = make_run(seeds=(2,), evaluations=5, score=lambda p, s, g: s + g)
    (series,) = group_runs([first, second])
    curve = series.curve()
    assert curve.env_steps.tolist() == [0, 32000, 64000]
    np.testing.assert_allclose(np.concatenate(curve.strata), [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]])
    np.testing.assert_allclose(np.concatenate(series.absolute()), [1, 2, 3])


def test_the_same_seed_twice_is_refused(make_run):
    runs = [make_run(seeds=(0, 1)), make_run(seeds=(1, 2))]
    with pytest.raises(ValueError, match=r"seed 1 of tad-ppo on matrix/climbing appears twice .*run-0 and .*run-1"):
        group_runs(runs)
    with pytest.raises(ValueError, match="no runs given"):
        group_runs([])


def test_instances_are_pooled_as_strata(make_run):
    run = make_run(points=[{"env.seed": 4}, {"env.seed": 9}], seeds=(0, 1, 2), score=lambda p, s, g: 10 * p + s)
    (series,) = group_runs(run)
    assert (series.label, series.num_lanes, series.num_instances) == ("tad-ppo", 6, 2)
    assert [scores.tolist() for scores in series.final()] == [[0, 1, 2], [10, 11, 12]]
    assert labels(run, pool=()) == ["tad-ppo env.seed=4", "tad-ppo env.seed=9"]


def test_one_seed_for_each_instance_makes_the_instances_the_sample(make_run):
    run = make_run(points=[{"env.seed": seed} for seed in range(4)], seeds=(0,), score=lambda p, s, g: p)
    (series,) = group_runs(run)
    assert [scores.tolist() for scores in series.final()] == [[0, 1, 2, 3]]


def test_evaluations_that_a_lane_lacks_are_left_out(write_run):
    path = write_run(seeds=(0, 1), evaluations=3, is_finished=False)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (path / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")  # killed before lane 1's last evaluation
    (series,) = group_runs(load_run(path))
    assert series.curve().env_steps.tolist() == [0, 32000]
    assert series.absolute() is None
    rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["lane"] == 1:
            row["metrics"]["return"] = None
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (series,) = group_runs(load_run(path))
    with pytest.raises(ValueError, match="tad-ppo on matrix/climbing: no evaluation of 'return' common to all lanes"):
        series.curve()


def test_policies_beside_the_learned_one(make_run):
    (series,) = group_runs(make_run(teacher=lambda p, s, g: 11.0))
    assert series.policies() == ("teacher",)
    (joined,) = group_runs([make_run(seeds=(0,), teacher=lambda p, s, g: 11.0), make_run(seeds=(1,))])
    assert joined.policies() == ()


def rewrite(path, change):
    """Puts `change(row)` in the place of every row."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (path / "metrics.jsonl").write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in lines))


@pytest.fixture
def of_two_sizes(write_run):
    """A sweep over the number of environments: an update of its second point takes twice as many steps."""
    path = write_run(
        points=[{"num_envs": 64}, {"num_envs": 128}], seeds=(0, 1, 2), evaluations=3, teacher=lambda *at: 5
    )
    rewrite(path, lambda row: row | {"env_steps": row["env_steps"] * (1 + row["point"])})
    return load_run(path)


def test_series_need_not_agree_about_steps(of_two_sizes, tmp_path):
    small, large = group_runs(of_two_sizes)
    assert small.curve().env_steps.tolist() == [0, 32_000, 64_000]
    assert large.curve(kind="train").env_steps.tolist() == [0, 64_000, 128_000]
    assert [row.env_steps for row in summarize(of_two_sizes)] == [64_000, 64_000, 128_000, 128_000]
    for kind in ("train", "eval"):
        assert plot(of_two_sizes, tmp_path / f"{kind}.png", kind=kind, resamples=20).is_file()
    steps = marl_eval_data(of_two_sizes)["matrix"]["climbing"]["tad-ppo num_envs=128"]["seed_0"]
    assert [steps[f"step_{index}"]["step_count"] for index in range(3)] == [0, 64_000, 128_000]
    assert of_two_sizes.curve(point=1).env_steps.tolist() == [0, 64_000, 128_000]
    with pytest.raises(ValueError, match="disagree about env_steps: 32000 and 64000; choose one point"):
        of_two_sizes.curve()


def test_a_student_begins_where_its_own_series_says(of_two_sizes, write_run):
    """The larger number of environments ends its first phase later, in steps."""
    run = dataclasses.replace(
        of_two_sizes,
        untrained_phases=("teach",),
        rows=tuple(
            dataclasses.replace(row, phase="teach" if row.update < 500 else "learn") for row in of_two_sizes.rows
        ),
    )
    assert [series.first_trained_step for series in group_runs(run)] == [32_000, 64_000]


def test_training_rows_without_a_value_show_the_last_one(write_run):
    """Episodes twice as long as a row: every lane has half of its rows, and no row is common to all."""
    path = write_run(seeds=(0, 1), evaluations=6, score=lambda p, s, g: 10 * s + 5 * g)

    def sparse(row):
        is_end = (row["update"] // 200) % 2 == row["lane"]
        value = None if row["kind"] == "train" and not is_end else row["metrics"]["return"]
        return row | {"metrics": row["metrics"] | {"return": value}}

    rewrite(path, sparse)
    (series,) = group_runs(load_run(path))
    curve = series.curve(kind="train")
    assert curve.updates.tolist() == [200, 400, 600, 800, 1000]  # before, lane 1 has had no episode
    np.testing.assert_allclose(np.concatenate(curve.strata), [[0, 2, 2, 4, 4], [11, 11, 13, 13, 15]])
    with pytest.raises(ValueError, match="no training row with 'learner/policy_loss' common to all lanes"):
        series.curve("learner/policy_loss", kind="train")

    # A lane that stopped has no later value, and one whose rows lack the metric none of another phase.
    lines = (path / "metrics.jsonl").read_text().splitlines()
    stopped = [line for line in lines if not ('"lane": 0' in line and '"update": 1000' in line)]
    (path / "metrics.jsonl").write_text("\n".join(stopped) + "\n")
    (series,) = group_runs(load_run(path))
    assert series.curve(kind="train").updates.tolist() == [200, 400, 600, 800]
    rewrite(path, lambda row: row | {"metrics": {"length": 1.0} if row["update"] == 800 else row["metrics"]})
    (series,) = group_runs(load_run(path))
    assert series.curve(kind="train").updates.tolist() == [200, 400, 600]


def test_a_setting_with_the_name_of_an_option_splits_series(make_run):
    runs = [make_run(seeds=(0,), config={"data": name, "total_steps": 5}) for name in ("first", "second")]
    assert labels(runs) == ["tad-ppo data=first", "tad-ppo data=second"]
    runs = [make_run(seeds=(0,), config={"total_steps": 5}, total_steps=steps) for steps in (1000, 2000)]
    assert labels(runs) == ["tad-ppo train.total_steps=1000", "tad-ppo train.total_steps=2000"]
