"""Paths of any bytes: every command takes them and can print them, whatever the encoding of stdout."""

import io
import shutil
import sys
from pathlib import Path

import pytest

from jaxmarl_suite.cli import main
from tests.cli.conftest import TINY_MAPPO

ODD = "bad\udcff"
"""The byte 0xff as Python has it in a path."""


def _strict(encoding: str) -> io.TextIOWrapper:
    """A stream that refuses what its encoding does not have."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_paths_of_any_bytes(finished_run: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stdout = _strict(encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", _strict(encoding))
    cut = in_tmp / f"{ODD}-cut"
    shutil.copytree(finished_run, cut)
    (cut / "summary.json").unlink()
    trained = f"runs/{ODD}"
    for line, made in (
        (f"train mappo --env matrix/xor --run-dir {trained} {TINY_MAPPO}", f"{trained}/summary.json"),
        (f"resume {cut.name}", f"{cut.name}/summary.json"),
        (f"resume {cut.name}", ""),
        (f"eval {trained} --episodes 4 --render {ODD}.gif", f"{ODD}.gif"),
        (f"plot {trained} --out {ODD}.png", f"{ODD}.png"),
        (f"plot {trained} --out {ODD}.svg", f"{ODD}.svg"),
        (f"table {trained}", ""),
        (f"export {trained} --out {ODD}.json", f"{ODD}.json"),
        (f"export {trained} --out {ODD}.npz", f"{ODD}.npz"),
        (f"--json table {trained}", ""),
    ):
        assert main(line.split()) == 0, line
        assert not made or Path(made).is_file()
    stdout.flush()
    printed = stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    for text in (f"plot {trained}", f"drawn: {ODD}.gif", f"written: {ODD}.npz"):
        assert text.replace("\udcff", r"\udcff") in printed
    assert stdout.errors == "strict"


@pytest.mark.parametrize(
    "line",
    [
        "resume {}",
        "eval {}",
        "table {}",
        "plot {}",
        "export {} --out x.json",
        "dataset make {} y",
        "envs --check {}",
        "train mappo --env {}",
        "train {} --env matrix/xor",
        "train mappo --env matrix/xor --{} 3",
        "train mappo --env matrix/xor --seeds {}",
        "train vdn --env matrix/xor --data {}",
        "trace stats {}",
        "{}",
    ],
)
def test_mistakes_with_any_bytes(line: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.format(ODD).split()) == 2
    error = capsys.readouterr().err
    assert "surrogates not allowed" not in error and "Traceback" not in error and error.count("\n") == 1
