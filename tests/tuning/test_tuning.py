"""Tuning: what is drawn, how rounds shrink, and that a search goes on where it stopped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runner_toy import registered

from jaxmarl_suite import algorithms
from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import Experiment, RunFolder, run
from jaxmarl_suite.tuning import Choice, Range, Tuner, parse_space, tune
from jaxmarl_suite.tuning._space import draw_points

DEFAULT = algorithms.get("ippo").default_config
TINY = {"num_envs": 8, "rollout_length": 2, "hidden": [4]}
TOY: Any = ("toy", "counting/countdown")


@pytest.fixture
def toys() -> Iterator[None]:
    """An algorithm that compiles in no time. It scores more after `best_at` updates, if any, and may diverge."""
    with registered():
        yield


def test_spaces_are_read_in_the_types_of_the_config() -> None:
    space = parse_space(["learning_rate=1e-4:1e-2:log", "epochs=2:5", "hidden=(4,),(8,8)", "clip-value=True"], DEFAULT)
    assert space["learning_rate"] == Range(1e-4, 1e-2, is_log=True)
    assert space["epochs"] == Range(2, 5, is_integer=True)
    assert space["hidden"] == Choice(((4,), (8, 8)))
    assert space["clip_value"] == Choice((True,))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("learning_rate", "--space needs FIELD=A,B"),
        ("lerning_rate=1:2", "did you mean"),
        ("learning_rate=2:1", "the first bound must be below the second"),
        ("learning_rate=0:1:log", "a logarithmic range needs positive bounds"),
        ("learning_rate=1:2:lin", "after the bounds may come :log only"),
        ("learning_rate=a:2", "the bounds must be numbers"),
        ("clip_value=0:1", "only numbers have ranges"),
        ("epochs=2,2", "has a value twice"),
    ],
)
def test_what_is_no_space_is_said(entry: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_space([entry], DEFAULT)


def test_points_are_different_and_within_bounds() -> None:
    space = {"a": Range(1e-4, 1e-2, is_log=True), "b": Range(1, 3, is_integer=True), "c": Choice(("x", "y"))}
    points = draw_points(space, 200, 0)
    assert points == draw_points(space, 200, 0) and points[:9] == draw_points(space, 9, 0)
    assert len({repr(p) for p in points}) == 200
    assert all(1e-4 <= p["a"] <= 1e-2 for p in points) and {p["b"] for p in points} == {1, 2, 3}
    below = sum(p["a"] < 1e-3 for p in points)
    assert 70 < below < 130, "half of a logarithmic range lies below its geometric mean"
    assert len(draw_points({"c": Choice(("x", "y"))}, 5, 0)) == 2, "there are no more"


def test_rounds_keep_the_best_and_train_them_longer(toys: None, tmp_path: Path) -> None:
    space = {"best_at": Choice((-2.0, 30.0, 57.0, 60.0))}
    sizes = {"num_envs": 16}
    tuner = Tuner(*TOY, space, sizes, total_steps=960, points=4, rounds=2, keep_one_in=2, final_seeds=3)
    assert [(tuner.count(k), tuner.steps(k)) for k in range(2)] == [(4, 480), (2, 960)]
    found = tune(tuner, tmp_path / "search")
    assert [len(points) for points in found.rounds] == [4, 2]
    scores = [one["score"] for one in found.rounds[0]]
    assert scores == sorted(scores, reverse=True)
    assert [one["settings"] for one in found.rounds[0][:2]] == sorted(
        [one["settings"] for one in found.rounds[1]], key=[one["settings"] for one in found.rounds[0]].index
    )
    assert found.best == found.rounds[1][0]["settings"]
    assert found.tuned.count == found.plain.count == 3
    final = Experiment.read(RunFolder(tmp_path / "search" / "final"))
    assert final.points() == [{}, found.best] and final.options.first_seed == 0
    stored = json.loads((tmp_path / "search" / "tuned.json").read_text())
    assert stored["best"] == found.best and stored["space"]["best_at"]["values"] == [-2.0, 30.0, 57.0, 60.0]

    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "search").rglob("metrics.jsonl")}
    assert tune(tuner, tmp_path / "search") == found, "read again"
    assert made == {path: path.stat().st_mtime_ns for path in made}
    with pytest.raises(ValueError, match="is of another search"):
        tune(Tuner(*TOY, space, sizes, total_steps=480, points=4), tmp_path / "search")


def test_points_that_diverge_are_left_out(toys: None, tmp_path: Path) -> None:
    space = {"bad_metric_at": Choice((-2.0, 3.0))}
    tuner = Tuner(*TOY, space, {"num_envs": 16}, total_steps=160, points=2, rounds=1, seeds=1, final_seeds=2)
    found = tune(tuner, tmp_path / "search")
    assert found.best == {"bad_metric_at": -2.0} and len(found.rounds[0]) == 1
    assert json.loads((tmp_path / "search" / "round-0.diverged.json").read_text()) == [{"bad_metric_at": 3.0}]
    assert (tmp_path / "search" / "round-0.diverged").is_dir()
    assert tune(tuner, tmp_path / "search") == found


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "search")
    sizes = ["--total-steps", "160", "--points", "2", "--rounds", "1", "--seeds", "1", "--final-seeds", "1"]
    fixed = ["--fix", "num_envs=8", "--fix", "rollout_length=2", "--fix", "hidden=(4,)"]
    command = ["tune", "ippo", "--env", "matrix/climbing", "--space", "learning_rate=1e-3,1e-2", *sizes, *fixed]
    assert main([*command, "--folder", folder, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["best"]["learning_rate"] in (1e-3, 1e-2) and found["folder"] == folder
    assert main(["tune", "ippo", "--env", "matrix/climbing", "--folder", folder]) == 2
    assert "the space is empty" in capsys.readouterr().err
    assert main([*command, "--final-seeds", "2000"]) == 2
    assert "the search's seeds begin at 1000" in capsys.readouterr().err


def test_explicit_points_are_a_grid(tmp_path: Path) -> None:
    experiment = Experiment("ippo", "matrix/climbing", TINY, {}, [{}, {"entropy": 0.5}])
    assert Experiment.from_json(experiment.to_json()).points() == [{}, {"entropy": 0.5}]
    with pytest.raises(ValueError, match="a list of points needs at least one"):
        Experiment("ippo", "matrix/climbing", TINY, {}, []).points()
    with pytest.raises(ValueError, match="entrpy"):
        run(Experiment("ippo", "matrix/climbing", TINY, {}, [{"entrpy": 0.5}]), run_dir=tmp_path / "run")
