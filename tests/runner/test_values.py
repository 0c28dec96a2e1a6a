"""Values from Python: numbers of NumPy and JAX, arrays and paths become Python's own where they are checked."""

import enum
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runner_tools import assert_same_arrays, final_arrays, rows, tiny_config, toy
from runner_toy import ToyConfig

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.core import _registry
from jaxmarl_suite.runner import Experiment, TrainOptions, resume, run, train

pytestmark = pytest.mark.usefixtures("toys")


class Level(enum.IntEnum):
    HIGH = 2


def is_plain(value: Any) -> bool:
    """Whether a value is made of Python's own types."""
    if isinstance(value, dict):
        return all(type(name) is str and is_plain(part) for name, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize(
    "two", [np.int64(2), np.int32(2), np.uint8(2), jnp.int32(2), jnp.asarray(2), np.array(2), Level.HIGH]
)
def test_options_of_any_kind_train_and_resume(two: Any, tmp_path: Path) -> None:
    options = {"seeds": two, "first_seed": two, "checkpoint_seconds": np.float32(1e6), "memory_gib": jnp.float32(1.5)}
    given = toy(**options)
    assert all(is_plain(value) for value in vars(given.options).values())
    run_dir = run(given, run_dir=tmp_path / "run")
    assert json.loads((run_dir / "config.json").read_text())["train"]["seeds"] == 2
    resume(run_dir, experiment=given)
    resume(run_dir, experiment=toy(seeds=2, first_seed=2, checkpoint_seconds=1e6, memory_gib=1.5))


def test_settings_options_and_grids_of_any_kind_are_those_of_pythons(tmp_path: Path) -> None:
    config = ToyConfig(num_envs=np.int64(4), two_phases=np.bool_(False), step=jnp.float32(0.5))
    odd = Experiment(
        "toy",
        "counting/countdown",
        config,
        {"longest": np.int64(3), "bonus": np.float32(0.25)},
        {"action": np.arange(2), "best_at": jnp.asarray([1.0, 3.0]), "env.bonus": (np.float64(0.5),)},
        toy().options,
    )
    plain = Experiment(
        "toy",
        "counting/countdown",
        ToyConfig(num_envs=4, two_phases=False, step=0.5),
        {"longest": 3, "bonus": 0.25},
        {"action": [0, 1], "best_at": [1.0, 3.0], "env.bonus": [0.5]},
        toy().options,
    )
    assert odd == plain and is_plain(odd.to_json()) and is_plain(vars(odd.config))
    assert len(odd.groups()) == len(plain.groups()) == 2
    ours, theirs = (run(one, run_dir=tmp_path / name) for one, name in ((odd, "odd"), (plain, "plain")))
    assert rows(ours) == rows(theirs)
    assert_same_arrays(final_arrays(ours), final_arrays(theirs))


def test_lists_and_whole_numbers_in_settings_are_those_of_the_fields() -> None:
    """A list is no part of a program, and an integer is another program than a float."""
    given = tiny_config("mappo", hidden=[np.int64(16)], learning_rate=1, num_envs=np.float64(8.0))
    config = Experiment("mappo", "matrix/xor", given).config
    assert (config.hidden, config.learning_rate, config.num_envs) == ((16,), 1.0, 8)
    assert type(config.learning_rate) is float and type(config.num_envs) is int
    hash(jax.tree.structure(config))


def test_paths_are_text(tmp_path: Path) -> None:
    options = TrainOptions(data=tmp_path / "data")
    assert options.data == str(tmp_path / "data")
    assert toy(data=tmp_path / "data").to_json()["train"]["data"] == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrainOptions(seeds=np.float32(2.5)), "seeds must be an integer, got 2.5"),
        (lambda: TrainOptions(seeds=np.bool_(True)), "seeds must be an integer, got True"),
        (lambda: TrainOptions(seeds=np.arange(2)), r"seeds must be an integer, got \[0, 1\]"),
        (lambda: TrainOptions(checkpoint_seconds="60"), "checkpoint_seconds must be a number, got '60'"),
        (lambda: TrainOptions(checkpoint_seconds=None), "checkpoint_seconds must be a number, got None"),
        (lambda: TrainOptions(memory_gib=[1]), r"memory_gib must be a number, got \[1\]"),
        (lambda: TrainOptions(data=3), "data must be the path of a folder, got 3"),
        (lambda: TrainOptions(lane_mode=["map"]), "lane_mode must be one of"),
        (lambda: TrainOptions(seeds=object()), "seeds must be a number, text, or a list of them, got <object"),
        (lambda: tiny("num_envs", np.int64(-3)), "num_envs must be at least 1, got -3"),
        (lambda: setting(two_phases="maybe"), "two_phases must be bool, got 'maybe'"),
        (lambda: setting(action=1.5), "action must be int, got 1.5"),
        (lambda: tiny("learning_rate", np.nan), "learning_rate must be finite"),
        (lambda: setting(action=print), "action must be a number, text, or a list of them"),
        (lambda: environment(bonus=jax.random.key(0)), "env.bonus must be a number, text, or a list of them"),
        (lambda: environment(bonus={1: 2}), "env.bonus must be a number, text, or a list of them"),
        (lambda: grid(step=0.5), "grid over 'step' needs a list of values, got 0.5"),
        (lambda: grid(step=np.float32(0.5)), "grid over 'step' needs a list of values, got "),
        (lambda: grid(step="0.5"), "grid over 'step' needs a list of values, got '0.5'"),
        (lambda: grid(step=[print]), "grid over 'step' must be a number, text, or a list of them"),
    ],
)
def test_what_no_file_can_hold_is_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def tiny(name: str, value: Any) -> Experiment:
    return Experiment("mappo", "matrix/xor", tiny_config("mappo", **{name: value}))


