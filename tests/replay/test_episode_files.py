"""Episodes in `.npz` files: what is written is read, what others write is read, and nothing is unpickled."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dataset_tools import GAME, LINE, random_data

from jaxmarl_suite.replay import REWARD, describe_spec, read_episode_file, write_episode_file


def minari(length: int = 3, **changes) -> dict[str, np.ndarray]:
    """One episode of one agent."""
    arrays = {
        "observations": np.arange(length + 1.0).reshape(-1, 1),
        "actions": np.linspace(-1, 3, length).reshape(-1, 1),
        "rewards": np.arange(length) * 1.5,
        "terminations": np.arange(length) == length - 1,
        "truncations": np.zeros(length, bool),
    }
    return {**arrays, "states": arrays["observations"], **changes}


def saved(path: Path, *episodes: dict[str, np.ndarray]) -> Path:
    np.savez(path, **{f"episode_{i}/{name}": array for i, one in enumerate(episodes) for name, array in one.items()})
    return path


def d4rl(**changes) -> dict[str, np.ndarray]:
    """Two episodes: one terminates after 2 steps, one times out after 3; one more step begins a third."""
    arrays = {
        "observations": np.array([[0.0], [1.0], [10.0], [11.0], [12.0], [20.0]], np.float32),
        "next_observations": np.array([[1.0], [2.0], [11.0], [12.0], [13.0], [21.0]], np.float32),
        "actions": np.zeros((6, 1), np.float32),
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], bool),
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


STATELESS = LINE.replace(state_size=0)


@pytest.mark.parametrize("spec", [LINE, GAME], ids=["one agent", "a team"])
def test_what_is_written_is_read(spec, tmp_path: Path):
    items = random_data(spec).items
    count = write_episode_file(tmp_path / "episodes.npz", items, describe_spec(spec))
    found = read_episode_file(tmp_path / "episodes.npz", spec)
    assert count == len(found.is_whole) and found.is_whole.all()
    assert found.items.keys() == items.keys()
    for name, array in items.items():
        assert found.items[name].dtype == array.dtype
        np.testing.assert_array_equal(found.items[name], array, err_msg=name)
    with np.load(tmp_path / "episodes.npz") as archive:
        shape = archive["episode_0/observations"].shape
    assert shape[1:] == ((1,) if spec is LINE else (2, 3))
    with pytest.raises(ValueError, match="exists; name a file that does not"):
        write_episode_file(tmp_path / "episodes.npz", items, describe_spec(spec))
    with pytest.raises(ValueError, match=r"end in \.npz"):
        write_episode_file(tmp_path / "episodes.hdf5", items, describe_spec(spec))
    assert [p.name for p in tmp_path.iterdir()] == ["episodes.npz"]


def test_episodes_of_others_become_steps(tmp_path: Path):
    path = saved(tmp_path / "e.npz", minari(), minari(2, terminations=np.zeros(2, bool), truncations=np.array([0, 1])))
    items = read_episode_file(path, LINE).items
    assert items["obs"].ravel().tolist() == [0, 1, 2, 0, 1] and items["next_obs"].ravel().tolist() == [1, 2, 3, 1, 2]
    assert items["terminated"].tolist() == [False, False, True, False, False]
    assert items["truncated"].tolist() == [False, False, False, False, True]
    assert items["episode"].tolist() == [0, 0, 0, 1, 1]
    assert items[REWARD].shape == (5, 1) and items["action"].dtype == np.float32


def test_flat_steps_of_others_are_cut_where_episodes_end(tmp_path: Path):
    np.savez(tmp_path / "d.npz", **d4rl())
    items = read_episode_file(tmp_path / "d.npz", STATELESS).items
    assert items["next_obs"].ravel().tolist() == [1, 2, 11, 12, 13, 21]
    assert items["terminated"].tolist() == [False, True, False, False, False, False]
    assert items["truncated"].tolist() == [False, False, False, False, True, True]
    assert items["episode"].tolist() == [0, 0, 1, 1, 1, 2]
    np.savez(tmp_path / "old.npz", **d4rl(next_observations=None))
    items = read_episode_file(tmp_path / "old.npz", STATELESS).items
    assert items["obs"].ravel().tolist() == [0, 1, 10, 11]  # what follows step 4 and the last one is not known
    assert items["truncated"].tolist() == [False, False, False, True] and items["terminated"][1]


BAD = {
    "no timeouts": (d4rl(timeouts=None), "has no array 'timeouts'"),
    "no terminals": (d4rl(terminals=None), "has no array 'terminals'"),
    "unequal lengths": (d4rl(rewards=np.zeros(5)), "needs arrays of one length"),
    "a hole": (d4rl(next_observations=np.full((6, 1), 7.0)), "has a hole: next_observations of step 0"),
    "NaN": (d4rl(actions=np.full((6, 1), np.nan)), "that is not finite at step 0"),
    "flags that are none": (d4rl(terminals=np.full(6, 3)), "not one flag per step"),
    "another shape": (d4rl(actions=np.zeros((6, 2))), r"has actions float64 \(2, 2\), 'line/1' needs \(2, 1\)"),
    "text": (d4rl(actions=np.full((6, 1), "left")), "has actions <U4"),
    "no step": ({name: array[:0] for name, array in d4rl().items()}, "needs arrays of one length, at least 1"),
    "names": ({"episode_0/observations": np.zeros(3), "other/thing": np.zeros(3)}, "has an array 'other/thing'"),
    "a missing episode": ({"episode_1/actions": np.zeros(3)}, "has a hole: episode 0 is missing"),
    "a missing array": ({"episode_0/actions": np.zeros(3)}, "episode 0, has no array 'observations'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_named(kind, tmp_path: Path):
    arrays, message = BAD[kind]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        read_episode_file(tmp_path / "bad.npz", STATELESS)
    assert "\n" not in str(error.value) and "bad.npz" in str(error.value)


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        (minari(observations=np.zeros((3, 1))), r"has observations float64 \(3, 1\), 'line/1' needs \(4, 1\)"),
        (minari(terminations=np.array([0, 1, 0])), "must end .* at its last step and nowhere else"),
        (minari(terminations=np.zeros(3)), "must end .* at its last step and nowhere else"),
        (minari(rewards=np.full(3, np.nan)), "'hidden_reward' that is not finite at step 0"),
        (minari(truncations=np.zeros(2)), "has 2 truncations and 3 actions"),
        (minari(actions=np.full((3, 1), 5.0)), r"has an action outside \[-1, 3\] at step 0"),
    ],
)
def test_episodes_that_do_not_fit_are_named(episode, message, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        read_episode_file(saved(tmp_path / "bad.npz", episode), LINE)


class Attack:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["inside", "whole", "single array"])
def test_nothing_is_unpickled(form, tmp_path: Path):
    trap, path = tmp_path / "trap", tmp_path / "attack.npz"
    hidden = np.array([Attack(trap)], dtype=object)
    if form == "inside":
        np.savez(path, **d4rl(actions=hidden))
    elif form == "whole":
        path.write_bytes(pickle.dumps(Attack(trap)))
    else:
        with path.open("wb") as file:
            np.save(file, hidden, allow_pickle=True)
    with pytest.raises(ValueError, match=r"is no .npz file of plain arrays"):
        read_episode_file(path, STATELESS)
    assert not trap.exists()
    if form == "inside":  # it is an attack: other readers fall for it
        with np.load(path, allow_pickle=True) as archive:
            archive["actions"]
        assert trap.exists()


@pytest.mark.parametrize("form", ["cut", "empty", "missing", "text inside"])
def test_damaged_files_are_refused(form, tmp_path: Path):
    path, content = tmp_path / "d.npz", io.BytesIO()
    np.savez(content, **d4rl())
    if form == "cut":
        path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    elif form == "empty":
        path.touch()
    elif form == "text inside":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("actions.npy", "text")
    with pytest.raises(ValueError, match=r"no file|is no .npz file of plain arrays"):
        read_episode_file(path, STATELESS)
