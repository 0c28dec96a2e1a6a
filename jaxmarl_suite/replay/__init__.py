"""Replay inside compiled programs, and replay stored on disk."""

from jaxmarl_suite.replay._episodic import (
    EpisodicRing,
    EpisodicSample,
    EpisodicState,
    Transition,
    make_episodic_ring,
)
from jaxmarl_suite.replay._replay import Replay, Sample, make_replay
from jaxmarl_suite.replay._vault import SCHEMA, Dataset, read_vault, tree_names, write_vault

__all__ = [
    "SCHEMA",
    "Dataset",
    "EpisodicRing",
    "EpisodicSample",
    "EpisodicState",
    "Replay",
    "Sample",
    "Transition",
    "make_episodic_ring",
    "make_replay",
    "read_vault",
    "tree_names",
    "write_vault",
]
