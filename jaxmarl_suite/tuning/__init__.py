"""Tuning: random search over settings with successive halving, all points of a round in as few programs as possible."""

from jaxmarl_suite.tuning._space import Choice, Range, parse_space
from jaxmarl_suite.tuning._tune import Outcome, Tuner, tune

__all__ = ["Choice", "Outcome", "Range", "Tuner", "parse_space", "tune"]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
