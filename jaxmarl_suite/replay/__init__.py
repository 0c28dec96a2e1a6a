"""Replay inside compiled programs, and replay stored on disk."""

from jaxmarl_suite.replay._draws import (
    Places,
    draw_blocks,
    draw_by_age,
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
    "Head",
    "NStep",
    "Places",
    "Store",
    "StoreLayout",
    "Transitions",
    "Windows",
    "add_block",
    "bytes_per_step",
    "draw_blocks",
    "draw_by_age",
    "draw_by_priority",
    "draw_steps",
    "expand",
    "machine_error",
    "new_store",
    "next_observed",
    "plain_path",
    "positions_in_time",
    "read_n_step",
    "read_transitions",
    "read_vault",
    "read_windows",
    "set_priorities",
    "slots_in_time",
    "stored_blocks",
    "targets_of_store",
    "write_steps",
    "write_vault",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
