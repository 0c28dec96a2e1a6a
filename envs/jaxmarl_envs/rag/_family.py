"""The ladder of caching and serving tasks by name."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmarl_envs.core import Environment, Family, TimeLimit, UnknownVariant
from jaxmarl_envs.core._options import Option, count, not_negative, read_options
from jaxmarl_envs.rag._cache_env import CacheParams, RagCache, cache_layout
from jaxmarl_envs.rag._windows import SPLITS, cache_windows, load_trace


class _Level(NamedTuple):
    """A rung: which task, and the defaults in which it differs."""

    task: str
    defaults: Mapping[str, Any]


_LEVELS: dict[str, _Level] = {
    "cache-L0": _Level("cache", {"n_agents": 1}),
    "cache-L1": _Level("cache", {"n_agents": 4}),
}
_TRACE_OPTIONS = {
    "split": Option("train", choices=tuple(SPLITS)),
    "windows": count(16, 4096),
    "sessions": count(3990, 1_000_000),
    "seed": Option(0, 0, 2**31),
}


def make(variant: str, /, **options: Any) -> Environment:
    """The task called `variant`, with its time limit.

    Args:
      variant: one of `FAMILY.variants`.
      options: of every task `trace` (the folder of a recorded trace; by default one is generated from `sessions` and
        `seed`), `split` ("train", the first week; "validation" and "test", the halves of the second; "all"), `windows`
        (how many episodes there are at most), `n_agents`, `capacity` (passages per cache). Of the caching tasks `rounds`,
        `actions` ("experts" or "sampled") and the traced numbers `peer_cost` and `token_weight`.

    Raises:
      ValueError: for an option that the variant does not have, a value that is not accepted, or a trace that is too short.
      UnknownVariant: for anything else.
    """
    if variant not in _LEVELS:
        raise UnknownVariant
    level, env_id = _LEVELS[variant], f"rag/{variant}"
    given = dict(options)
    folder = given.pop("trace", "")
    if not isinstance(folder, str):
        raise ValueError(f"{env_id}: trace must be the folder of a trace, got {folder!r}")
    accepted = {**_TRACE_OPTIONS, **_TASK_OPTIONS[level.task]}
    accepted = {
        name: option._replace(default=level.defaults.get(name, option.default)) for name, option in accepted.items()
    }
    return _MAKERS[level.task](env_id, folder, read_options(env_id, given, accepted))


def _make_cache(env_id: str, folder: str, chosen: dict[str, Any]) -> Environment:
    names = ("split", "windows", "n_agents", "capacity", "rounds")
    n_docs, windows = _packed_cache(env_id, folder, chosen["sessions"], chosen["seed"], *(chosen[n] for n in names))
    costs: Any = {name: np.float32(chosen[name]) for name in ("peer_cost", "token_weight")}
    params = CacheParams(windows=windows, **costs)
    is_sampled = chosen["actions"] == "sampled"
    env = RagCache(env_id, chosen["n_agents"], chosen["capacity"], chosen["rounds"], n_docs, is_sampled, params)
    return TimeLimit(env, chosen["rounds"])


@functools.lru_cache(maxsize=8)
def _packed_cache(
    env_id: str,
    folder: str,
    sessions: int,
    seed: int,
    split: str,
    windows: int,
    n_agents: int,
    capacity: int,
    rounds: int,
) -> tuple[int, Any]:
    """Passages D and windows [W, P]; made once, and never written to."""
    trace = load_trace(folder, sessions, seed)
    pieces = cache_windows(env_id, trace, split, windows, n_agents, capacity, rounds)
    n_docs = len(pieces[0]["length"])
    layout = cache_layout(n_agents, capacity, rounds, n_docs)
    return n_docs, np.stack([layout.pack(piece) for piece in pieces])


_TASK_OPTIONS: dict[str, dict[str, Option]] = {
    "cache": {
        "n_agents": count(4, 64),
        "capacity": count(32, 4096),
        "rounds": count(512, 100_000),
        "actions": Option("experts", choices=("experts", "sampled")),
        "peer_cost": not_negative(0.3),
        "token_weight": Option(0.0, 0.0, 1.0),
    }
}
_MAKERS = {"cache": _make_cache}


FAMILY = Family(
    name="rag",
    make=make,
    variants=tuple(_LEVELS),
    summary="serving retrieval-augmented generation: what caches keep, and who serves which request",
)
