"""A NaN stops the run, says whose it is, and leaves good checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
from runner_tools import Recorder, final_arrays, rows, toy

from jaxmarl_suite.runner import Diverged, Experiment, resume, run

pytestmark = pytest.mark.usefixtures("toys")
NEVER = -1.0


def diverge(experiment: Experiment, run_dir: Path) -> str:
    """Trains until it fails, checks what is left, and returns the error."""
    with pytest.raises(Diverged, match=r"checkpoints of .* are from before") as error:
        run(experiment, run_dir=run_dir)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["status"] == "failed" and summary["error"] in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("log_rows", [12, 1])
def test_metric_seed_setting_and_update_are_named(log_rows: int, tmp_path: Path, few_at_a_time: None) -> None:
    experiment = toy(
        grid={"bad_metric_at": [NEVER, 7.0, 9.0]}, seeds=2, first_seed=5, checkpoint_seconds=0.0, log_rows=log_rows
    )
    message = diverge(experiment, tmp_path / "run")
    assert (
        "metric 'learner/weight' of seed 5 (bad_metric_at=7.0) is not finite since update 7 of phase 'only'" in message
    )
    assert "28 environment steps" in message
    saved = final_arrays(tmp_path / "run")
    assert not any(np.isnan(array).any() for array in saved)
    counts = [array for array in saved if array.shape == (6,) and set(array.tolist()) == {7.0}]
    assert counts, "the last checkpoint is that after seven good updates"
    assert all(
        v is not None for row in rows(tmp_path / "run", "train").values() for v in (row["metrics"]["learner/weight"],)
    )


def test_the_first_bad_update_is_named_however_late_it_is_noticed(tmp_path: Path) -> None:
    experiment = toy(grid={"bad_metric_at": [NEVER, 5.0]}, log_rows=1, evaluations=1)
    assert "not finite since update 5 of" in diverge(experiment, tmp_path / "run")


def test_a_lane_beyond_the_first_wave_is_named(tmp_path: Path) -> None:
    experiment = toy(grid={"bad_metric_at": [NEVER, NEVER, 2.0]}, seeds=1, first_seed=8, lanes_at_once=1)
    assert "of seed 8 (bad_metric_at=2.0)" in diverge(experiment, tmp_path / "run")
    assert {row["lane"] for row in rows(tmp_path / "run", "absolute").values()} == {0, 1}


def test_a_nan_that_no_metric_shows_is_not_saved(tmp_path: Path, few_at_a_time: None) -> None:
    experiment = toy(grid={"bad_state_at": [NEVER, 6.0]}, first_seed=3, checkpoint_seconds=0.0)
    message = diverge(experiment, tmp_path / "run")
    assert "'hidden' in the state of seed 3 (bad_state_at=6.0) is NaN after update 6 of phase 'only'" in message
    saved = final_arrays(tmp_path / "run")
    assert not any(np.isnan(array).any() for array in saved)


def test_a_nan_in_the_last_updates_of_a_phase_is_not_carried_into_the_next(tmp_path: Path) -> None:
    # Eight updates of the first phase, of which the last is 7, and two rows in the whole run.
    experiment = toy(changes={"two_phases": True, "bad_metric_at": 7.0}, log_rows=1, evaluations=1)
    assert "update 7 of phase 'first'" in diverge(experiment, tmp_path / "run")


def test_a_failed_run_fails_again_from_its_last_good_checkpoint(tmp_path: Path, few_at_a_time: None) -> None:
    experiment = toy(grid={"bad_metric_at": [NEVER, 7.0]}, checkpoint_seconds=0.0)
    first = diverge(experiment, tmp_path / "run")
    recorder = Recorder()
    with pytest.raises(Diverged) as again:
        resume(tmp_path / "run", listener=recorder)
    assert str(again.value) == first
    assert any(line.startswith("continuing at update 7 of 12") for line in recorder.said)
