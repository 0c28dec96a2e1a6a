"""Algorithms: tuples of pure functions that the runner maps over lanes."""

from jaxmarl_suite.algorithms.core import (
    LARGEST_INTEGER,
    ActContext,
    Algorithm,
    AlgorithmSpec,
    Average,
    Context,
    Metrics,
    Milestone,
    Phase,
    Stacked,
    check_floats,
    check_integers,
    coerce,
    config,
    episode_metrics,
    field_types,
    get,
    hyperparameters,
    names,
    nearest_field,
    register,
    traced_fields,
    unknown_field,
)

__all__ = [
    "LARGEST_INTEGER",
    "ActContext",
    "Algorithm",
    "AlgorithmSpec",
    "Average",
    "Context",
    "Metrics",
    "Milestone",
    "Phase",
    "Stacked",
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
