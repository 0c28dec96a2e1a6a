"""Recipes: which one serves a run, what it changes, and that every one of the suite's is whole."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jaxmarl_envs
import pytest

from jaxmarl_suite import algorithms, recipes
from jaxmarl_suite.cli import main
from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.recipes import Recipe
from jaxmarl_suite.runner import Experiment, RunFolder, TrainOptions, train

FAMILY = Recipe("mappo", "matrix/*", {"entropy": 0.5, "num_envs": 8}, 1_000, "by hand", "2026-11")
CLIMBING = Recipe("mappo", "matrix/climbing", {"entropy": 0.25, "rollout_length": 4}, 800, "by hand", "2026-11")
OTHER = Recipe("ippo", "matrix/*", {"entropy": 0.125}, 1_000, "by hand", "2026-11")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three recipes, none of them measured."""
    table = {recipe.name: recipe for recipe in (FAMILY, CLIMBING, OTHER)}
    monkeypatch.setattr("jaxmarl_suite.recipes._find.RECIPES", table)
    monkeypatch.setattr("jaxmarl_suite.recipes._recipe.RESULTS", tmp_path / "results.json")
    recipes._recipe._stored.cache_clear()
    yield
    recipes._recipe._stored.cache_clear()


@pytest.mark.usefixtures("known")
def test_the_recipe_of_an_id_goes_before_that_of_its_family() -> None:
    assert recipes.find("mappo", "matrix/climbing") is CLIMBING
    assert recipes.find("mappo", "matrix/penalty") is FAMILY
    assert recipes.find("mappo", "matrixes/penalty") is None and recipes.find("happo", "matrix/climbing") is None
    assert recipes.choose("none", "mappo", "matrix/climbing") is None
    assert recipes.choose("mappo@matrix/climbing", "mappo", "hallway/4-4") is CLIMBING, "a name is taken anywhere"
    with pytest.raises(
        ValueError, match=r"unknown recipe 'mapo@matrix/\*'; did you mean mappo@matrix/\*\? there are: "
    ):
        recipes.choose("mapo@matrix/*", "mappo", "matrix/climbing")
    with pytest.raises(ValueError, match=r"recipe 'ippo@matrix/\*' is of ippo, not of mappo"):
        recipes.choose("ippo@matrix/*", "mappo", "matrix/climbing")


def config_of(folder: Path) -> dict[str, Any]:
    """The settings that a run had."""
    return dataclasses.asdict(Experiment.read(RunFolder(folder)).base_config)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"entropy": 0.25, "rollout_length": 4, "epochs": 8}),
        (("--entropy", "0.75"), {"entropy": 0.75, "rollout_length": 4}),
        (("--recipe", "none"), {"entropy": 0.01, "rollout_length": 16}),
        (("--recipe=mappo@matrix/*",), {"entropy": 0.5, "num_envs": 8, "rollout_length": 16}),
    ],
)
def test_the_command_line_starts_from_it(words: tuple[str, ...], expected: dict[str, Any]) -> None:
    request = parse_experiment(["mappo", "--env", "matrix/climbing", *words], "train", "")
    assert expected.items() <= dataclasses.asdict(request.experiment.base_config).items()
    assert (request.recipe is None) == (words == ("--recipe", "none"))


@pytest.mark.usefixtures("known")
def test_the_command_line_announces_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--total-steps", "32", "--num-envs", "8", "--evaluations", "1", "--absolute-episodes", "0"]
    assert main(["train", "mappo", "--env", "matrix/climbing", *sizes, "--run-dir", str(tmp_path / "run")]) == 0
    assert "settings: recipe mappo@matrix/climbing (tuned 2026-11); --recipe none" in capsys.readouterr().err


@pytest.mark.usefixtures("known")
def test_python_starts_from_it(tmp_path: Path) -> None:
    options = TrainOptions(total_steps=512, evaluations=1, eval_episodes=1, absolute_episodes=0)
    lines: list[str] = []

    class Listener:
        def announce(self, text: str) -> None:
            lines.append(text)

        def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
            pass

    settings = {"epochs": 1, "rollout_length": 8}
    folder = train(
        "mappo", "matrix/climbing", config=settings, options=options, run_dir=tmp_path / "run", listener=Listener()
    )
    assert {"entropy": 0.25, "rollout_length": 8, "epochs": 1}.items() <= config_of(folder).items()
    assert lines[0] == "settings: recipe mappo@matrix/climbing (tuned 2026-11); --recipe none for plain defaults"
    whole = algorithms.get("mappo").default_config
    with pytest.raises(ValueError, match=r"a whole config leaves nothing to recipe 'mappo@matrix/\*'"):
        train("mappo", "matrix/climbing", config=whole, recipe="mappo@matrix/*", run_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("known")
def test_reproduce_stores_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "mappo@matrix/climbing", "--seeds", "2", "--json", "--quiet"]
    assert main([*command, "--first-seed", "0", "--store", "--runs", str(tmp_path / "stored")]) == 0
    (first,) = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    (kept,) = CLIMBING.results()
    assert (first["stored"], first["agree"]) == ("", "") and (kept.seeds, kept.first_seed) == (2, 0)
    assert main([*command, "--runs", str(tmp_path / "again")]) == 0
    (again,) = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert again["stored"] == first["again"] and again["agree"] in ("yes", "no")
    assert main(["recipes", "mappo@matrix/climbing"]) == 0
    shown = capsys.readouterr().out
    assert first["again"] in shown and "entropy" in shown and "by hand" in shown


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_whole(name: str) -> None:
    """Its settings are fields of the config that differ from the defaults, and each of its environments was measured."""
    recipe = recipes.get(name)
    default = algorithms.get(recipe.algorithm).default_config
    config = dataclasses.replace(default, **algorithms.coerce(default, recipe.settings))
    assert all(getattr(config, field) != getattr(default, field) for field in recipe.settings)
    assert [result.env for result in recipe.results()] == list(recipe.envs)
    assert all(recipe.serves(recipe.algorithm, env) for env in recipe.envs)
    assert {r.total_steps for r in recipe.results()} == {recipe.total_steps}
    assert all(r.seeds >= 5 and r.low <= r.value <= r.high for r in recipe.results())
    families = {family.name for family in jaxmarl_envs.families()}
    assert {env.partition("/")[0] for env in recipe.envs} <= families
