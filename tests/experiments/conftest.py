"""Methods that studies register are theirs: no other test sees them."""

from collections.abc import Iterator

import pytest

from jaxmarl_suite.algorithms.core import _registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forgets what a test registers."""
    monkeypatch.setattr(_registry, "_registered", dict(_registry._registered))
    yield
