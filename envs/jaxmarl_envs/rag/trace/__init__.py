"""Traces of RAG requests: reading, writing, statistics, generation, cache simulation. NumPy only."""

from jaxmarl_envs.rag.trace._caches import POLICIES, hit_ratio_curve, next_uses, simulate
from jaxmarl_envs.rag.trace._figures import plot_trace
from jaxmarl_envs.rag.trace._generator import generate_trace, iter_generated, write_generated
from jaxmarl_envs.rag.trace._mooncake import BlockTrace, read_mooncake
from jaxmarl_envs.rag.trace._reader import iter_trace, read_trace
from jaxmarl_envs.rag.trace._schema import Problem, TraceError
from jaxmarl_envs.rag.trace._statistics import statistics
from jaxmarl_envs.rag.trace._trace import Ragged, Table, Trace
from jaxmarl_envs.rag.trace._writer import write_trace

__all__ = [
    "POLICIES",
    "BlockTrace",
    "Problem",
    "Ragged",
    "Table",
    "Trace",
    "TraceError",
    "generate_trace",
    "hit_ratio_curve",
    "iter_generated",
    "iter_trace",
    "next_uses",
    "plot_trace",
    "read_mooncake",
    "read_trace",
    "simulate",
    "statistics",
    "write_generated",
    "write_trace",
]
