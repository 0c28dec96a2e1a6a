"""`--config FILE`: parts of an experiment, or a whole run's, with the command line before it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.recipes import RECIPES, Recipe
from jaxmarl_suite.runner import Experiment, RunFolder, WandbOptions
from tests.cli.conftest import TINY_MAPPO, Cli


def parsed(line: str, command: str = "train") -> Any:
    return parse_experiment(shlex.split(line), command, "")


@pytest.fixture
def write(in_tmp: Path) -> Any:
    def write(content: Any) -> Path:
        (in_tmp / "mine.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return Path("mine.json")

    return write


def test_a_runs_own_config_gives_the_same_experiment(cli: Cli, finished_run: Path, in_tmp: Path) -> None:
    file = finished_run / "config.json"
    experiment = parsed(f"--config {file}").experiment
    assert experiment.to_json() == Experiment.read(RunFolder(finished_run)).to_json()
    outcome = cli(f"train --config {file} --run-dir again --json")
    assert outcome.code == 0, outcome.err
    assert json.loads((in_tmp / "again/config.json").read_text()) == json.loads(file.read_text())
    rows = [
        [{**json.loads(line), "wall": 0} for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (in_tmp / "again", finished_run)
    ]
    assert rows[0] == rows[1] and rows[0]
    assert cli(f"train --config={file} --run-dir again --resume").code == 0
    assert "seeds is 2 in the run, got 3" in cli(f"train --config {file} --run-dir again --resume --seeds 3").error


def test_the_command_line_goes_before_the_file(write: Any) -> None:
    write(
        {
            "algorithm": "mappo",
            "env": "matrix/random-2x2",
            "env_options": {"seed": 3, "horizon": 2},
            "eval_env_options": {"horizon": 4},
            "config": {"learning_rate": 0.5, "hidden": [8, 8], "recurrent": True},
            "train": {"seeds": 7, "total_steps": 4096},
            "sinks": ["tensorboard"],
            "wandb": {"project": "mine", "tags": ["a"]},
        }
    )
    request = parsed("--config mine.json --wandb.group g --wandb.run-per-seed")
    assert request.wandb == WandbOptions("mine", "g", ("a",), True)
    one = request.experiment
    assert (one.algorithm, one.env, request.sinks) == ("mappo", "matrix/random-2x2", ("tensorboard",))
    assert (one.config.learning_rate, one.config.hidden, one.config.recurrent) == (0.5, (8, 8), True)
    assert (one.options.seeds, one.options.total_steps, one.options.evaluations) == (7, 4096, 20)
    assert (one.env_options, one.eval_env_options) == ({"seed": 3, "horizon": 2}, {"horizon": 4})
    request = parsed(
        "ippo --config mine.json --env matrix/random-3x3 --seeds 1 --learning-rate 0.1 --no-recurrent --env.seed 5 --sinks"
    )
    one = request.experiment
    assert (one.algorithm, one.env, request.sinks, request.wandb) == ("ippo", "matrix/random-3x3", (), None)
    assert (one.config.learning_rate, one.config.hidden, one.config.recurrent) == (0.1, (8, 8), False)
    assert (one.options.seeds, one.options.total_steps, one.env_options) == (1, 4096, {"seed": 5, "horizon": 2})


def test_grids_are_for_sweeps(cli: Cli, write: Any) -> None:
    points = [{"learning_rate": 0.1}, {"learning_rate": 0.2, "entropy": 0.5}]
    for grid in ({"learning_rate": [0.1, 0.2]}, points):
        write({"algorithm": "mappo", "env": "matrix/xor", "grid": grid})
        assert parsed("--config mine.json", "sweep").experiment.grid == grid
        assert parsed("--config mine.json", "plan").experiment.grid == grid
        assert parsed("--config mine.json --grid clip=0.1", "sweep").experiment.grid == {"clip": [0.1]}
        assert cli("train --config mine.json").error == 'mine.json: has a grid, which is for "sweep"'


def test_a_recipe_fills_what_the_file_leaves_open(
    finished_run: Path, write: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"clip": 0.7, "learning_rate": 0.7}
    recipe = Recipe("mappo", "matrix/xor", settings, total_steps=1000, source="made up", date="2026-01")
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    write({"algorithm": "mappo", "env": "matrix/xor", "config": {"learning_rate": 0.5}})
    request = parsed("--config mine.json")
    assert (request.recipe, request.experiment.config.clip, request.experiment.config.learning_rate) == (
        recipe,
        0.7,
        0.5,
    )
    request = parsed(f"--config {finished_run}/config.json")
    assert request.recipe is None and request.experiment.config.clip == 0.2
    error = cli(f"train --config {finished_run}/config.json --recipe {recipe.name}").error
    assert f"has all settings of mappo and leaves nothing to recipe {recipe.name!r}" in error


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "mine.json is not valid JSON"),
        ("[]", "mine.json must hold a JSON object, found list"),
        ({"algo": "mappo"}, "mine.json: no field 'algo'; did you mean 'algorithm'?"),
        ({"seeds": 3}, "mine.json: 'seeds' belongs into 'train'"),
        ({"total_steps": 3}, "mine.json: 'total_steps' belongs into 'train'"),
        ({"env": 3}, "mine.json: 'env' must be text, got 3"),
        ({"config": []}, "mine.json: 'config' must be an object, got []"),
        ({"grid": "x"}, "mine.json: 'grid' must be an object or a list, got 'x'"),
        ({"sinks": ["excel"]}, "mine.json: 'sinks' has the unknown name 'excel'; there are: tensorboard, wandb"),
        ({"sinks": [["wandb"]]}, "mine.json: 'sinks' has the unknown name ['wandb']"),
        (
            {"config": {"learning_rat": 1}},
            "mine.json: in 'config': no field 'learning_rat'; did you mean 'learning_rate'?",
        ),
        ({"config": {"learning_rate": "fast"}}, "mine.json: in 'config': learning_rate must be float, got 'fast'"),
        ({"config": {"num_envs": -1}}, "mine.json: in 'config': num_envs must be at least 1, got -1"),
        ({"train": {"seed": 1}}, "mine.json: in 'train': no field 'seed'; did you mean 'seeds'?"),
        ({"train": {"seeds": 0}}, "mine.json: in 'train': seeds must be at least 1, got 0"),
        ({"wandb": {"projects": "x"}}, "mine.json: in 'wandb': no field 'projects'; did you mean 'project'?"),
        ({"wandb": {"tags": [""]}}, "mine.json: in 'wandb': wandb tags must be a list of text, got ('',)"),
        ({"schema": 99}, "mine.json: schema is 99; this version reads 1"),
        ({"algorithm": "mapo"}, "unknown algorithm 'mapo'; did you mean 'mappo'?"),
    ],
)
def test_errors_name_the_file_and_the_field(cli: Cli, write: Any, content: Any, error: str) -> None:
    if isinstance(content, dict):
        content = {"algorithm": "mappo", "env": "matrix/xor", **content}
    write(content)
    assert cli("train --config mine.json").error.startswith(error)


def test_options_of_wandb_need_it(cli: Cli, in_tmp: Path) -> None:
    assert parsed("mappo --env matrix/xor").wandb is None
    error = cli(f"train mappo --env matrix/xor --run-dir mine --wandb.project x {TINY_MAPPO}").error
    assert error == 'options of wandb need the sink "wandb" (--sinks wandb)' and not (in_tmp / "mine").exists()


def test_files_that_cannot_be_read(cli: Cli, in_tmp: Path) -> None:
    assert cli("train --config mine.json").error == "'mine.json': No such file or directory"
    (in_tmp / "run").mkdir()
    assert cli("train --config run").error == "--config run: is a folder; of a run, give run/config.json"
    (in_tmp / "a.yaml").write_text("env: x")
    assert cli("train --config a.yaml").error.startswith("--config a.yaml: must be a JSON file")
    assert cli("train mappo --env matrix/xor --config").error.startswith("--config needs a value")
    assert "missing the algorithm" in cli("train").error
    (in_tmp / "b.json").write_text("{}")
    assert "missing the algorithm" in cli("train --config b.json").error
    assert "missing --env" in cli(f"train mappo --config b.json {TINY_MAPPO}").error
    assert "--config FILE" in cli("train --config b.json --help").out
