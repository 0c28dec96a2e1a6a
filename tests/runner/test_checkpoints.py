"""Checkpoints that are damaged, made elsewhere, or of another configuration."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_tools import UPDATES, Recorder, assert_same_arrays, final_arrays, rows, toy
from runner_toy import registered

from jaxmarl_suite.runner import Experiment, Interrupted, TrainOptions, _wave, resume, run
from jaxmarl_suite.runner._checkpoint import Checkpoints
from jaxmarl_suite.runner._wave import Wave

pytestmark = pytest.mark.usefixtures("toys")
WAVE = "checkpoints/000-00000"


def largest_file(step: Path) -> Path:
    """The file that holds the arrays."""
    return max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(step: Path) -> None:
    path = largest_file(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bits(step: Path) -> None:
    path = largest_file(step)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[len(data) // 3 : 2 * len(data) // 3] ^= 255
    path.write_bytes(data.tobytes())


def remove_a_file(step: Path) -> None:
    largest_file(step).unlink()


def remove_everything_inside(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


def forge_progress(step: Path) -> None:
    (path,) = (p for p in step.rglob("*") if p.is_file() and b'"progress"' in p.read_bytes())
    meta = json.loads(path.read_text())
    meta["progress"]["update"] -= 1
    path.write_text(json.dumps(meta))


DAMAGES = [truncate, flip_bits, remove_a_file, remove_everything_inside, forge_progress]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept its last three checkpoints. Tests only read it."""
    patched = pytest.MonkeyPatch()
    patched.setattr(_wave, "_CHUNK_SECONDS", 1e-9)
    with registered(), patched.context():
        experiment = toy(checkpoint_seconds=0.0, keep_checkpoints=3)
        return run(experiment, run_dir=tmp_path_factory.mktemp("checkpoints") / "run")


@pytest.fixture
def saved_three_times(whole: Path, tmp_path: Path, few_at_a_time: None) -> tuple[Path, Path]:
    """A copy of it, and the same run untouched."""
    return Path(shutil.copytree(whole, tmp_path / "run")), whole


def steps(run_dir: Path) -> list[int]:
    """Checkpoints of the first wave, newest first."""
    return sorted((int(p.name) for p in (run_dir / WAVE).iterdir() if p.name.isdigit()), reverse=True)


def test_lasting_checkpoints_survive_an_interrupt_and_what_follows(tmp_path: Path, few_at_a_time: None) -> None:
    experiment = toy(evaluations=4, lasting_checkpoints=2, keep_checkpoints=1)
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == UPDATES - 1 else None)
    with pytest.raises(Interrupted):
        run(experiment, run_dir=tmp_path / "run", listener=stop)
    (half, stopped) = steps(tmp_path / "run")[::-1]
    assert half == 4 * UPDATES // 2 and stopped == 4 * (UPDATES - 1)
    with pytest.raises(ValueError, match="lasting_checkpoints"):
        resume(tmp_path / "run", experiment=toy(evaluations=4, keep_checkpoints=1))
    resume(tmp_path / "run", experiment=experiment)
    assert steps(tmp_path / "run")[::-1] == [half, 4 * UPDATES, 4 * UPDATES + 1]


def test_a_signal_is_heard_between_the_evaluations_of_the_best_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toy(seeds=2, absolute_episodes=24)  # three batches
    evaluate, heard = Wave._evaluate, []

    def interrupted(wave: Wave, policy: Any, index: int, step: Any) -> Any:
        if index >= 10**6:
            heard.append(index)
            if len(heard) == 2:
                signal.raise_signal(signal.SIGTERM)
        return evaluate(wave, policy, index, step)

    monkeypatch.setattr(Wave, "_evaluate", interrupted)
    with pytest.raises(Interrupted):
        run(experiment, run_dir=tmp_path / "run")
    assert heard == [10**6, 10**6 + 1]
    resume(tmp_path / "run")
    assert rows(tmp_path / "run") == rows(run(experiment, run_dir=tmp_path / "whole"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[Path], None], saved_three_times: tuple[Path, Path]
) -> None:
    run_dir, whole = saved_three_times
    newest, before, _ = steps(run_dir)
    damage(run_dir / WAVE / str(newest))
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    (warning,) = (line for line in recorder.said if "cannot be read" in line)
    assert f"{WAVE}/{newest} cannot be read (" in warning and warning.endswith("; trying the previous one")
    assert any(line.startswith(f"continuing at update {before // 4} of {UPDATES}") for line in recorder.said)
    assert (run_dir / WAVE / f"{newest}.corrupt").is_dir()
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert steps(run_dir)[0] == newest, "written again"
    # The same once more: what was moved aside is in nobody's way.
    damage(run_dir / WAVE / str(newest))
    resume(run_dir)
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole)


def test_without_a_whole_checkpoint_the_run_starts_over(saved_three_times: tuple[Path, Path]) -> None:
    run_dir, whole = saved_three_times
    for step in steps(run_dir):
        truncate(run_dir / WAVE / str(step))
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    assert sum("cannot be read" in line for line in recorder.said) == 3
    assert any("starting over" in line for line in recorder.said)
    assert not any("continuing at" in line for line in recorder.said)
    assert recorder.env_steps == UPDATES * 4
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole)


