"""Cooperative multi-agent environments as pure JAX functions; usable without the training suite.

>>> import jax, jaxmarl_envs
>>> env = jaxmarl_envs.make("matrix/climbing")
>>> state, timestep = env.reset(jax.random.key(0), env.default_params)
>>> timestep.obs.shape
(2, 1)
"""

from jaxmarl_envs.core import (
    AgentId,
    Clock,
    Environment,
    EnvSpec,
    EpisodeStatistics,
    Family,
    LastAction,
    PadAgents,
    ProtocolError,
    Report,
    TimeLimit,
    TimeStep,
    UnknownVariant,
    VectorEnv,
    VectorState,
    Wrapper,
    available,
    check_environment,
    families,
    make,
    one_hot,
    pytree_dataclass,
    register,
    restart,
    transition,
    uniform_index,
)

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
