"""What every environment family is made of: types, registry, wrappers, batching and the conformance check."""

from jaxmarl_envs.core._cheap import one_hot, uniform_index
from jaxmarl_envs.core._check import ProtocolError, Report, check_environment
from jaxmarl_envs.core._environment import Environment, Wrapper
from jaxmarl_envs.core._registry import Family, UnknownVariant, available, families, make, register
from jaxmarl_envs.core._types import EnvSpec, TimeStep, pytree_dataclass, restart, transition
from jaxmarl_envs.core._vector import VectorEnv, VectorState
from jaxmarl_envs.core._wrappers import AgentId, Clock, EpisodeStatistics, LastAction, PadAgents, TimeLimit

__all__ = [
    "AgentId",
    "Clock",
    "EnvSpec",
    "Environment",
    "EpisodeStatistics",
    "Family",
    "LastAction",
    "PadAgents",
    "ProtocolError",
    "Report",
    "TimeLimit",
    "TimeStep",
    "UnknownVariant",
    "VectorEnv",
    "VectorState",
    "Wrapper",
    "available",
    "check_environment",
    "families",
    "make",
    "one_hot",
    "pytree_dataclass",
    "register",
    "restart",
    "transition",
    "uniform_index",
]
