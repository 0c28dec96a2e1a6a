"""Hallway: agents at unequal distances must reach the end of their corridors in the same step."""

from jaxmarl_envs.hallway._env import Hallway, HallwayState
from jaxmarl_envs.hallway._family import FAMILY

__all__ = ["FAMILY", "Hallway", "HallwayState"]
