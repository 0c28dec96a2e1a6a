"""Methods of studies are registered for their tests only."""

from collections.abc import Iterator

import pytest

from experiments.rag_serving import guided
from jaxmarl_suite.algorithms.core import _registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The methods of studies, until the test is over."""
    monkeypatch.setattr(_registry, "_registered", dict(_registry._registered))
    guided.register_guided()
    yield
