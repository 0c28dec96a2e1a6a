"""Torn and altered files of a run folder: it goes on as if nothing had been, or is refused with the file's name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from runner_tools import Recorder, assert_same_arrays, final_arrays, rows, toy
from test_checkpoints import largest_file

from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import (
    Interrupted,
    RunFolder,
    _cache,
    _checkpoint,
    _wave,
    evaluate,
    restore_policies,
    resume,
    run,
)
from jaxmarl_suite.runner._checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("toys")
EXPERIMENT: dict[str, Any] = {"seeds": 3, "lanes_at_once": 2, "checkpoint_seconds": 0.0}
WAVE = "checkpoints/000-00000"
DEEP = '{"a":' * 100_000


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was interrupted in its first wave, and the same undisturbed. Tests copy the first one."""
    from runner_toy import registered

    folder, patched = tmp_path_factory.mktemp("originals"), pytest.MonkeyPatch()
    patched.setattr(_wave, "_CHUNK_SECONDS", 1e-9)
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == 7 else None)
    with registered(), patched.context():
        with pytest.raises(Interrupted):
            run(toy(**EXPERIMENT), run_dir=folder / "run", listener=stop)
        run(toy(**EXPERIMENT), run_dir=folder / "whole")
    return folder / "run", folder / "whole"


@pytest.fixture
def run_dir(originals: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(originals[0], tmp_path / "run"))


def assert_goes_on(run_dir: Path, originals: tuple[Path, Path]) -> list[str]:
    """To the same end; returns what was said."""
    recorder = Recorder()
    resume(run_dir, listener=recorder)
    assert rows(run_dir) == rows(originals[1])
    for wave in ("000-00000", "000-00002"):
        assert_same_arrays(final_arrays(run_dir, wave), final_arrays(originals[1], wave))
    assert RunFolder(run_dir).summary()["status"] == "finished"
    assert json.loads((run_dir / "versions.json").read_text())["devices"] == 2
    return recorder.said


def change(path: Path, name: str, value: Any) -> None:
    """Sets a field of a JSON file; dots lead into objects."""
    content = json.loads(path.read_text())
    *parents, last = name.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    path.write_text(json.dumps(content))


