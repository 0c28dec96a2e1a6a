"""RAG serving: traces of a real workload, and cooperative caching and dispatch driven by them."""

from jaxmarl_envs.rag._cache import Cache, simulate_compiled
from jaxmarl_envs.rag._cache_env import CacheParams, CacheState, RagCache
from jaxmarl_envs.rag._family import FAMILY
from jaxmarl_envs.rag._serve_env import RagServe, ServeParams, ServeState

__all__ = [
    "FAMILY",
    "Cache",
    "CacheParams",
    "CacheState",
    "RagCache",
    "RagServe",
    "ServeParams",
    "ServeState",
    "simulate_compiled",
]
