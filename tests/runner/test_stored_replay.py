"""Recording a run's replay, and learning from it without playing."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from runner_tools import toy

from jaxmarl_suite import algorithms
from jaxmarl_suite.cli import main
from jaxmarl_suite.replay import read_vault, write_vault
from jaxmarl_suite.runner import (
    Experiment,
    StorageError,
    TrainOptions,
    choose_wave,
    make_dataset,
    restore_policies,
    resume,
    run,
)

SIZES = {"num_envs": 4, "rollout_length": 3, "capacity": 10, "batch_size": 4, "learning_starts": 4, "width": 4}
OPTIONS: dict[str, Any] = {"evaluations": 2, "eval_episodes": 2, "absolute_episodes": 0, "log_rows": 4}
STEPS = 4 * 3 * 4


def experiment(
    name: str, *, changes: dict[str, Any] | None = None, env: str = "matrix/two-step", **options: Any
) -> Any:
    config = dataclasses.replace(algorithms.get(name).config(), recurrent=False, **{**SIZES, **(changes or {})})
    return Experiment(name, env, config, options=TrainOptions(**{"total_steps": STEPS, **OPTIONS, **options}))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of VDN, two seeds, and the replay of its second."""
    folder = tmp_path_factory.mktemp("stored")
    path = run(experiment("vdn", seeds=2), run_dir=folder / "run")
    assert make_dataset(path, folder / "data", lane=1)["size"] == 36
    return path, folder / "data"


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (path / "metrics.jsonl").open(encoding="utf-8")) if row["kind"] == kind]


def test_items_are_whole_and_in_order(recorded: tuple[Path, Path]) -> None:
    dataset = read_vault(recorded[1])
    assert dataset.about["env"] == "matrix/two-step"
    assert dataset.about["seed"] == 1
    items = dataset.items
    assert items["action"].shape == (36, 2)
    ended = items["terminated"] | items["truncated"]
    np.testing.assert_array_equal(items["next_obs"][:-1][~ended[:-1]], items["obs"][1:][~ended[:-1]])
    np.testing.assert_array_equal(items["episode"], np.concatenate([[0], np.cumsum(ended)[:-1]]))
    first = np.concatenate([[True], ended[:-1]])
    np.testing.assert_array_equal(items["last_action"][1:][~first[1:]], items["action"][:-1][~first[1:]])
    # 4 updates of 4 sequences into 3 places for each of 4 environments: those of the first update are gone.
    (trained,) = restore_policies(recorded[0])
    steps = trained.state.replay.contents.steps
    for name, ours in (("action", "action"), ("reward", "hidden_reward")):
        blocks = np.asarray(steps[name])[1].reshape(4, 3, 3, 2)  # environments, blocks, steps, agents
        np.testing.assert_array_equal(items[ours], blocks[:, [1, 2, 0]].reshape(36, 2))
    assert len({item.tobytes() for item in items["action"].reshape(12, 3, 2)}) > 5


