"""The command line `jaxmarl-suite`."""

from jaxmarl_suite.cli._main import main

__all__ = ["main"]
