"""Micromanagement: a team of units against a scripted enemy, after SMAC and SMACv2."""

from jaxmarl_envs.micro._env import Micro
from jaxmarl_envs.micro._family import FAMILY, LEVELS
from jaxmarl_envs.micro._params import MicroParams
from jaxmarl_envs.micro._state import Fight

__all__ = ["FAMILY", "LEVELS", "Fight", "Micro", "MicroParams"]
