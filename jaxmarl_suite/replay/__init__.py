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
from jaxmarl_suite.replay._episode_files import read_episode_file, write_episode_file
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
from jaxmarl_suite.replay._steps import (
    KIND,
    NO_ACTION,
    REWARD,
    Recorded,
    concatenate,
    describe_spec,
    join_streams,
    read_steps,
    summarize,
    without_rewards,
)
from jaxmarl_suite.replay._storage import MACHINE_ERRORS, machine_error, plain_path
from jaxmarl_suite.replay._vault import SCHEMA, Dataset, find_vaults, read_about, read_vault, write_vault
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
    "KIND",
    "MACHINE_ERRORS",
    "NO_ACTION",
    "REWARD",
    "SCHEMA",
    "Block",
    "Contents",
    "Dataset",
    "Head",
    "NStep",
    "Places",
    "Recorded",
    "Store",
    "StoreLayout",
    "Transitions",
    "Windows",
    "add_block",
    "bytes_per_step",
    "concatenate",
    "describe_spec",
    "draw_blocks",
    "draw_by_age",
    "draw_by_priority",
    "draw_steps",
    "expand",
    "find_vaults",
    "join_streams",
    "machine_error",
    "new_store",
    "next_observed",
    "plain_path",
    "positions_in_time",
    "read_about",
    "read_episode_file",
    "read_n_step",
    "read_steps",
    "read_transitions",
    "read_vault",
    "read_windows",
    "set_priorities",
    "slots_in_time",
    "stored_blocks",
    "summarize",
    "targets_of_store",
    "without_rewards",
    "write_episode_file",
    "write_steps",
    "write_vault",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
