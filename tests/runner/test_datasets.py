"""Datasets made from runs: tiers, cards, files, and the command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jaxmarl_envs
import numpy as np
import pytest
from dataset_tools import LINE
from jaxmarl_envs import EpisodeStatistics
from runner_tools import tiny

from jaxmarl_suite.algorithms import ActContext
from jaxmarl_suite.cli import main
from jaxmarl_suite.replay import NO_ACTION, REWARD, Dataset, describe_spec, read_steps, read_vault, write_episode_file
from jaxmarl_suite.replay._steps import episode_returns
from jaxmarl_suite.runner import TIERS, make_dataset, restore_policies, run
from jaxmarl_suite.runner._datasets import _play, _uniform

STEPS = 30


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of TD3, two seeds, with four checkpoints. Its actor does nothing at first, which beats random actions."""
    experiment = tiny(
        "td3", seeds=2, lasting_checkpoints=4, absolute_episodes=0, changes={"capacity": 416}
    )  # room left
    return run(experiment, run_dir=tmp_path_factory.mktemp("datasets") / "run")


@pytest.fixture(scope="module")
def tiers(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Dataset]]:
    """Every tier of its second seed."""
    folder = tmp_path_factory.mktemp("tiers")
    notes: list[str] = []
    for tier in TIERS:
        make_dataset(trained, folder / tier, tier=tier, steps=STEPS, lane=1, warn=notes.append)
    assert notes and all("the medium policy, of step" in note for note in notes)  # even the first checkpoint is good
    yield {tier: read_vault(folder / tier) for tier in TIERS}


def test_cards_say_what_the_data_is(tiers: dict[str, Dataset]) -> None:
    for tier, dataset in tiers.items():
        # The replay of a single agent holds no global states.
        spec = LINE.replace(state_size=0) if "replay" in tier else LINE
        items, about = read_steps(dataset, spec), dataset.about
        assert about["tier"] == tier and about["env"] == "line/1" and about["env_options"] == {"limit": 3}
        assert about["size"] == len(items["episode"]) and about["algorithm"] == "td3" and about["seed"] == 1
        returns, lengths = episode_returns(items)
        whole = lengths == 3  # nobody falls
        np.testing.assert_allclose(about["returns"]["mean"], returns[whole].mean(), rtol=1e-6)
        assert about["episodes"] == whole.sum() and about["mean_length"] == 3
        low, high = about["random_return"], about["expert_return"]
        if tier == "replay":
            assert low is high is about["score"] is None
        else:
            assert about["score"] == pytest.approx(100 * (about["returns"]["mean"] - low) / (high - low))
    cards = {tier: tiers[tier].about for tier in TIERS}
    assert len({card["expert_return"] for tier, card in cards.items() if tier != "replay"}) == 1
    assert all(cards[tier]["size"] == STEPS for tier in ("random", "medium", "expert"))
    assert cards["medium-expert"]["size"] == 2 * STEPS


def test_tiers_are_what_they_are_called(trained: Path, tiers: dict[str, Dataset]) -> None:
    for name, array in tiers["medium-expert"].items.items():
        if name != "episode":
            parts = [tiers[tier].items[name] for tier in ("medium", "expert")]
            np.testing.assert_array_equal(array, np.concatenate(parts))
    assert (tiers["random"].items["obs"] != tiers["medium"].items["obs"]).any()
    # The replay of the newest checkpoint: eight environments, all of their steps, in actions of the environment.
    (wave,) = restore_policies(trained)
    steps = jax.tree.map(lambda x: np.asarray(x)[1, :, : 12 * 4], wave.state.replay.contents.steps)
    items = tiers["replay"].items
    assert len(items["episode"]) == 12 * 32
    scaled = 1.0 + 2.0 * steps.action  # from [-1, 1] to [-1, 3]
    np.testing.assert_allclose(np.sort(items["action"].ravel()), np.sort(scaled.ravel()), atol=1e-5)
    np.testing.assert_allclose(np.sort(items[REWARD].ravel()), np.sort(steps.reward.ravel()), rtol=1e-6)
    step = tiers["medium-replay"].about["env_steps"]
    earlier = {tiers["medium-replay"].items[REWARD][i, 0] for i in range(step)}
    assert step < 12 * 32 and tiers["medium-replay"].about["size"] == step
    assert earlier <= set(items[REWARD].ravel().tolist())


