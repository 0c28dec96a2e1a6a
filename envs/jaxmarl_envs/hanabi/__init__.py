"""Hanabi, from JaxMARL."""

from jaxmarl_envs.hanabi._family import FAMILY

__all__ = ["FAMILY"]
