"""Overcooked, from JaxMARL."""

from jaxmarl_envs.overcooked._family import FAMILY

__all__ = ["FAMILY"]
