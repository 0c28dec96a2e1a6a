"""Single-agent tasks of gymnax with discrete actions."""

from jaxmarl_envs.gymnax._family import FAMILY

__all__ = ["FAMILY"]
