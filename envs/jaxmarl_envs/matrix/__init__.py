"""Cooperative matrix games: one-shot, repeated, contextual and in stages, all of one class."""

from jaxmarl_envs.matrix._env import MatrixGame, MatrixParams, MatrixState
from jaxmarl_envs.matrix._family import FAMILY

__all__ = ["FAMILY", "MatrixGame", "MatrixParams", "MatrixState"]
