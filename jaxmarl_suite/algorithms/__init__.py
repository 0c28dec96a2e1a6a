"""Algorithms: tuples of pure functions that the runner maps over lanes."""

from jaxmarl_suite.algorithms._base import (
    Algorithm,
    AlgorithmSpec,
    Average,
    Context,
    Metrics,
    Milestone,
    Phase,
    episode_metrics,
    field_types,
    hyperparameters,
    traced_fields,
)
from jaxmarl_suite.algorithms._checks import LARGEST_INTEGER, check_floats, check_integers
from jaxmarl_suite.algorithms._registry import get, names, register
from jaxmarl_suite.algorithms._settings import coerce, config, nearest_field, unknown_field

__all__ = [
    "LARGEST_INTEGER",
    "Algorithm",
    "AlgorithmSpec",
    "Average",
    "Context",
    "Metrics",
    "Milestone",
    "Phase",
    "check_floats",
    "check_integers",
    "coerce",
    "config",
    "episode_metrics",
    "field_types",
    "get",
    "hyperparameters",
    "names",
    "nearest_field",
    "register",
    "traced_fields",
    "unknown_field",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
