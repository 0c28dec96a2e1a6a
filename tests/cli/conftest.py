"""Runs the command line in this process."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jaxmarl_suite.cli import main

TINY = "--total-steps 256 --evaluations 2 --eval-episodes 4 --absolute-episodes 4 --log-rows 2"
TINY_MAPPO = f"--mappo.num-envs 8 --mappo.rollout-length 4 --mappo.epochs 1 --mappo.hidden 8 {TINY}"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def error(self) -> str:
        """The one line on stderr of a mistake of the user's."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


Cli = Callable[[str], Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(line: str) -> Outcome:
        capsys.readouterr()
        code = main(shlex.split(line))
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds. Tests only read it."""
    path = tmp_path_factory.mktemp("cli") / "run"
    assert main(["--quiet", *shlex.split(f"train mappo --env matrix/xor --seeds 2 --run-dir {path} {TINY_MAPPO}")]) == 0
    return path
