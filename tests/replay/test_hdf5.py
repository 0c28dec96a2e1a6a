"""Episodes in HDF5 files, as Minari and D4RL store them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_tools import LINE, random_data

from jaxmarl_suite.replay import describe_spec, read_episode_file, write_episode_file

STATELESS = LINE.replace(state_size=0)


def written(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def by_episode(path: Path) -> dict[str, np.ndarray]:
    """A small dataset by episode, and what Minari stores beside."""
    write_episode_file(path, random_data(LINE).items, describe_spec(LINE))
    with np.load(path) as archive:
        return {**archive, "episode_0/infos/qpos": np.zeros(3)}


def test_minari_episodes_are_those_of_an_npz_file(tmp_path: Path) -> None:
    arrays = by_episode(tmp_path / "e.npz")
    found = read_episode_file(written(tmp_path / "main_data.hdf5", arrays), LINE)
    wanted = read_episode_file(tmp_path / "e.npz", LINE)
    assert found.items.keys() == wanted.items.keys()
    for name, array in wanted.items.items():
        np.testing.assert_array_equal(found.items[name], array, err_msg=name)


def test_flat_steps_of_d4rl(tmp_path: Path) -> None:
    arrays = {
        "observations": np.array([[0.0], [1.0], [10.0]], np.float32),
        "next_observations": np.array([[1.0], [2.0], [11.0]], np.float32),
        "actions": np.zeros((3, 1), np.float32),
        "rewards": np.arange(3, dtype=np.float32),
        "terminals": np.array([0, 1, 0], bool),
        "timeouts": np.array([0, 0, 1], bool),
        "metadata/algorithm": np.array(7),
    }
    items = read_episode_file(written(tmp_path / "d.h5", arrays), STATELESS).items
    assert items["next_obs"].ravel().tolist() == [1, 2, 11] and items["episode"].tolist() == [0, 0, 1]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.hdf5", by_episode(tmp_path / "e.npz")).read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.hdf5").write_bytes(b"no file of this kind")
    written(tmp_path / "empty.hdf5", {"episode_0/infos/qpos": np.zeros(3)})
    written(tmp_path / "words.hdf5", {"episode_0/observations": np.array([b"a", b"b"])})
    for name, message in {
        "cut": "is no HDF5 file of episodes: ",
        "other": "is no HDF5 file of episodes: ",
        "empty": "it has no arrays of Minari's or D4RL's names",
        "words": "'episode_0/observations' holds no plain numbers",
    }.items():
        with pytest.raises(ValueError, match=message) as raised:
            read_episode_file(tmp_path / f"{name}.hdf5", LINE)
        assert len(str(raised.value).splitlines()) == 1


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    secret = written(tmp_path / "secret.hdf5", by_episode(tmp_path / "e.npz"))
    with h5py.File(tmp_path / "link.hdf5", "w") as file:
        file["episode_0"] = h5py.ExternalLink(str(secret), "/episode_0")
    with pytest.raises(ValueError, match="it has no arrays"):
        read_episode_file(tmp_path / "link.hdf5", LINE)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "e.hdf5").write_bytes(b"")
    with pytest.raises(ValueError, match=r'pip install "jaxmarl-suite\[minari\]"'):
        read_episode_file(tmp_path / "e.hdf5", LINE)