CONFIG: dict[str, tuple[Any, str]] = {
    "sinks": (None, "'sinks' must be a list of names, got None"),
    "grid": ({"step": 5}, "grid over 'step' needs a list of values, got 5"),
    "grid ": (3, r"'grid' must be a dict \| list, got 3"),
    "grid  ": ([], "a list of points needs at least one"),
    "grid   ": ([5], "a list of points holds values by name for each, got 5"),
    "algorithm": (None, "'algorithm' must be a str"),
    "config.num_envs": ("x", "num_envs must be int, got 'x'"),
    "config.two_phases": (3, "two_phases must be bool, got 3"),
    "config.frob": (3, "no field 'frob'"),
    "train.seeds": ({}, "seeds must be int, got {}"),
    "train.seeds ": (0, "seeds must be at least 1, got 0"),
    "train.data": (3, "data must be str.*, got 3"),
    "train.lane_mode": (["map"], "lane_mode must be"),
    "train.checkpoint_seconds": (None, "checkpoint_seconds must be float, got None"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_a_config_with_wrong_types_is_refused_with_its_file(
    name: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run_dir / "config.json", name.strip(), CONFIG[name][0])
    for use in (resume, evaluate):
        with pytest.raises(ValueError, match=rf"run/config.json: .*{CONFIG[name][1]}"):
            use(run_dir)
    assert main(["resume", str(run_dir)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {run_dir}/config.json: ")


@pytest.mark.parametrize("content", [DEEP, "[" * 100_000, '{"schema": ', "", "\0" * 20, b"\xff\xfe"])
def test_a_config_that_is_none_is_refused_with_its_file(content: str | bytes, run_dir: Path) -> None:
    (run_dir / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for use in (resume, evaluate):
        with pytest.raises(ValueError, match=r"run/config.json is not valid JSON"):
            use(run_dir)


@pytest.mark.parametrize("size", ["-1", "0", '"2"', "true", "null", "4", "2.5"])
def test_numbers_of_lanes_that_cannot_be_are_refused(size: str, run_dir: Path) -> None:
    """-1 was reported as finished."""
    (run_dir / "checkpoints" / "waves.json").write_text(f'{{"0": {size}}}')
    with pytest.raises(ValueError, match=r"checkpoints/waves.json: '0' must be a number of lanes from 1 to 3, got "):
        resume(run_dir)


@pytest.mark.parametrize("content", ["[]", DEEP, "{"])
def test_numbers_of_lanes_that_are_none_are_refused(content: str, run_dir: Path) -> None:
    (run_dir / "checkpoints" / "waves.json").write_text(content)
    with pytest.raises(ValueError, match=r"checkpoints/waves.json (is not valid JSON|must hold a JSON object)"):
        resume(run_dir)


def _in_checkpoints(name: str) -> Callable[[Path], Any]:
    return lambda run_dir: (run_dir / "checkpoints" / name).mkdir()


STRAY: dict[str, Callable[[Path], Any]] = {
    "notes": _in_checkpoints("notes"),
    "no number": _in_checkpoints("000-best"),
    "a copy": lambda run_dir: shutil.copytree(run_dir / WAVE, run_dir / f"{WAVE} (copy)"),
    "no such lane": lambda run_dir: shutil.copytree(run_dir / WAVE, run_dir / "checkpoints" / "000-00009"),
    "a file": lambda run_dir: (run_dir / "checkpoints" / "000-00001").write_text(""),
    "in a wave": lambda run_dir: (run_dir / WAVE / "notes").mkdir(),
    "a checkpoint's copy": lambda run_dir: shutil.copytree(run_dir / WAVE / "28", run_dir / WAVE / "28 (copy)"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in ("no number", "a file", "a checkpoint's copy") else n
        for n in STRAY
    ],
)
def test_what_else_lies_among_the_checkpoints_is_left_alone(
    name: str, run_dir: Path, originals: tuple[Path, Path]
) -> None:
    before = set(run_dir.rglob("*"))
    STRAY[name](run_dir)
    stray = set(run_dir.rglob("*")) - before
    assert [[lane.index for lane in one.lanes] for one in restore_policies(run_dir)] == [[0, 1]]
    assert_goes_on(run_dir, originals)
    assert stray and all(path.exists() for path in stray)


@pytest.mark.parametrize("name", ["empty", "of another step", "without types"])
def test_a_checkpoint_that_is_none_is_passed_over(name: str, run_dir: Path, originals: tuple[Path, Path]) -> None:
    if name == "empty":
        (run_dir / WAVE / "999").mkdir()
    elif name == "of another step":  # the steps before it were never saved again
        shutil.copytree(run_dir / WAVE / "20", run_dir / WAVE / "999")
    else:
        for path in (run_dir / WAVE / "28").rglob("*"):
            if path.is_file() and not path.is_relative_to(run_dir / WAVE / "28" / "state" / "d"):
                path.write_text("[]")
    said = assert_goes_on(run_dir, originals)
    assert any("cannot be read" in line for line in said) and len(list((run_dir / WAVE).glob("*.corrupt"))) == 1


def test_a_checkpoint_is_saved_also_where_a_later_one_lies(tmp_path: Path) -> None:
    """It was passed over in silence."""
    arrays = [jax.device_get(jax.numpy.arange(3))]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(9, arrays, {})
    checkpoints.save(4, arrays, {})
    assert checkpoints.steps() == [4, 9]
    checkpoints.close()


@pytest.mark.parametrize("content", [pytest.param("[]", marks=pytest.mark.slow), DEEP, None])
def test_versions_stop_nobody(content: str | None, run_dir: Path, originals: tuple[Path, Path]) -> None:
    (run_dir / "versions.json").unlink()
    if content is not None:
        (run_dir / "versions.json").write_text(content)
    assert any("versions.json was missing or damaged" in line for line in assert_goes_on(run_dir, originals))


def test_versions_stop_nobody_at_the_command_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "versions.json").write_text("{")
    assert main(["resume", str(run_dir)]) == 0


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        '{"status": "finished", "seconds": "long"}',
        *(pytest.param(text, marks=pytest.mark.slow) for text in ("", "[]", '{"seconds": null}')),
    ],
)
def test_a_summary_that_is_none_is_made_anew(content: str, run_dir: Path, originals: tuple[Path, Path]) -> None:
    (run_dir / "summary.json").write_text(content)
    assert_goes_on(run_dir, originals)


@pytest.mark.parametrize("blank", [pytest.param(b"\n", marks=pytest.mark.slow), b"  \n"])
def test_blank_lines_are_no_rows(blank: bytes, run_dir: Path, originals: tuple[Path, Path]) -> None:
    path = run_dir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([blank, *lines[:3], blank, *lines[3:], blank]))
    resume(run_dir)
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(keepends=True) if line.strip()))
    assert rows(run_dir) == rows(originals[1])


