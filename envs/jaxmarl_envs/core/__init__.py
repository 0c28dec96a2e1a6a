"""What every environment family is made of: types, registry, wrappers, batching and the conformance check."""

from jaxmarl_envs.core._cheap import one_hot, uniform_index
from jaxmarl_envs.core._check import ProtocolError, Report, check_environment
from jaxmarl_envs.core._environment import Environment, Wrapper
from jaxmarl_envs.core._episode import Episode, load_episode, random_action, record_episode
from jaxmarl_envs.core._registry import Family, UnknownVariant, available, families, make, register
from jaxmarl_envs.core._types import EntityBlock, EnvSpec, TimeStep, alive, pytree_dataclass, restart, transition
from jaxmarl_envs.core._vector import VectorEnv, VectorState
from jaxmarl_envs.core._viewer import Frame, Verdict, check_drawable, render, render_frames
from jaxmarl_envs.core._wrappers import (
    AgentId,
    Clock,
    DelayReward,
    EpisodeStatistics,
    LastAction,
    ObserveState,
    PadAgents,
    ShowOwed,
    TimeLimit,
)

__all__ = [
    "AgentId",
    "Clock",
    "DelayReward",
    "EntityBlock",
    "EnvSpec",
    "Environment",
    "Episode",
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
    "UnknownVariant",
    "VectorEnv",
    "VectorState",
    "Verdict",
    "Wrapper",
    "alive",
    "available",
    "check_drawable",
    "check_environment",
    "families",
    "load_episode",
    "make",
    "one_hot",
    "pytree_dataclass",
    "random_action",
    "record_episode",
    "register",
    "render",
    "render_frames",
    "restart",
    "transition",
    "uniform_index",
]
