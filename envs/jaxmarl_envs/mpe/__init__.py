"""MPE: JaxMARL's cooperative particle environments."""

from jaxmarl_envs.mpe._family import FAMILY

__all__ = ["FAMILY"]
