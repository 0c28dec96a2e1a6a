"""SMAX: JaxMARL's micromanagement scenarios, against its heuristic enemy."""

from jaxmarl_envs.smax._family import FAMILY

__all__ = ["FAMILY"]
