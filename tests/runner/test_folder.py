"""The run folder and the sinks."""

import json
import re
from pathlib import Path

import pytest
from runner_tools import UPDATES, Recorder, rows, toy

from jaxmarl_suite.analysis import load_run
from jaxmarl_suite.runner import RunFolder, TrainOptions, resume, run
from jaxmarl_suite.runner._sinks import JsonlSink

pytestmark = pytest.mark.usefixtures("toys")


def test_a_run_folder_is_what_the_analysis_reads(tmp_path: Path) -> None:
    experiment = toy(grid={"step": [0.5, 1.0], "env.bonus": [0.25]}, seeds=2)
    run_dir = run(experiment, run_dir=tmp_path / "deep" / "run")
    assert sorted(path.name for path in run_dir.iterdir()) == [
        *("checkpoints", "config.json", "metrics.jsonl", "summary.json", "versions.json"),
    ]
    loaded = load_run(run_dir)
    assert (loaded.algorithm, loaded.env, loaded.total_steps, loaded.status) == (
        "toy",
        "counting/countdown",
        48,
        "finished",
    )
    assert loaded.config["num_envs"] == 4 and loaded.train["seeds"] == 2
    assert [(lane.point, lane.seed, dict(lane.overrides)) for lane in loaded.lanes] == [
        (point, seed, {"step": step, "env.bonus": 0.25}) for point, step in enumerate((0.5, 1.0)) for seed in (0, 1)
    ]
    curve = loaded.curve("return")
    assert curve.values.shape == (4, 4)
    assert curve.env_steps.tolist() == [12, 24, 36, 48] and curve.updates.tolist() == [3, 6, 9, 12]
    assert (curve.wall[:, 1:] >= curve.wall[:, :-1]).all()
    assert loaded.curve("learner/weight", kind="train").values.shape == (4, UPDATES)
    assert loaded.absolute("lazy/return").tolist() == [0.25 * value for value in loaded.absolute("length")]
    assert {row.episodes for row in loaded.rows if row.kind == "eval"} == {8}
    assert loaded.versions["devices"] == 2
    summary = json.loads((run_dir / "summary.json").read_text())
    assert [lane["absolute"]["metrics"]["return"] for lane in summary["lanes"]] == loaded.absolute().tolist()
    assert summary["compile_seconds"] > 0 and summary["seconds"] > 0


def test_rows_lie_on_disk_as_soon_as_they_are_made(tmp_path: Path, few_at_a_time: None) -> None:
    seen = []
    recorder = Recorder(lambda calls: seen.append(len(rows(tmp_path / "run"))))
    run(toy(), run_dir=tmp_path / "run", listener=recorder)
    # A train row per update, an evaluation every third, the absolute metric at the end.
    assert seen == [u + u // 3 for u in range(1, UPDATES + 1)] + [UPDATES + 5]


def test_jsonl_has_no_numbers_that_json_has_not(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.write([{"kind": "train", "metrics": {"a": float("nan"), "b": float("inf"), "c": None, "d": 1.5}}])
    sink.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["metrics"] == {
        "a": None,
        "b": None,
        "c": None,
        "d": 1.5,
    }


def test_averages_over_no_episodes_are_null(tmp_path: Path) -> None:
    run_dir = run(toy(env="endless", grid={"env.longest": [10**6]}, eval_max_steps=2), run_dir=tmp_path / "run")
    assert {row["metrics"]["return"] for row in rows(run_dir, "train").values()} == {None}


def test_an_unknown_sink_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown sink 'tensorbored'; there are: tensorboard, wandb"):
        run(toy(), run_dir=tmp_path / "run", sinks=("tensorbored",))
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ValueError, match=r'pip install "jaxmarl-suite\[wandb\]"'):
        run(toy(), run_dir=tmp_path / "run", sinks=("wandb",))
    assert not (tmp_path / "run").exists()


def test_folders_in_use_are_refused(tmp_path: Path) -> None:
    run_dir = run(toy(), run_dir=tmp_path / "run")
    before = (run_dir / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match='already holds a run; continue it with "jaxmarl-suite resume'):
        run(toy(), run_dir=run_dir)
    assert (run_dir / "metrics.jsonl").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("other", "file"):
        with pytest.raises(ValueError, match=f"{name}' is not an empty folder"):
            run(toy(), run_dir=tmp_path / name)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    run(toy(), run_dir=tmp_path / "empty")


def test_a_folder_that_cannot_be_made_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run folder .*file/run' cannot be written: Not a directory"):
        run(toy(), run_dir=tmp_path / "file" / "run")


def test_resume_needs_a_run_of_this_schema_and_names_another_version(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder: it has no config"):
        resume(tmp_path)
    run_dir = run(toy(), run_dir=tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text())
    RunFolder(run_dir).write("config.json", {**config, "schema": 99})
    with pytest.raises(ValueError, match=r"has schema 99; this version reads 1$"):
        resume(run_dir)
    unknown = {**config, "config": {**config["config"], "gone": 1}}
    RunFolder(run_dir).write("config.json", unknown)
    with pytest.raises(ValueError, match=r"config.json: .*'gone'") as caught:
        resume(run_dir)
    assert "another version" not in str(caught.value)
    versions = json.loads((run_dir / "versions.json").read_text())
    RunFolder(run_dir).write("versions.json", {**versions, "jaxmarl-suite": "0.0.1"})
    note = rf"; written by another version \(0\.0\.1; this is {re.escape(versions['jaxmarl-suite'])}\)$"
    for content, problem in (
        (unknown, "'gone'"),
        ({**config, "schema": 99}, "reads 1"),
        ({**config, "grid": 1}, "'grid'"),
    ):
        RunFolder(run_dir).write("config.json", content)
        with pytest.raises(ValueError, match=f"{problem}.*{note}"):
            resume(run_dir)
    (run_dir / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        resume(run_dir)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    run_dir = run(toy(seeds=2), run_dir=tmp_path / "run")
    before = (run_dir / "metrics.jsonl").read_bytes(), (run_dir / "summary.json").read_bytes()
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    after = (run_dir / "metrics.jsonl").read_bytes(), (run_dir / "summary.json").read_bytes()
    assert after == before and recorder.env_steps == 0


def test_only_programs_that_are_compiled_count_as_compiling(tmp_path: Path) -> None:
    """The second run of a process takes the first one's programs."""
    for name in ("first", "second"):
        run_dir = run(toy(seeds=2, changes={"action": 0}), run_dir=tmp_path / name)
        summary = json.loads((run_dir / "summary.json").read_text())
        assert 0 < summary["compile_seconds"] <= summary["seconds"]


def test_sizes_and_seconds_that_cannot_be_are_refused() -> None:
    for name in ("total_steps", "seeds", "lanes_at_once", "keep_checkpoints", "lasting_checkpoints"):
        for value in (1000.5, True, "10"):
            with pytest.raises(ValueError, match=f"{name} must be an integer, got {value!r}"):
                toy(**{name: value})
    with pytest.raises(ValueError, match="lasting_checkpoints must not exceed the 4 evaluations, got 5"):
        TrainOptions(evaluations=4, lasting_checkpoints=5)


def test_a_failure_before_the_first_row_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OverflowError

    monkeypatch.setattr("jaxmarl_suite.runner._train.choose_wave", fails)
    with pytest.raises(OverflowError):
        run(toy(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