@pytest.mark.parametrize(
    "line", ["x", "null", "[1]", "{}", '{"kind": "eval"}', DEEP, "\0", '{"lane": 0, "metrics": []}']
)
def test_a_line_that_is_no_row_is_named(line: str, run_dir: Path) -> None:
    path = run_dir / "metrics.jsonl"
    whole = path.read_text().splitlines()
    path.write_text("\n".join([*whole[:3], line, *whole[3:]]) + "\n")
    with pytest.raises(ValueError, match=r"run/metrics.jsonl, line 4 is (not valid JSON|not a row of a run)"):
        resume(run_dir)


def test_a_line_that_was_cut_short_is_dropped(run_dir: Path, originals: tuple[Path, Path]) -> None:
    path = run_dir / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "eva' + b"\0" * 100)
    assert_goes_on(run_dir, originals)


def test_a_damaged_checkpoint_prints_no_tracebacks(run_dir: Path) -> None:
    """Arrays that are still being read when the first one fails come back to an event loop that is gone."""
    for step in (28, 24):
        largest_file(run_dir / WAVE / str(step) / "state" / "d").write_bytes(b"")
    code = f"from runner_child import main; import sys; sys.argv = ['', 'resume', 'toy', {str(run_dir)!r}]; main()"
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("cannot be read") == 2


def test_only_that_traceback_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_on: list[Any] = []
    monkeypatch.setattr(_checkpoint, "_hooks", [])
    monkeypatch.setattr(sys, "unraisablehook", passed_on.append)
    _checkpoint._silence()
    _checkpoint._silence()
    for error in (
        RuntimeError("Event loop is closed"),
        RuntimeError("something else"),
        OSError("Event loop is closed"),
    ):
        sys.unraisablehook(SimpleNamespace(exc_type=type(error), exc_value=error))
    assert [str(found.exc_value) for found in passed_on] == ["something else", "Event loop is closed"]


def test_torn_programs_are_dropped_from_the_cache(tmp_path: Path) -> None:
    """JAX reads them in vain in every process, and never replaces them."""
    data = zlib.compress(os.urandom(10_000))
    contents = {
        "whole-cache": data,
        "torn-cache": data[:5_000],
        "empty-cache": b"",
        "other": b"",
        "zst-cache": b"(\xb5/\xfd",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    try:
        import zstandard
    except ImportError:  # what cannot be told stays
        kept = ["checked", "other", "whole-cache", "zst-cache"]
    else:
        (tmp_path / "packed-cache").write_bytes(zstandard.compress(data))
        kept = ["checked", "other", "packed-cache", "whole-cache"]
    _cache.drop_torn_entries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    # What was looked at once is not read again, what is written later is.
    os.utime(tmp_path / "whole-cache", (0, 0))
    (tmp_path / "whole-cache").chmod(0)
    (tmp_path / "new-cache").write_bytes(data[:-1])
    _cache.drop_torn_entries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    _cache.drop_torn_entries(tmp_path / "missing")
