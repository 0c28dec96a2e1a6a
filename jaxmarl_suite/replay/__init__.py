"""Replay inside compiled programs, and replay stored on disk."""

from jaxmarl_suite.replay._replay import Replay, Sample, make_replay
from jaxmarl_suite.replay._steps import (
    Draw,
    StepReplay,
    StepState,
    capacity_of,
    make_step_replay,
    num_stored,
    read_steps,
    refresh_targets,
    slot_of,
)
from jaxmarl_suite.replay._storage import MACHINE_ERRORS, machine_error, plain_path
from jaxmarl_suite.replay._vault import SCHEMA, Dataset, read_vault, write_vault

__all__ = [
    "MACHINE_ERRORS",
    "SCHEMA",
    "Dataset",
    "Draw",
    "Replay",
    "Sample",
    "StepReplay",
    "StepState",
    "capacity_of",
    "machine_error",
    "make_replay",
    "make_step_replay",
    "num_stored",
    "plain_path",
    "read_steps",
    "read_vault",
    "refresh_targets",
    "slot_of",
    "write_vault",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
