"""Runs that start from the artifact of another run."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from library_toy import OFFLINE_UPDATES, library, of_phase
from runner_tools import final_arrays, rows, tiny, toy

from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import (
    RunFolder,
    evaluate,
    plan_phases,
    restore_policies,
    resume,
    run,
)
from jaxmarl_suite.runner._artifacts import find_starts, read_start

pytestmark = pytest.mark.usefixtures("toys", "named")


def test_a_run_that_starts_from_the_artifact_is_the_second_half_of_the_one_that_left_it(
    both: Path, tmp_path: Path
) -> None:
    """Bit by bit: states, best policies, rows. Without the data; and without the other run, once it has begun."""
    source = tmp_path / "source"
    shutil.copytree(both, source)
    given = library(None, seeds=2, start_from=str(source), checkpoint_seconds=0.0)
    started = run(given, run_dir=tmp_path / "started")
    assert of_phase(started, "play") == of_phase(both, "play")
    assert {row["phase"] for row in rows(started).values()} == {"play"}
    pairs = list(zip(final_arrays(started), final_arrays(both), strict=True))
    (steps,) = [pair for pair in pairs if pair[0].tobytes() != pair[1].tobytes()]
    assert (steps[1] - steps[0]).tolist() == [OFFLINE_UPDATES] * 2, "but for the steps of their runs"
    config = json.loads((started / "config.json").read_text())
    assert config["train"]["start_from"] == str(source)
    about = {"run_dir": str(source), "phase": "library", "env_steps": 0}
    assert [lane["start"] for lane in config["lanes"]] == [{**about, "lane": 0}, {**about, "lane": 1}]

    shutil.rmtree(source)
    expected = rows(started)
    evaluations = evaluate(started, episodes=4)
    shutil.rmtree(started / "checkpoints")  # as if it had been killed before the first
    (started / "summary.json").unlink()
    resume(started)
    assert rows(started) == expected and evaluate(started, episodes=4) == evaluations


def test_what_a_killed_process_copied_is_replaced_and_nothing_of_the_users(both: Path, tmp_path: Path) -> None:
    given = library(None, seeds=2, start_from=str(both))
    mine, left = tmp_path / "mine", tmp_path / "left"
    for path in (mine / "start" / "notes.txt", tmp_path / "deep" / "start" / "000" / "notes.txt"):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(ValueError, match="is not an empty folder"):
            run(given, run_dir=path.parents[path.parts[::-1].index("start")])
        assert path.read_text() == "mine"
    (left / "start" / "000" / "0.orbax-checkpoint-tmp").mkdir(parents=True)
    assert of_phase(run(given, run_dir=left), "play") == of_phase(both, "play")


def test_one_lane_may_start_all(both: Path, tmp_path: Path) -> None:
    started = run(
        library(None, seeds=3, start_from=str(both), start_lane=1, lanes_at_once=2, lane_mode="vmap"),
        run_dir=tmp_path / "started",
    )
    assert read_start(RunFolder(started), 0).arrays[0].shape == (1, 3)
    (theirs,) = restore_policies(both)
    found = [weights for trained in restore_policies(started) for weights in trained.state.library.weights]
    assert len(found) == 3 and all(np.array_equal(w, theirs.state.library.weights[1]) for w in found)
    assert len({float(own) for trained in restore_policies(started) for own in trained.state.own}) == 3


def test_a_sweep_shares_the_phases(data: Path, tmp_path: Path) -> None:
    """Lanes of other settings learn other libraries; an artifact of each."""
    swept = run(library(data, grid={"rate": [0.5, 0.25]}), run_dir=tmp_path / "run")
    played = [row for key, row in of_phase(swept, "play").items() if key[0] == "train" and row["update"] == 6]
    assert len({row["metrics"]["learner/own"] for row in played}) == 2
    again = run(library(None, grid={"rate": [0.5, 0.25]}, start_from=str(swept)), run_dir=tmp_path / "again")
    assert of_phase(again, "play") == of_phase(swept, "play")
    waves = library(data, grid={"rate": [0.5, 0.25], "offline_updates": [10, 5]}, lanes_at_once=1)
    assert [len(group.lanes) for group in waves.groups()] == [2, 2]
    many = run(waves, run_dir=tmp_path / "many")
    assert len(list((many / "artifacts").iterdir())) == 4
    again = run(
        dataclasses.replace(waves, options=dataclasses.replace(waves.options, data=None, start_from=str(many))),
        run_dir=tmp_path / "again-many",
    )
    ours, theirs = of_phase(again, "play"), of_phase(many, "play")
    assert ours.keys() == theirs.keys()
    # Best policies are left out: in the whole run one of the first phase may be it.
    assert all(ours[key] == theirs[key] for key in ours if key[0] != "absolute")


def damage(folder: Path) -> None:
    """Overwrites the arrays of artifacts."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 40 and "d" in path.parts:
            path.write_bytes(b"\0" * path.stat().st_size)