def test_others_learn_from_it_and_never_play(
    recorded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recorded[1].parent)
    path = run(experiment("qmix", changes={"embed": 4, "hyper_hidden": 4}, data="data"), run_dir=tmp_path / "r")
    monkeypatch.chdir(tmp_path)  # the run remembers where the data is
    assert json.loads((path / "config.json").read_text())["train"]["data"] == str(recorded[1])
    with pytest.raises(ValueError, match="learned from stored replay and has none of its own"):
        make_dataset(path, tmp_path / "new")
    train = rows(path, "train")
    assert {"learner/loss", "learner/td_error"} <= set(train[-1]["metrics"])
    assert not {"return", "learner/epsilon"} & set(train[-1]["metrics"])  # nobody played
    assert [row["env_steps"] for row in rows(path, "eval")] == [STEPS // 2, STEPS]  # counted as if


def test_a_stored_run_resumes_bitwise(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    """Steps, losses and evaluations of an interrupted run are those of one that was not."""
    whole = run(experiment("vdn", data=str(recorded[1])), run_dir=tmp_path / "whole")
    given = experiment("vdn", data=str(recorded[1]), checkpoint_seconds=0.0)
    part = run(given, run_dir=tmp_path / "part")
    saved = {int(p.name): p for p in (part / "checkpoints").glob("*/[0-9]*")}
    for steps, checkpoint in saved.items():
        if steps >= STEPS:
            shutil.rmtree(checkpoint)
    assert 0 < min(saved) < STEPS
    (part / "summary.json").unlink()
    resume(part, experiment=given)
    for kind in ("train", "eval"):  # rows after the checkpoint come twice; the later ones count
        again = {row["env_steps"]: row["metrics"] for row in rows(part, kind)}
        assert again == {row["env_steps"]: row["metrics"] for row in rows(whole, kind)}


def test_only_training_needs_the_data(
    recorded: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluations, drawings and tables of a run are the same after its stored replay is gone; a resume says what is."""
    data, drawn = tmp_path / "data", tmp_path / "episode.png"
    shutil.copytree(recorded[1], data)
    path = run(experiment("vdn", data=str(data), absolute_episodes=2), run_dir=tmp_path / "run")

    def evaluations() -> Any:
        assert main(["--json", "eval", str(path), "--episodes", "4", "--render", str(drawn)]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    before = evaluations()
    shutil.rmtree(data)
    drawn.unlink()
    assert evaluations() == before and len(before["evaluations"]) == 2 and drawn.stat().st_size > 0
    assert main(["table", str(path)]) == 0
    assert main(["plot", str(path), "--out", str(tmp_path / "curves.png")]) == 0
    assert main(["export", str(path), "--out", str(tmp_path / "results.json")]) == 0
    assert main(["resume", str(path)]) == 0, "it is finished"
    (path / "summary.json").unlink()
    message = (
        f"run {str(path)!r} learns from stored replay in {str(data)!r}, which is not there; to resume, put it back"
    )
    capsys.readouterr()
    assert main(["resume", str(path)]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match=re.escape(message)):
        resume(path)


@pytest.mark.parametrize(("length", "count"), [(3, 12), (5, 8), (100, 1)])
def test_sequences_of_any_length_are_cut(recorded: tuple[Path, Path], length: int, count: int) -> None:
    """The last one is padded with steps that do not count."""
    (group,) = experiment("vdn", changes={"rollout_length": length}, data=str(recorded[1]), total_steps=400).groups()
    steps, items = group.data[0].steps, read_vault(recorded[1]).items
    weight = np.asarray(steps.weight)
    assert weight.shape == (count, length) and weight.sum() == 36
    np.testing.assert_array_equal(np.asarray(steps.action)[weight > 0], items["action"])
    np.testing.assert_array_equal(np.asarray(steps.next_obs)[weight > 0], items["next_obs"])
    starts = np.concatenate([[True], np.diff(items["episode"]) > 0])
    inside = np.arange(36) % length > 0
    np.testing.assert_array_equal(np.asarray(steps.start)[weight > 0], starts & inside)
    np.testing.assert_array_equal(group.data[0].memory.last_action, items["last_action"][::length])


def test_data_is_held_once_for_all_lanes(recorded: tuple[Path, Path]) -> None:
    def arguments(seeds: int) -> int:
        group = experiment("vdn", data=str(recorded[1]), seeds=seeds, devices=1).groups()[0]
        _, programs, _ = choose_wave(group, TrainOptions(**OPTIONS, devices=1))
        data = sum(x.nbytes for x in jax.tree.leaves(group.data))
        return programs[0].memory["arguments"] - data

    assert arguments(4) < 4.2 * arguments(1)


def test_a_zero_capacity_error_names_the_sizes() -> None:
    with pytest.raises(ValueError, match="capacity must hold a batch"):
        experiment("vdn", changes={"capacity": 3})


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("train vdn --env matrix/xor --data {data}", ["is of 'matrix/two-step'", "got environment 'matrix/xor'"]),
        (
            "train vdn --env matrix/two-step --data {data} --vdn.whole-episodes --vdn.rollout-length 1",
            ["whole_episodes needs a rollout_length of at least the episode limit"],
        ),
        ("train mappo --env matrix/two-step --data {data}", ["mappo learns from its own play only"]),
        ("train mappo --env matrix/two-step --data nowhere", ["mappo learns from its own play only"]),
        ("train vdn --env matrix/two-step --data {data}x", ["no stored replay", "dataset make RUN"]),
        ("dataset make {run} {data}", ["exists; name a folder that does not"]),
        ("dataset make {run} {new} --lane 7", ["no lane 7", "0..1"]),
        ("dataset make {data} {new}", ["config.json"]),
    ],
)
def test_mistakes(
    recorded: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, parts: list[str]
) -> None:
    names = {"run": recorded[0], "data": recorded[1], "new": tmp_path / "new"}
    assert main(line.format(**names).split() + (["--run-dir", str(tmp_path / "r")] if "train" in line else [])) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert not (tmp_path / "r").exists() and not (tmp_path / "new").exists()


def test_a_full_disk_leaves_nothing_of_the_data(
    recorded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        # As TensorStore says it.
        raise ValueError('RESOURCE_EXHAUSTED: Error writing "obs/0.0" [No space left on device] [source locations=...]')

    with monkeypatch.context() as patched:
        patched.setattr("flashbax.vault.Vault.write", full)
        with pytest.raises(
            StorageError, match=r"dataset '.*data' cannot be written: No space left on device; nothing is left of it"
        ):
            make_dataset(recorded[0], tmp_path / "data")
    assert not list(tmp_path.iterdir())
    assert make_dataset(recorded[0], tmp_path / "data")["size"] > 0


def test_methods_without_replay_cannot_be_recorded(tmp_path: Path, toys: None) -> None:
    run_dir = run(toy(), run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="toy keeps no replay"):
        make_dataset(run_dir, tmp_path / "data")


def test_data_of_another_shape_is_refused(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    dataset = read_vault(recorded[1])
    changed = {**dataset.items, "obs": dataset.items["obs"][..., :-1]}
    write_vault(tmp_path / "other", changed, dataset.about)
    with pytest.raises(ValueError, match=r"has float32 .* for 'obs', 'matrix/two-step' needs float32"):
        experiment("vdn", data=str(tmp_path / "other")).groups()


def test_data_of_other_options_is_refused(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    dataset = read_vault(recorded[1])
    assert dataset.about["env_options"] == {}
    write_vault(tmp_path / "other", dataset.items, {**dataset.about, "env_options": {"seed": 3}})
    with pytest.raises(ValueError, match=r"is of 'matrix/two-step' with options {'seed': 3}, got {}"):
        experiment("vdn", data=str(tmp_path / "other")).groups()


def test_data_of_the_same_environment_is_taken_however_its_options_are_spelled(tmp_path: Path) -> None:
    path = run(experiment("vdn", env="matrix/random-2x3"), run_dir=tmp_path / "run")
    make_dataset(path, tmp_path / "data")

    def given(**settings: Any) -> Experiment:
        return dataclasses.replace(experiment("vdn", env="matrix/random-2x3", data=str(tmp_path / "data")), **settings)

    for settings in ({"env_options": {"seed": 0}}, {"env_options": {"horizon": 1}}, {"grid": {"env.seed": [0]}}):
        assert len(given(**settings).groups()) == 1
    with pytest.raises(ValueError, match=r"with options {}, got {'seed': 1}"):
        given(grid={"env.seed": [0, 1]}).groups()  # another payoff table of the same program


def test_groups_share_one_copy_of_the_data(recorded: tuple[Path, Path]) -> None:
    one = experiment("vdn", data=str(recorded[1]))
    first, second = dataclasses.replace(one, grid={"batch_size": [2, 4]}).groups()
    assert first.data[0].steps.obs is second.data[0].steps.obs


def test_data_is_not_drawn_by_priority(recorded: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="drawn uniformly, which prioritized=True does not allow"):
        experiment("vdn", changes={"prioritized": True}, data=str(recorded[1])).groups()
