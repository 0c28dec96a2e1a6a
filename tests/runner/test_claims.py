"""Whose a run folder is: runs that were never born, two processes in one folder, names."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from runner_tools import Recorder, rows, toy
from test_processes import lines, start

from jaxmarl_suite.runner import RunFolder, default_run_dir, resume, run

pytestmark = pytest.mark.usefixtures("toys")
WHOLE = ["checkpoints", "config.json", "metrics.jsonl", "summary.json", "versions.json"]
UNBORN = {
    "as it begins": {},
    "its first file": {"metrics.jsonl": ""},
    "of an older version": {"metrics.jsonl": "", "config.tmp": '{"schema": 1, "al'},
    "before its last file": {
        "lock": "",
        "metrics.jsonl": "",
        "versions.json": "{}",
        "config.json.12-0123abcd.tmp": "{",
    },
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("left", UNBORN)
def test_a_run_that_was_not_born_is_in_nobodys_way(left: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name, content in UNBORN[left].items():
        (run_dir / name).write_text(content)
    run(toy(), run_dir=run_dir)
    assert names(run_dir) == WHOLE


@pytest.mark.parametrize(
    ("name", "content"), [("thesis.tmp", "all of it"), ("metrics.jsonl", '{"kind": "eval"}\n'), ("config.json", "")]
)
def test_anything_else_is(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "config.tmp").write_text("")
    with pytest.raises(ValueError, match=r"not an empty folder|already holds a run"):
        run(toy(), run_dir=tmp_path)
    assert names(tmp_path) == sorted([name, "config.tmp"]) and (tmp_path / name).read_text() == content


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 3])  # by threes, the last is met, too
def test_killed_before_any_operation_that_makes_it_a_run_is_made_or_resumed(stride: int, tmp_path: Path) -> None:
    """The same command does, or says that `resume` does."""
    child = Path(__file__).with_name("creation_child.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, str(child), str(tmp_path), str(stride)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *found, last = json.loads(done.stdout)
    assert last is None and len(found) > 20 // stride
    born = [said == "made" for said in found].index(False) if set(found) != {"made"} else len(found)
    assert born >= len(found) - -(-3 // stride), "config.json is the last of the files, and the lock goes after it"
    for said in found[born:]:
        assert re.search(r'already holds a run; continue it with "jaxmarl-suite resume', said)


def test_nobody_else_gets_in(tmp_path: Path) -> None:
    run_dir = run(toy(), run_dir=tmp_path / "run")
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with RunFolder(run_dir).locked():
        assert json.loads((run_dir / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(ValueError, match=rf"{run_dir}' is in use by process {os.getpid()} on .*, since 2"):
            resume(run_dir)
    with RunFolder.claim(tmp_path / "new"), pytest.raises(ValueError, match=r"new' is in use by process"):
        run(toy(), run_dir=tmp_path / "new")
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    resume(run_dir)


def test_a_run_is_one_processs_until_that_is_gone(tmp_path: Path) -> None:
    """However it goes: what a killed process leaves of its lock is passed over."""
    run_dir = tmp_path / "run"
    process = start("train", "toy", run_dir)
    while not lines(run_dir, '"eval"'):
        assert process.poll() is None, process.communicate()[0]
    with pytest.raises(ValueError, match=f"is in use by process {process.pid} on "):
        resume(run_dir)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (run_dir / "lock").exists()
    resume(run_dir)
    assert names(run_dir) == WHOLE


def test_of_two_that_start_at_once_one_is_refused(tmp_path: Path) -> None:
    barrier, ends = threading.Barrier(2), []

    def one(name: int) -> None:
        barrier.wait()
        try:
            run(toy(seeds=name), run_dir=tmp_path / "run")
            ends.append("trained")
        except ValueError as error:
            ends.append(re.sub(".*(in use|holds a run).*", r"\1", str(error)))

    threads = [threading.Thread(target=one, args=(name,)) for name in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) in (["in use", "trained"], ["holds a run", "trained"])
    assert len({row["lane"] for row in rows(tmp_path / "run").values()}) in (1, 2)
    assert names(tmp_path / "run") == WHOLE


def test_default_names_are_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    barrier = threading.Barrier(8)

    def take(_: int) -> list[Path]:
        found = []
        for _ in range(20):
            barrier.wait()
            found.append(default_run_dir("mappo", "matrix/xor"))
        return found

    with ThreadPoolExecutor(8) as pool:
        found = [path for paths in pool.map(take, range(8)) for path in paths]
    assert sorted(map(str, found)) == [f"runs/matrix-xor-mappo-{number:03d}" for number in range(1, 161)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("runs").write_text("")
    with pytest.raises(ValueError, match=r"run folder 'runs' cannot be written: File exists"):
        default_run_dir("mappo", "matrix/xor")


def test_temporary_names_are_a_writers_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)

    def write(number: int) -> None:
        for _ in range(50):
            folder.write("summary.json", {"status": str(number)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert names(tmp_path) == ["summary.json"]


def test_leftovers_of_killed_processes_go_when_the_run_goes_on(tmp_path: Path, few_at_a_time: None) -> None:
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == 3 else None)
    with pytest.raises(RuntimeError, match="stopped and saved"):
        run(toy(), run_dir=tmp_path / "run", listener=stop)
    wave = tmp_path / "run" / "checkpoints" / "000-00000"
    (tmp_path / "run" / "summary.json.12-0123abcd.tmp").write_text("{")
    (tmp_path / "run" / "checkpoints" / "waves.json.12-0123abcd.tmp").write_text("{")
    (wave / "16.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (tmp_path / "run" / "notes.tmp").write_text("mine")
    resume(tmp_path / "run")
    assert names(tmp_path / "run") == [*WHOLE[:3], "notes.tmp", *WHOLE[3:]]
    assert not list((tmp_path / "run").rglob("*-tmp")) and names(wave.parent) == ["000-00000", "waves.json"]
