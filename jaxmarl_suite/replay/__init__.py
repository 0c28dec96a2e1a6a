"""Replay inside compiled programs, and replay stored on disk."""

from jaxmarl_suite.replay._draws import (
    Places,
    draw_blocks,
    draw_by_priority,
    draw_steps,
    positions_in_time,
    set_priorities,
    slots_in_time,
    stored_blocks,
)
from jaxmarl_suite.replay._experience import (
    Block,
    Contents,
    Head,
    Store,
    StoreLayout,
    add_block,
    bytes_per_step,
    new_store,
    write_steps,
)
from jaxmarl_suite.replay._passes import targets_of_store
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
from jaxmarl_suite.replay._windows import (
    NStep,
    Transitions,
    Windows,
    expand,
    next_observed,
    read_n_step,
    read_transitions,
    read_windows,
)

__all__ = [
    "MACHINE_ERRORS",
    "SCHEMA",
    "Block",
    "Contents",
    "Dataset",
    "Draw",
    "Head",
    "NStep",
    "Places",
    "Replay",
    "Sample",
    "StepReplay",
    "StepState",
    "Store",
    "StoreLayout",
    "Transitions",
    "Windows",
    "add_block",
    "bytes_per_step",
    "capacity_of",
    "draw_blocks",
    "draw_by_priority",
    "draw_steps",
    "expand",
    "machine_error",
    "make_replay",
    "make_step_replay",
    "new_store",
    "next_observed",
    "num_stored",
    "plain_path",
    "positions_in_time",
    "read_n_step",
    "read_steps",
    "read_transitions",
    "read_vault",
    "read_windows",
    "refresh_targets",
    "set_priorities",
    "slot_of",
    "slots_in_time",
    "stored_blocks",
    "targets_of_store",
    "write_steps",
    "write_vault",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
