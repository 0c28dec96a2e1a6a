"""RAG serving: traces of a real workload, and cooperative caching and dispatch driven by them."""

from jaxmarl_envs.rag._cache import Cache, simulate_compiled
from jaxmarl_envs.rag._cache_env import CacheParams, CacheState, RagCache
from jaxmarl_envs.rag._family import FAMILY

__all__ = ["FAMILY", "Cache", "CacheParams", "CacheState", "RagCache", "simulate_compiled"]
