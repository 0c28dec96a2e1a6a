"""Football: academy scenarios after Google Research Football, and matches, on an engine of its own."""

from jaxmarl_envs.football._env import Football
from jaxmarl_envs.football._family import FAMILY
from jaxmarl_envs.football._params import FootballParams
from jaxmarl_envs.football._state import Game

__all__ = ["FAMILY", "Football", "FootballParams", "Game"]
