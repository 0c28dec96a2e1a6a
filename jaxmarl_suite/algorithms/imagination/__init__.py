"""Policies learned in a world model: one core, and a short file per method."""

from jaxmarl_suite.algorithms.imagination._config import DimaConfig, EnsembleConfig, ImaginationConfig, TokenConfig
from jaxmarl_suite.algorithms.imagination._core import (
    Imagination,
    ImaginationState,
    WorldLearners,
    make_imagination,
)
from jaxmarl_suite.algorithms.imagination._diagnose import ModelQuality, diagnose
from jaxmarl_suite.algorithms.imagination.dima import FULL

__all__ = [
    "FULL",
    "DimaConfig",
    "EnsembleConfig",
    "Imagination",
    "ImaginationConfig",
    "ImaginationState",
    "ModelQuality",
    "TokenConfig",
    "WorldLearners",
    "diagnose",
    "make_imagination",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
