"""The multi-agent environments of jumanji."""

from jaxmarl_envs.jumanji._family import FAMILY

__all__ = ["FAMILY"]
