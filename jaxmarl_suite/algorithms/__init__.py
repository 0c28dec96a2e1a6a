"""Algorithms: tuples of pure functions that the runner maps over lanes."""

from jaxmarl_suite.algorithms._base import (
    Algorithm,
    AlgorithmSpec,
    Average,
    Context,
    Phase,
    field_types,
    hyperparameters,
    traced_fields,
)
from jaxmarl_suite.algorithms._checks import LARGEST_INTEGER, check_floats, check_integers
from jaxmarl_suite.algorithms._registry import get, names, register

__all__ = [
    "LARGEST_INTEGER",
    "Algorithm",
    "AlgorithmSpec",
    "Average",
    "Context",
    "Phase",
    "check_floats",
    "check_integers",
    "field_types",
    "get",
    "hyperparameters",
    "names",
    "register",
    "traced_fields",
]
