"""The caching and serving tasks by name, in order of difficulty."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmarl_envs.core import Environment, Family, TimeLimit, UnknownVariant
from jaxmarl_envs.core._options import Option, count, not_negative, read_options
from jaxmarl_envs.rag._cache_env import CacheParams, RagCache, cache_layout
from jaxmarl_envs.rag._replicas import UNITS, Speed
from jaxmarl_envs.rag._serve_env import MAX_DOCS, RagServe, ServeParams, serve_layout
from jaxmarl_envs.rag._windows import SPLITS, cache_windows, load_trace, serve_windows


class _Level(NamedTuple):
    """One level: a task, and the defaults in which it differs."""

    task: str
    defaults: Mapping[str, Any]


_PREFILL = {"rate": 8.0, "slot": 0.05, "batch": 2, "decode": "off"}
"""Two, since a batch of one would leave the rest of a slot unused."""
_LEVELS: dict[str, _Level] = {
    "cache-L0": _Level("cache", {"n_agents": 1}),
    "cache-L1": _Level("cache", {"n_agents": 4}),
    "serve-L2": _Level("serve", _PREFILL),
    "serve-L2-busy": _Level("serve", {**_PREFILL, "rate": 11.0}),
    "serve-L3": _Level("serve", {}),
    "serve-L4": _Level("serve", {"n_agents": 8, "rate": 4.0, "speeds": "mixed", "peers": "hidden"}),
    "serve-L5": _Level("serve", {}),  # trained on generated traces, tested with `trace` and `split`
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
        `actions` ("experts" or "sampled") and the traced numbers `peer_cost` and `token_weight`. Of the serving tasks
        `requests` (M), `rate` (requests per second), `slot` (seconds), `batch` (B), `decode` ("on" or "off"), `speeds`
        ("equal" or "mixed"), `peers` ("shown" or "hidden": what others hold), `prefill_ms` (per token), `recompute` (share
        of a held passage that is computed anew), `decode_ms` and `decode_each_ms` (of a step, and for each request in it),
        `slo` (seconds); times are rounded to 2.5 microseconds.

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


def _make_serve(env_id: str, folder: str, chosen: dict[str, Any]) -> Environment:
    names = ("split", "windows", "n_agents", "capacity", "requests", "rate")
    n_docs, windows = _packed_serve(env_id, folder, chosen["sessions"], chosen["seed"], *(chosen[n] for n in names))
    n, slot = chosen["n_agents"], chosen["slot"]
    pace = 1 / np.array([_MIXED[i % len(_MIXED)] if chosen["speeds"] == "mixed" else 1.0 for i in range(n)])

    def units(seconds: Any) -> Any:
        return np.rint(np.asarray(seconds) * UNITS).astype(np.int32)

    token = chosen["prefill_ms"] / 1000 * pace
    speed = Speed(
        token=np.maximum(units(token), 1),
        hit_token=units(token * chosen["recompute"]),
        iteration=units(chosen["decode_ms"] / 1000 * pace),
        per_decode=units(chosen["decode_each_ms"] / 1000 * pace),
        slot=units(slot),
        prefill_limit=units(0.7 * slot),
    )
    params = ServeParams(windows, speed, units(chosen["slo"]))
    env = RagServe(
        id=env_id,
        n_agents=n,
        capacity=chosen["capacity"],
        batch=chosen["batch"],
        requests=chosen["requests"],
        n_docs=n_docs,
        decodes=chosen["decode"] == "on",
        shows_peers=chosen["peers"] == "shown",
        default_params=params,
    )
    limit = math.ceil(1.5 * chosen["requests"] / (chosen["rate"] * slot))
    if limit * slot * UNITS >= 2**31:
        raise ValueError(
            f"{env_id}: requests={chosen['requests']} at rate={chosen['rate']:g} last too long; "
            f"1.5 * requests / rate must stay below {2**31 // UNITS} s"
        )
    return TimeLimit(env, limit)


@functools.lru_cache(maxsize=8)
def _packed_serve(
    env_id: str,
    folder: str,
    sessions: int,
    seed: int,
    split: str,
    windows: int,
    n_agents: int,
    capacity: int,
    requests: int,
    rate: float,
) -> tuple[int, Any]:
    """Passages D and windows [W, P]; computed once and never modified."""
    trace = load_trace(folder, sessions, seed)
    pieces = serve_windows(env_id, trace, split, windows, n_agents, capacity, requests, rate, UNITS)
    n_docs = len(pieces[0]["length"])
    layout = serve_layout(n_agents, capacity, requests, n_docs)
    return n_docs, np.stack([layout.pack(piece) for piece in pieces])


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
    """Passages D and windows [W, P]; computed once and never modified."""
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
    },
    "serve": {
        "n_agents": count(4, 64),
        "capacity": count(128, 4096, lowest=MAX_DOCS + 1),
        "requests": count(256, 10_000, lowest=2),
        "rate": Option(2.5, 0.01, 1000.0),
        "slot": Option(0.25, 0.001, 10.0),
        "batch": count(8, 256),
        "decode": Option("on", choices=("on", "off")),
        "speeds": Option("equal", choices=("equal", "mixed")),
        "peers": Option("shown", choices=("shown", "hidden")),
        "prefill_ms": Option(0.15, 0.0025, 100.0),
        "recompute": Option(0.15, 0.0, 1.0),
        "decode_ms": Option(18.0, 0.01, 1000.0),
        "decode_each_ms": Option(0.5, 0.0, 1000.0),
        "slo": Option(1.0, 0.0, 1000.0),
    },
}
_MAKERS = {"cache": _make_cache, "serve": _make_serve}
_MIXED = (1.0, 1.0, 0.75, 0.5)
"""Speeds of replicas in turn, if they are mixed."""


FAMILY = Family(
    name="rag",
    make=make,
    variants=tuple(_LEVELS),
    evaluation_options={"split": "validation"},
    summary="serving retrieval-augmented generation: what caches keep, and who serves which request",
)
