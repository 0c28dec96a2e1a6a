"""Shared by all environment families: types, registry, wrappers, batching and the conformance check."""

from jaxmarl_envs.core._cheap import one_hot, uniform_index
from jaxmarl_envs.core._check import ProtocolError, Report, check_environment, check_shapes, read_spec
from jaxmarl_envs.core._environment import Environment, Wrapper, observation_function
from jaxmarl_envs.core._episode import Episode, load_episode, random_action, record_episode
from jaxmarl_envs.core._field_docs import documented, field_docs
from jaxmarl_envs.core._keys import KEY_IMPL, seed_key
from jaxmarl_envs.core._metrics import EpisodeMetrics, EpisodeStatistics
from jaxmarl_envs.core._origin import origin
from jaxmarl_envs.core._registry import (
    Family,
    UnknownOption,
    UnknownVariant,
    available,
    evaluation_options,
    families,
    make,
    options,
    register,
)
from jaxmarl_envs.core._shared import shared_leaves
from jaxmarl_envs.core._types import (
    EntityBlock,
    EnvSpec,
    TimeStep,
    alive,
    pytree_dataclass,
    quantile_name,
    restart,
    transition,
)
from jaxmarl_envs.core._vector import VectorEnv, VectorState
from jaxmarl_envs.core._viewer import (
    LONGEST_FRAME,
    SHORTEST_FRAME,
    Frame,
    Verdict,
    check_drawable,
    render,
    render_frames,
)
from jaxmarl_envs.core._wrappers import (
    AgentId,
    Clock,
    DelayReward,
    LastAction,
    ObserveState,
    PadAgents,
    ShowOwed,
    TimeLimit,
)

__all__ = [
    "KEY_IMPL",
    "LONGEST_FRAME",
    "SHORTEST_FRAME",
    "AgentId",
    "Clock",
    "DelayReward",
    "EntityBlock",
    "EnvSpec",
    "Environment",
    "Episode",
    "EpisodeMetrics",
    "EpisodeStatistics",
    "Family",
    "Frame",
    "LastAction",
    "ObserveState",
    "PadAgents",
    "ProtocolError",
    "Report",
    "ShowOwed",
    "TimeLimit",
    "TimeStep",
    "UnknownOption",
    "UnknownVariant",
    "VectorEnv",
    "VectorState",
    "Verdict",
    "Wrapper",
    "alive",
    "available",
    "check_drawable",
    "check_environment",
    "check_shapes",
    "documented",
    "evaluation_options",
    "families",
    "field_docs",
    "load_episode",
    "make",
    "observation_function",
    "one_hot",
    "options",
    "origin",
    "pytree_dataclass",
    "quantile_name",
    "random_action",
    "read_spec",
    "record_episode",
    "register",
    "render",
    "render_frames",
    "restart",
    "seed_key",
    "shared_leaves",
    "transition",
    "uniform_index",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
