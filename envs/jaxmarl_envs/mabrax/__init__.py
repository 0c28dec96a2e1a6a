"""Multi-Agent Brax: one robot's actuators divided among agents, simulated by brax."""

from jaxmarl_envs.mabrax._env import MultiAgentBrax, MultiAgentBraxState
from jaxmarl_envs.mabrax._family import FAMILY

__all__ = ["FAMILY", "MultiAgentBrax", "MultiAgentBraxState"]
