"""The command line `jaxmarl-suite`."""

from jaxmarl_suite.cli._main import main

__all__ = ["main"]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