def test_discrete_play_has_masks_and_last_actions() -> None:
    env = EpisodeStatistics(jaxmarl_envs.make("matrix/two-step"))
    ctx = ActContext(None, env.default_params, *(jax.numpy.int32(i) for i in (0, 1, 0)))
    recorded = _play(env, _uniform(env), (), lambda n: (), ctx, jax.random.key(0), 40)
    items = recorded.items
    assert items["action"].shape == (40, 2) and items["mask"].shape == (40, 2, 2)
    first = np.diff(items["episode"], prepend=-1) > 0
    assert (items["last_action"][first] == NO_ACTION).all()
    np.testing.assert_array_equal(items["last_action"][1:][~first[1:]], items["action"][:-1][~first[1:]])
    about = {"kind": "steps", "env": env.spec.id, "layout": describe_spec(env.spec)}
    read_steps(Dataset(Path("data"), items, about), env.spec)


def line(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["--json", "dataset", *words]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_command(tiers: dict[str, Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiers["expert"].path
    card = line(capsys, "card", str(folder))
    assert {k: v for k, v in card.items() if k in tiers["expert"].about} == json.loads(
        json.dumps(tiers["expert"].about)
    )
    listed = line(capsys, "list", str(folder.parent))
    assert [Path(one["folder"]).name for one in listed["datasets"]] == sorted(TIERS) and not listed["damaged"]
    assert line(capsys, "export", str(folder), str(tmp_path / "e.npz"))["episodes"] == 10
    found = line(
        capsys, "import", str(tmp_path / "e.npz"), str(tmp_path / "again"), "--env", "line/1", "--env.limit", "3"
    )
    assert found["digests"] == tiers["expert"].about["digests"] and found["returns"] == card["returns"]
    for words in ((), ("--help",)):
        assert main(["dataset", *words]) == 0
    assert "import" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("make {run} {new} --tier mediun", "unknown tier 'mediun'; did you mean 'medium'?"),
        ("make {run} {new} --tier expert --steps 0", "steps must be in 1..100,000,000, got 0"),
        ("make {run} {new} --lane 2", "no lane 2 with a checkpoint; there are 0..1"),
        ("make {run} {expert}", "exists; name a folder that does not"),
        ("card {new}", "no stored replay in"),
        ("list {new}", "no folder"),
        ("impart {run}", "unknown command 'dataset impart'; did you mean 'import'?"),
        ("import {file} {new} --env line/2", "has observations float32 (4, 1), 'line/2' needs (4, 2, 1)"),
        ("import {run} {new} --env line/1", "no file"),
        ("export {expert} {file}", "exists; name a file that does not"),
        ("export {expert} {new}", "files of episodes end in .npz"),
    ],
)
def test_mistakes(
    trained: Path,
    tiers: dict[str, Dataset],
    tmp_path: Path,
    words: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, expert = tmp_path / "e.npz", tiers["expert"]
    write_episode_file(file, expert.items, expert.about["layout"])
    names = {"run": trained, "new": tmp_path / "new", "expert": expert.path, "file": file}
    assert main(["dataset", *words.format(**names).split()]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npz"]


@pytest.mark.slow
def test_planning_from_states_is_refused(tmp_path: Path) -> None:
    path = run(tiny("mcts", evaluations=1, lasting_checkpoints=1, absolute_episodes=0), run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="mcts plans from the environment's state"):
        make_dataset(path, tmp_path / "data", tier="expert", steps=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 4}, "is of 'line/1' with options {'limit': 3}, got {'limit': 4}"),
        ({}, "is of 'line/1' with options {'limit': 3}, got {}"),
    ],
)
def test_other_options_are_refused(tiers: dict[str, Dataset], options: dict[str, Any], message: str) -> None:
    experiment = tiny("td3-bc", data=str(tiers["expert"].path))
    object.__setattr__(experiment, "env_options", options)
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("}", r"\}")):
        experiment.groups()


def test_offline_learners_say_when_they_have_no_data() -> None:
    with pytest.raises(
        ValueError, match=r"phase 'offline' of bc learns from stored data: give its folder as data \(--data\)"
    ):
        tiny("bc", data=None).groups()
