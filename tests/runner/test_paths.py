"""Paths: any of them works or is refused before training, also for a process that goes somewhere else meanwhile."""

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from runner_tools import UPDATES, Recorder, assert_same_arrays, final_arrays, rows, toy
from runner_toy import registered
from test_stored_replay import experiment

from jaxmarl_suite.runner import (
    RunFolder,
    StorageError,
    _cache,
    _checkpoint,
    configure,
    evaluate,
    make_dataset,
    resume,
    run,
)
from jaxmarl_suite.runner._checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("toys")
# What libraries read as patterns, addresses, escapes or not at all.
NAMES = [
    "lr=[1e-3]",
    "[!a]",
    "a*b",
    "wh?t",
    "back\\slash",
    "gs:/run",
    "s3:",
    "a#b",
    "a%b",
    "a%20b",
    "\udcff",
    "a\nb",
    "~",
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run in a folder with a plain name, and its evaluations."""
    with registered():
        whole = run(toy(), run_dir=tmp_path_factory.mktemp("plain") / "run")
        return whole, [one.metrics for one in evaluate(whole)]


@pytest.mark.parametrize("name", NAMES)
def test_any_path_works(name: str, plain: tuple[Path, list[Any]], tmp_path: Path) -> None:
    whole, evaluations = plain
    shutil.copytree(whole, tmp_path / "aXb" / "run")  # what a pattern would find
    run_dir = run(toy(), run_dir=tmp_path / name)
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert [one.metrics for one in evaluate(run_dir)] == evaluations
    (run_dir / "summary.json").unlink()
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    assert any(line.startswith(f"continuing at update {UPDATES} of {UPDATES}") for line in recorder.said)
    assert not list(run_dir.rglob("*.corrupt")) and sorted(p.name for p in run_dir.iterdir())[0] == "checkpoints"
    assert {path.name for path in tmp_path.iterdir()} == {"aXb", name.split("/")[0]}, "and nothing is written elsewhere"


@pytest.mark.parametrize("name", NAMES)
def test_any_path_works_for_stored_replay(name: str, tmp_path: Path, stored: Path) -> None:
    make_dataset(stored, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {name.split("/")[0]}
    (group,) = experiment("vdn", data=str(tmp_path / name)).groups()
    assert group.data[0] is not None


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a replay, of a program that is on disk: `test_stored_replay.py` runs it, too."""
    return run(experiment("vdn", seeds=2), run_dir=tmp_path_factory.mktemp("stored") / "run")


def test_a_place_from_which_nothing_can_be_read_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = run(toy(), run_dir=tmp_path / "run")
    (run_dir / "summary.json").unlink()
    monkeypatch.setattr(Checkpoints, "restore", lambda *_, **__: (None, {}, ["checkpoint 1 cannot be read (of lead)"]))
    recorder = Recorder()
    with pytest.raises(ValueError, match=r"checkpoints cannot be kept in .*new.*; choose another .* \(.*of lead\)"):
        run(toy(), run_dir=tmp_path / "new", listener=recorder)
    assert not (tmp_path / "new").exists() and not recorder.said
    # A run that was moved there: its checkpoints are not taken for damaged ones.
    with pytest.raises(ValueError, match="checkpoints cannot be kept in"):
        resume(run_dir)
    assert not list(run_dir.rglob("*.corrupt"))


def test_links_are_needed_for_odd_paths_only_and_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tmp_path / "temporary"
    places.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places))
    one = Checkpoints(tmp_path / "plain")
    assert not list(places.iterdir())
    other = Checkpoints(tmp_path / "[odd]")
    (place,) = places.iterdir()
    assert (place / "link").resolve() == tmp_path / "[odd]"
    other.close()
    one.close()
    assert not list(places.iterdir()) and (tmp_path / "[odd]").is_dir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[odd]"))
    with pytest.raises(ValueError, match=r"arrays cannot be kept in '.*\[odd\]'"):
        Checkpoints(tmp_path / "[odd]")


def test_a_process_may_go_somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_at_a_time: None) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    run_dir = run(toy(), run_dir="run", listener=Recorder(lambda calls: os.chdir(tmp_path / "elsewhere")))
    assert run_dir == tmp_path / "run" and RunFolder(run_dir).summary()["status"] == "finished"
    assert not list((tmp_path / "elsewhere").iterdir())
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    resume("run", listener=Recorder(lambda calls: os.chdir(tmp_path / "elsewhere")))
    assert len(rows(run_dir, "eval")) == 4 and not list((tmp_path / "elsewhere").iterdir())


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX has no folder for compiled programs."""
    before = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.delenv(_cache.VARIABLE)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_folder_programs_are_not_kept(monkeypatch: pytest.MonkeyPatch, no_cache: None) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.warns(UserWarning, match=r"not kept on disk: Could not determine home .*; set JAXMARL_SUITE_CACHE"):
        configure()
    assert jax.config.values["jax_compilation_cache_dir"] is None
    monkeypatch.setattr(Path, "home", lambda: Path("/proc/no-such-place"))
    with pytest.warns(UserWarning, match="not kept on disk: .*/proc/no-such-place"):
        configure()
    monkeypatch.setenv(_cache.VARIABLE, "off")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure()
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_the_folder_of_programs_is_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_cache: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(_cache.VARIABLE, "programs")
    configure()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "programs")


def test_a_full_disk_where_a_run_is_to_be_made_is_no_mistake_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_checkpoint.Checkpoints, "save", full)
    with pytest.raises(StorageError, match=r"nothing can be written in .*new'.*: No space left on device"):
        run(toy(), run_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