def setting(**settings: Any) -> Experiment:
    return Experiment("toy", "counting/countdown", ToyConfig(**settings))


def environment(**options: Any) -> Experiment:
    return Experiment("toy", "counting/countdown", env_options=options)


def grid(**values: Any) -> Experiment:
    return Experiment("toy", "counting/countdown", grid=values)


def test_a_setting_of_another_package_that_no_file_can_hold_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @algorithms.hyperparameters
    class Config:
        num_envs: int = 4
        play: Any = print

    spec = algorithms.get("toy")
    other = algorithms.AlgorithmSpec("other", Config, lambda config, env: spec.make(ToyConfig(), env))
    monkeypatch.setitem(_registry._registered, "other", other)
    with pytest.raises(
        ValueError, match="play must be a number, text, or a list of them, got <built-in function print>"
    ):
        run(Experiment("other", "counting/countdown", options=toy().options), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mapping_changes_defaults_of_the_config() -> None:
    settings = {"recurrent": True, "num_envs": np.int64(8), "hidden": [16], "learning_rate": "1e-2"}
    given = Experiment("happo", "matrix/xor", settings)
    assert given.config == algorithms.config("happo", recurrent=True, num_envs=8, hidden=(16,), learning_rate=1e-2)
    assert given.config.share_parameters is False  # happo's own default
    assert type(given.config) is algorithms.get("happo").config
    assert Experiment.from_json(given.to_json()) == given
    assert Experiment("happo", "matrix/xor", {}).config == Experiment("happo", "matrix/xor").base_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"recurent": True},
            "no field 'recurent' in the config of mappo; did you mean 'recurrent'? there are: adam_eps",
        ),
        ({"lr": 1e-3}, "no field 'lr' in the config of mappo; did you mean 'learning_rate'?"),
        ({1: 2}, "no field '1' in the config of mappo; there are: "),
        ({"num_envs": "many"}, "num_envs must be int, got 'many'"),
        ({"num_envs": object}, "num_envs must be a number, text, or a list of them, got <class 'object'>"),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
    ],
)
def test_mappings_that_no_config_fits(settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        train("mappo", "matrix/xor", config=settings, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
