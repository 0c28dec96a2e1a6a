"""Runs that several tests look at, trained once; the toys; a count of compilations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import library_toy
import line_env
import pytest
import runner_toy
from runner_tools import tiny

from jaxmarl_suite.runner import _wave, run


class Compilations:
    """Counts what JAX compiles (fetched from disk or not) in this process."""

    def __init__(self) -> None:
        self.names: list[str] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration: float, **details: Any) -> None:
        if event.endswith("backend_compile_duration"):
            self.names.append(str(details.get("fun_name", "?")))


@pytest.fixture(scope="session")
def compilations() -> Compilations:
    """Everything compiled from now on."""
    return Compilations()


@pytest.fixture(scope="module", autouse=True)
def lines() -> Iterator[None]:
    """The environments of `tiny` for continuous actions have names."""
    with line_env.registered():
        yield


@pytest.fixture
def toys() -> Iterator[None]:
    """The toy algorithms and the toy environment have names."""
    with runner_toy.registered():
        yield


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the clock and the signals after every update."""
    monkeypatch.setattr(_wave, "_CHUNK_SECONDS", 1e-9)


VARIANTS: dict[str, dict[str, Any]] = {
    "sweep": {"seeds": 4},  # two lanes, one after the other, on each of two devices
    "single": {"seeds": 1, "first_seed": 3},  # on one device
    "batched": {"seeds": 4, "lane_mode": "vmap"},  # two lanes at once on each of two devices
    "environments spread": {"seeds": 1, "first_seed": 3, "lane_mode": "envs"},
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """`(algorithm, variant) -> run folder`, trained when first asked for."""
    folders: dict[tuple[str, str], Path] = {}

    def get(name: str, variant: str) -> Path:
        if (name, variant) not in folders:
            options = VARIANTS[variant]
            run_dir = tmp_path_factory.mktemp(name) / "run"
            folders[name, variant] = run(tiny(name, **options), run_dir=run_dir)
        return folders[name, variant]

    return get


@pytest.fixture
def named() -> Iterator[None]:
    """The method of `library_toy` has a name."""
    with library_toy.registered():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored numbers."""
    return library_toy.write_data(tmp_path_factory.mktemp("data") / "numbers")


@pytest.fixture(scope="module")
def both(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `library_toy` of two lanes through both phases."""
    with runner_toy.registered(), library_toy.registered():
        return run(library_toy.library(data, seeds=2), run_dir=tmp_path_factory.mktemp("both") / "run")
