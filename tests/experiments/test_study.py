"""What studies share: runs that are kept, and runs that are moved out of the way."""

from pathlib import Path
from typing import Any

import pytest

from experiments import _study
from experiments._study import Preset, train_all
from jaxmarl_suite.runner import Experiment, RunFolder, TrainOptions

PRESET = Preset("mine", "mappo", "matrix/xor", options=TrainOptions(total_steps=4096))


def make_run(experiment: Experiment, run_dir: Path, **_: Any) -> None:
    """A run that is finished as soon as it begins."""
    run_dir.mkdir()
    folder = RunFolder(run_dir)
    folder.write("config.json", {"schema": 1, **experiment.to_json()})
    folder.write("summary.json", {"status": "finished"})
    (run_dir / "result").write_text(str(experiment.options.total_steps))


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_study.runner, "run", make_run)
    monkeypatch.setattr(_study.analysis, "load_run", lambda path: path)


def test_runs_of_other_settings_are_moved_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were deleted, whatever had been spent on them."""
    longer = Preset("mine", "mappo", "matrix/xor", options=TrainOptions(total_steps=8192))
    for preset in (PRESET, PRESET, longer, PRESET):
        train_all([preset], tmp_path)
    assert {path.name: (path / "result").read_text() for path in tmp_path.iterdir()} == {
        **{"mine": "4096", "mine.old": "4096", "mine.old2": "8192"},
    }
    assert capsys.readouterr().out.count("another run lies there: now") == 2
    train_all([PRESET], tmp_path, fresh=True)
    assert (tmp_path / "mine.old3" / "result").read_text() == "4096"


def test_damaged_runs_are_moved_aside_too(tmp_path: Path) -> None:
    for number, content in enumerate(("[]", "[" * 100_000, '{"schema": 1}')):
        train_all([PRESET], tmp_path)
        (tmp_path / "mine" / "config.json").write_text(content)
        train_all([PRESET], tmp_path)
        aside = tmp_path / f"mine.old{number + 1 if number else ''}"
        assert (aside / "config.json").read_text() == content and (aside / "result").exists()


def test_a_run_that_another_process_trains_in_stays(tmp_path: Path) -> None:
    train_all([PRESET], tmp_path)
    with RunFolder(tmp_path / "mine").locked(), pytest.raises(ValueError, match="is in use by process"):
        train_all([PRESET], tmp_path, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