def test_artifacts_of_other_lanes_may_have_other_shapes_or_be_damaged(data: Path, tmp_path: Path) -> None:
    """A grid over a size gives artifacts of several; each lane takes its own, and needs no other."""
    grid = {"entries": [2, 3]}
    source = run(library(data, grid=grid), run_dir=tmp_path / "source")
    again = run(library(None, grid=grid, start_from=str(source)), run_dir=tmp_path / "again")
    assert of_phase(again, "play") == of_phase(source, "play")
    _, second = sorted((source / "artifacts").iterdir())
    damage(second)
    alone = library(None, entries=2, start_from=str(source), start_lane=0)
    assert of_phase(run(alone, run_dir=tmp_path / "alone"), "play") != {}
    with pytest.raises(ValueError, match=f"{second.name}.* cannot be read"):
        run(library(None, entries=3, start_from=str(source), start_lane=1), run_dir=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_from": "nowhere"}, "'nowhere' is not a run folder"),
        (
            {"seeds": 3},
            r"has 2 lanes and this one 3; set start_lane \(0 to 1\) to the one whose artifact all of them take",
        ),
        ({"start_lane": 2}, r"has no lane 2; there are 0..1"),
        (
            {"start_lane": 0, "env": "counting/endless"},
            "is of 'counting/countdown' with options {}, got 'counting/endless'",
        ),
        (
            {"start_lane": 0, "grid": {"env.bonus": [0.0, 1.0]}},
            "'counting/countdown' with options {}, got 'counting/countdown' with {'bonus': 1.0}",
        ),
        (
            {"start_lane": 0, "entries": 4},
            r"artifact of phase 'library' of run .* has float32 \(3,\) for 'weights', library-toy needs float32 \(4,\)",
        ),
        ({"start_phase": "library"}, "cannot start with phase 'library'; with an artifact begin: play"),
        ({"start_from": None, "start_lane": 1}, "start_lane needs start_from"),
        ({"start_from": None}, r"phase 'library' of library-toy learns from stored data: .*--data"),
        ({"data": "numbers"}, "no phase of this run of library-toy takes data"),
    ],
)
def test_what_cannot_start_is_refused_before_a_file_is_written(
    settings: dict[str, Any], message: str, both: Path, data: Path, tmp_path: Path
) -> None:
    if settings.get("data"):
        settings = settings | {"data": str(data)}
    chosen = {"data": None, "seeds": 2, "start_from": str(both), **settings}
    with pytest.raises(ValueError, match=message):
        run(library(**chosen), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_artifacts_than_the_needed_one_are_refused(both: Path, data: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(both, unfinished)
    shutil.rmtree(unfinished / "artifacts")
    given = library(None, seeds=2, start_from=str(unfinished))
    with pytest.raises(
        ValueError, match="has no artifact of phase 'library' of lane 0; it is written when that phase is"
    ):
        run(given, run_dir=tmp_path / "run")
    with pytest.raises(
        ValueError, match="toy cannot start from another run: none of its phases begins with an artifact"
    ):
        toy(start_from=str(both), changes={"two_phases": True}).groups()
    with pytest.raises(ValueError, match="has no artifact of phase 'teach' of lane 0; it has one of phase 'library'"):
        other = dataclasses.replace(
            tiny("tad-ppo", seeds=2, start_from=str(both)), env="counting/countdown", env_options={}
        )
        find_starts(other, other.groups())
    odd = tmp_path / "odd"
    shutil.copytree(both, odd)
    config = json.loads((odd / "config.json").read_text())
    for lanes in ([1], [{"overrides": 3}]):
        (odd / "config.json").write_text(json.dumps(config | {"lanes": lanes}))
        with pytest.raises(ValueError, match=r"config\.json: 'lanes' must be a list of objects with overrides, got \["):
            run(library(None, seeds=1, start_from=str(odd)), run_dir=tmp_path / "run")
    damaged = tmp_path / "damaged"
    shutil.copytree(both, damaged)
    damage(damaged / "artifacts")
    with pytest.raises(ValueError, match="cannot be read"):
        run(library(None, seeds=2, start_from=str(damaged)), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_plans_trains_and_starts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["library-toy", "--env", "counting/countdown", "--total-steps", "24", "--evaluations", "2"]
    common += ["--eval-episodes", "4", "--absolute-episodes", "4"]
    assert main(["--json", "plan", *common, "--data", str(data)]) == 0
    (program,) = json.loads(capsys.readouterr().out.splitlines()[-1])["programs"]
    assert [(phase["name"], phase["updates"], phase["env_steps_per_update"]) for phase in program["phases"]] == [
        ("library", 10, 0),
        ("play", 6, 4),
    ]
    assert main(["train", *common, "--data", str(data), "--run-dir", str(tmp_path / "run")]) == 0
    started = [*common, "--start-from", str(tmp_path / "run"), "--run-dir", str(tmp_path / "started")]
    assert main(["train", *started]) == 0
    assert of_phase(tmp_path / "started", "play") == of_phase(tmp_path / "run", "play")
    assert main(["train", *started, "--resume"]) == 0, "it is what it was"
    capsys.readouterr()
    assert main(["train", *common, "--start-from", str(data), "--run-dir", str(tmp_path / "r")]) == 2
    assert "is not a run folder" in capsys.readouterr().err and not (tmp_path / "r").exists()


@pytest.mark.slow  # the same with a toy is quick
def test_distillation_starts_from_the_teacher_of_another_run(tmp_path: Path) -> None:
    """It is that teacher to the end; and the same run again where the lengths agree."""
    whole = run(tiny("tad-ppo"), run_dir=tmp_path / "whole")
    (teach, distill) = plan_phases(tiny("tad-ppo").groups()[0], tiny("tad-ppo").options)
    steps = distill.updates * distill.env_steps_per_update
    started = run(tiny("tad-ppo", total_steps=steps, start_from=str(whole)), run_dir=tmp_path / "started")
    (theirs,), (ours,) = restore_policies(whole), restore_policies(started)
    for a, b in zip(jax.tree.leaves(theirs.state), jax.tree.leaves(ours.state), strict=True):
        a, b = (jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    losses = [
        [row["metrics"]["learner/distill_loss"] for row in rows(path, "train").values() if row["phase"] == "distill"][
            -1
        ]
        for path in (whole, started)
    ]
    assert losses[0] == losses[1]
    source = json.loads((started / "config.json").read_text())["lanes"][0]["start"]
    assert source == {"run_dir": str(whole), "phase": "teach", "env_steps": teach.env_steps(teach.updates), "lane": 0}
    assert rows(started, "eval").keys() and all(row["phase"] == "distill" for row in rows(started).values())
