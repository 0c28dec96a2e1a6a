"""Replay inside compiled programs, and replay stored on disk."""

from jaxmarl_suite.replay._replay import Replay, Sample, make_replay
from jaxmarl_suite.replay._vault import SCHEMA, Dataset, read_vault, write_vault

__all__ = ["SCHEMA", "Dataset", "Replay", "Sample", "make_replay", "read_vault", "write_vault"]
