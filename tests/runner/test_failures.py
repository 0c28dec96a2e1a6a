"""The machine fails while a run trains: exit code 1, the path, what is safe; and it is."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_tools import UPDATES, Recorder, assert_same_arrays, final_arrays, rows, toy

from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import Interrupted, RunFolder, StorageError, _folder, resume, run
from jaxmarl_suite.runner._checkpoint import Checkpoints
from jaxmarl_suite.runner._sinks import JsonlSink

pytestmark = pytest.mark.usefixtures("toys", "few_at_a_time")
NUM_ENVS = 1024
EXPERIMENT: dict[str, Any] = {
    "changes": {"num_envs": NUM_ENVS},
    "seeds": 8,
    "checkpoint_seconds": 0.0,
    "total_steps": NUM_ENVS * UPDATES,
}
LIMITED = """
import resource, sys
import jax
from runner_toy import registered
from jaxmarl_suite.cli import main
jax.config.update("jax_disable_most_optimizations", True)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
with registered():
    sys.exit(main(sys.argv[2:]))
"""
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(run_dir: Path) -> Path:
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == 3 else None)
    with pytest.raises(Interrupted):
        run(toy(**EXPERIMENT), run_dir=run_dir, listener=stop)
    return run_dir


def assert_goes_on_as_if_nothing_had_been(run_dir: Path, tmp_path: Path) -> None:
    resume(run_dir)
    whole = run(toy(**EXPERIMENT), run_dir=tmp_path / "whole")
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole) and RunFolder(run_dir).summary()["status"] == "finished"


def test_a_checkpoint_that_does_not_fit_ends_in_one_line(tmp_path: Path) -> None:
    """Files may not become as long as a checkpoint's: what a full disk does, without one."""
    run_dir = interrupted(tmp_path / "run")
    before = {path: path.read_bytes() for path in (run_dir / "checkpoints").rglob("*") if path.is_file()}
    largest = max(map(len, before.values()))
    assert largest > 20_000 > 2 * (run_dir / "metrics.jsonl").stat().st_size
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(largest // 2), "resume", str(run_dir)],
        env={**os.environ, "PYTHONPATH": path, "JAXMARL_SUITE_CACHE": "off"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(errors) == 1, done.stderr
    checkpoint = re.escape(f"{run_dir}/checkpoints/000-00000/") + r"\d+"  # which one depends on the machine's speed
    assert re.search(f"error: checkpoint {checkpoint} cannot be written: File too large; ", errors[0]), errors
    assert f'what was written before is intact; "jaxmarl-suite resume {run_dir}" continues from there' in errors[0]
    after = {path: path.read_bytes() for path in (run_dir / "checkpoints").rglob("*") if path.is_file()}
    assert after == before, "nor is anything half-written left"
    assert_goes_on_as_if_nothing_had_been(run_dir, tmp_path)


def fails_once(real: Callable[..., Any], error: Exception, when: Callable[..., bool]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            raise error
        return real(*args, **kwargs)

    return wrapped


FAILURES: dict[str, tuple[Any, str, Any, Callable[..., bool]]] = {
    "rows": (JsonlSink, "write", FULL, lambda self, rows: any(row["update"] == 6 for row in rows)),
    "the end of the rows": (JsonlSink, "close", FULL, lambda self: True),
    "summary": (RunFolder, "write", FULL, lambda self, name, data: name == "summary.json"),
    "a library's checkpoint": (
        Checkpoints,
        "save",
        StorageError(f"checkpoint 7 cannot be written: {FULL.strerror}"),
        lambda self, step, *_: step == NUM_ENVS * 7,
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("the end of the rows", "summary") else n for n in FAILURES],
)
def test_a_full_disk_in_training_loses_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = interrupted(tmp_path / "run")
    kind, method, error, when = FAILURES[name]
    with monkeypatch.context() as patched:
        patched.setattr(kind, method, fails_once(getattr(kind, method), error, when))
        with pytest.raises(
            StorageError, match=f"No space left on device; what was written before is intact; .*{run_dir}"
        ):
            resume(run_dir)
        capsys.readouterr()
        assert main(["--quiet", "resume", str(run_dir)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and "No space left on device" in said
    assert_goes_on_as_if_nothing_had_been(run_dir, tmp_path)


def test_a_full_disk_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "set_wave_size", fails_once(RunFolder.set_wave_size, FULL, lambda *_: True))
        with pytest.raises(StorageError, match=r"run: No space left on device; nothing was trained yet$"):
            run(toy(), run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        patched.undo()
        patched.setattr(_folder, "write_whole", fails_once(_folder.write_whole, FULL, lambda *_: True))
        with pytest.raises(StorageError, match=r"run folder '.*run' cannot be written: No space left on device"):
            run(toy(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_librarys_value_error_is_no_mistake_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("you cannot call wandb.log() after wandb.finish()\nand more")
    monkeypatch.setattr(JsonlSink, "write", fails_once(JsonlSink.write, error, lambda *_: True))
    words = f"train toy --env counting/countdown --total-steps {UPDATES * 4} --run-dir {tmp_path / 'run'}"
    assert main(["--quiet", *words.split()]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: ValueError in training: you cannot call wandb.log() after wandb.finish()" in said


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("plot {run} --out {out}.png", "jaxmarl_suite.analysis.plot"),
        ("export {run} --out {out}.json", "jaxmarl_suite.analysis.export"),
        ("eval {run} --render {out}.png", "jaxmarl_envs.render"),
    ],
)
def test_other_files_too(
    line: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = run(toy(), run_dir=tmp_path / "run")
    monkeypatch.setattr("jaxmarl_envs.core.check_drawable", lambda *_: None)
    for number, code in ((errno.ENOSPC, 1), (errno.EACCES, 2)):
        error = OSError(number, os.strerror(number))
        monkeypatch.setattr(target, fails_once(lambda: None, error, lambda *_, **__: True))
        assert main(["--quiet", "--json", *line.format(run=run_dir, out=tmp_path / "out").split()]) == code
        (said,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
        assert str(tmp_path / "out") in said and os.strerror(number) in said
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"
