"""Runs that are killed or interrupted in one process and go on in another."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runner_tools import LONG_UPDATES, Recorder, assert_same_arrays, final_arrays, long, rows

from jaxmarl_suite.runner import resume, run

CHILD = Path(__file__).with_name("runner_child.py")
PATIENCE = 120.0  # seconds


def start(command: str, name: str, run_dir: Path) -> subprocess.Popen[str]:
    """A process that trains."""
    environment = {**os.environ, "JAX_LOG_COMPILES": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, str(CHILD), command, name, str(run_dir)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines(run_dir: Path, text: str) -> int:
    """Lines of metrics.jsonl that hold `text`."""
    with contextlib.suppress(FileNotFoundError):
        return (run_dir / "metrics.jsonl").read_text().count(text)
    return 0


def signal_when(process: subprocess.Popen[str], number: int, ready: Callable[[], bool]) -> str:
    """Sends a signal once `ready`, and returns what the process said."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the run does not come on"
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    return output


def finish(run_dir: Path, name: str) -> str:
    """Resumes in a new process and waits for the end."""
    process = start("resume", name, run_dir)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def assert_ends_like_an_undisturbed_run(run_dir: Path, name: str, reference_dir: Path) -> None:
    """Bitwise the same final checkpoint, and the same rows."""
    whole = run(long(name), run_dir=reference_dir)
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole)
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("name", ["toy", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mappo", "vdn", "qplex"))])
def test_a_killed_run_goes_on_in_a_new_process(name: str, toys: None, tmp_path: Path) -> None:
    """Replay and priorities are part of what is saved."""
    run_dir = tmp_path / "run"
    process = start("train", name, run_dir)
    signal_when(process, signal.SIGKILL, lambda: lines(run_dir, '"eval"') >= 10)
    assert process.returncode == -signal.SIGKILL
    assert not (run_dir / "summary.json").exists()
    # What a write that was cut short leaves behind.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "la')
    output = finish(run_dir, name)
    assert "continuing at update" in output
    assert "cache hit for 'jit_run_updates'" in output, "the program was on disk"
    assert_ends_like_an_undisturbed_run(run_dir, name, tmp_path / "whole")


@pytest.mark.slow
def test_a_method_of_two_phases_may_be_killed_in_both(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    killed = start("train", "tad-ppo", run_dir)
    signal_when(killed, signal.SIGKILL, lambda: lines(run_dir, '"eval"') >= 10)
    killed_again = start("resume", "tad-ppo", run_dir)
    signal_when(killed_again, signal.SIGKILL, lambda: lines(run_dir, '"distill"') >= 3)
    assert (killed.returncode, killed_again.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    assert "of phase 'distill'" in finish(run_dir, "tad-ppo")
    assert_ends_like_an_undisturbed_run(run_dir, "tad-ppo", tmp_path / "whole")


# The command line is interrupted by SIGINT in its own tests.
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupt_saves_and_says_how_to_go_on(number: int, toys: None, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = start("train", "toy", run_dir)
    output = signal_when(process, number, lambda: lines(run_dir, '"eval"') >= 10)
    assert process.returncode == 130
    assert f'stopped and saved; continue with "jaxmarl-suite resume {run_dir}"' in output
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    done = max(row["update"] for row in rows(run_dir).values())
    assert 10 <= done < LONG_UPDATES
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    assert any(line.startswith(f"continuing at update {done} of") for line in recorder.said), "nothing is done twice"
    assert_ends_like_an_undisturbed_run(run_dir, "toy", tmp_path / "whole")
