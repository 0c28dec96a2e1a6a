"""Makes the helpers beside these tests importable under any import mode."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxmarl_suite.analysis import Run, load_run

_specification = importlib.util.spec_from_file_location("analysis_folders", Path(__file__).with_name("folders.py"))
assert _specification is not None and _specification.loader is not None
_folders = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_folders)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder with the options of `folders.write_run` and a fresh name, and returns it."""
    number = iter(range(1000))

    def write(**options: Any) -> Path:
        return _folders.write_run(tmp_path / f"run-{next(number)}", **options)

    return write


@pytest.fixture
def make_run(write_run: Callable[..., Path]) -> Callable[..., Run]:
    """As `write_run`, but returns the loaded run."""
    return lambda **options: load_run(write_run(**options))