def test_another_number_of_devices_and_less_memory_continue_a_run(
    tmp_path: Path, few_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three lanes on two devices are padded to four; on one device they are not."""
    experiment = toy(seeds=3)
    whole = run(experiment, run_dir=tmp_path / "whole")
    run_dir = interrupted(experiment, tmp_path / "run", after=5)
    assert all(array.shape[0] == 3 for array in final_arrays(run_dir))
    config = json.loads((run_dir / "config.json").read_text())
    config["train"] |= {"devices": 1, "lanes_at_once": 2}  # as if there were one, and memory for two lanes
    (run_dir / "config.json").write_text(json.dumps(config))
    resume(run_dir)
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole)


def interrupted(experiment: Experiment, run_dir: Path, after: int) -> Path:
    """A run stopped after some signs of life."""
    import signal

    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == after else None)
    with pytest.raises(Interrupted):
        run(experiment, run_dir=run_dir, listener=stop)
    return run_dir


def test_a_differing_configuration_is_refused_field_by_field(tmp_path: Path, few_at_a_time: None) -> None:
    grid = {"step": [0.5, 1.0], "env.longest": [2, 3]}
    run_dir = interrupted(toy(grid=grid), tmp_path / "run", after=3)
    other = toy(
        changes={"best_at": 3.0, "num_envs": 8},
        grid={"step": [0.5, 2.0], "env.longest": [2, 3]},
        seeds=2,
        env="endless",
    )
    with pytest.raises(ValueError, match="cannot resume") as refused:
        resume(run_dir, experiment=other)
    message = str(refused.value)
    for difference in (
        "env is 'counting/countdown' in the run, got 'counting/endless'",
        "config.best_at is -1.0 in the run, got 3.0",
        "config.num_envs is 4 in the run, got 8",
        "grid.step is [0.5, 1.0] in the run, got [0.5, 2.0]",
        "train.seeds is 1 in the run, got 2",
    ):
        assert difference in message
    assert "longest" not in message and "total_steps" not in message, "equal fields are not named"
    with pytest.raises(ValueError, match=r"sinks is \[\] in the run, got \['tensorboard'\]"):
        resume(run_dir, sinks=("tensorboard",))
    recorder = Recorder()
    machine: dict[str, Any] = {"memory_gib": 1.0, "devices": 1, "checkpoint_seconds": 5.0, "keep_checkpoints": 1}
    resume(run_dir, experiment=toy(grid=grid, **machine), sinks=(), listener=recorder)
    assert any(line.startswith("continuing at") for line in recorder.said)
    assert len(steps(run_dir)) == 1, "what is given for the machine holds"


def test_a_resumed_run_is_told_what_it_lacks(tmp_path: Path) -> None:
    given = toy(seeds=2)
    run_dir = run(given, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"the 2 lanes .* GiB may be used; raise memory_gib$"):
        resume(run_dir, experiment=toy(seeds=2, memory_gib=1e-7))
    shutil.rmtree(run_dir / WAVE)
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    assert "no checkpoint; starting from the beginning" in recorder.said


def test_tuples_and_numpy_numbers_are_no_difference(tmp_path: Path, few_at_a_time: None) -> None:
    grid = {"step": np.array([0.5, 1.0]), "action": (np.int64(0), 1)}
    run_dir = interrupted(toy(grid=grid), tmp_path / "run", after=3)
    resume(run_dir, experiment=toy(grid={"step": (0.5, 1.0), "action": [0, 1]}))
    tuples = Experiment(
        "ippo", "matrix/climbing", grid={"hidden": [(8,), (8, 8)]}, options=TrainOptions(total_steps=1024)
    )
    assert Experiment.from_json(tuples.to_json()).to_json() == json.loads(json.dumps(tuples.to_json()))
    assert [g.config.hidden for g in Experiment.from_json(tuples.to_json()).groups()] == [(8,), (8, 8)]


def test_the_summary_of_a_resumed_run_knows_what_was_finished_before(tmp_path: Path, few_at_a_time: None) -> None:
    experiment = toy(seeds=4, lanes_at_once=2)
    whole = run(experiment, run_dir=tmp_path / "whole")
    run_dir = interrupted(experiment, tmp_path / "run", after=UPDATES + 4)  # in the second wave
    interrupted_after = json.loads((run_dir / "summary.json").read_text())["seconds"]
    resume(run_dir)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run_dir, whole)]
    assert [lane["lane"] for lane in summaries[0]["lanes"]] == [0, 1, 2, 3]
    assert summaries[0]["seconds"] > interrupted_after > 0
    assert all(0 < one["compile_seconds"] <= one["seconds"] for one in summaries)
    assert summaries[0]["lanes"] == summaries[1]["lanes"]


def test_half_a_row_of_another_versions_metrics_is_begun_anew(tmp_path: Path, few_at_a_time: None) -> None:
    """Sums are saved in the order of their names; under other names they would be other metrics' sums."""
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == 4 else None)
    with pytest.raises(Interrupted):
        run(toy(log_rows=1, evaluations=1), run_dir=tmp_path / "run", listener=stop)
    (step,) = steps(tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run" / WAVE)
    arrays, meta, _ = checkpoints.restore()
    checkpoints.close()
    assert arrays is not None and meta.pop("metrics")[0] == "learner/clock"
    del meta["arrays"]
    shutil.rmtree(tmp_path / "run" / WAVE / str(step))
    checkpoints = Checkpoints(tmp_path / "run" / WAVE)
    # Totals, weights and first bad updates of six metrics come last; totals and weights change places.
    checkpoints.save(step, [*arrays[:-18], *arrays[-18:-12][::-1], *arrays[-12:-6][::-1], *arrays[-6:]], meta)
    checkpoints.close()
    resume(tmp_path / "run")
    (row,) = rows(tmp_path / "run", "train").values()
    assert row["metrics"]["learner/clock"] == np.mean(range(step // 4, UPDATES))
