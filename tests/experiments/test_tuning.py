"""A search scores points over all lanes of all tasks, prefers the first of equal ones, and says what is missing."""

import json
import types

import numpy as np
import pytest

from experiments import _tuning
from experiments._tuning import Search, search, tuned, tuned_table
from jaxmarl_suite.runner import TrainOptions

GRID = {"learning_rate": [0.1, 0.2], "entropy": [0.0, 1.0]}
FINAL = {0.1: (0.5, 1.0), 0.2: (1.0, 0.0)}  # by learning rate and game


def fake_run(preset):
    lanes = [
        types.SimpleNamespace(overrides={"learning_rate": rate, "entropy": entropy, "env.seed": game})
        for rate in GRID["learning_rate"]
        for entropy in GRID["entropy"]
        for game in (0, 1)
    ]
    final = np.array([FINAL[lane.overrides["learning_rate"]][lane.overrides["env.seed"]] for lane in lanes])
    return types.SimpleNamespace(lanes=lanes, final=final)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(_tuning, "train_all", lambda presets, *_, **__: {p.name: fake_run(p) for p in presets})
    monkeypatch.setattr(_tuning, "provenance", lambda runs: "here")
    group = Search(
        "games",
        ["matrix/a", "matrix/b"],
        {"mappo": {"epochs": 4}},
        GRID,
        lambda run: run.final[None],
        TrainOptions(seeds=1, first_seed=1000),
        env_grid={"env.seed": [0, 1]},
    )
    path = tmp_path / "tad_games" / "tuned.json"
    path.parent.mkdir()
    search([group], path, tmp_path)
    return group, path


def test_first_of_the_best_points_is_chosen(study):
    _, path = study
    assert tuned(path, "games", "mappo") == {"learning_rate": 0.1, "entropy": 0.0}
    points = json.loads(path.read_text())["games"]["methods"]["mappo"]["points"]
    assert [point["score"] for point in points] == [[0.75], [0.75], [0.5], [0.5]]
    assert "| mappo | 0.1 | 0 | 0.75 | 4 | 4 | 100,000 |" in tuned_table(path)


def test_sweeps_are_one_a_task_with_all_games(study):
    group, _ = study
    presets = group.presets("mappo")
    assert [preset.env for preset in presets] == ["matrix/a", "matrix/b"]
    assert presets[0].grid == {**GRID, "env.seed": [0, 1]} and presets[0].settings == {"epochs": 4}


def test_missing_method_names_the_command(study):
    _, path = study
    with pytest.raises(ValueError, match=r"python -m experiments\.tad_games --search"):
        tuned(path, "games", "happo")
