"""Episode windows: pieces of a trace with warm caches, as integer arrays. NumPy only."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmarl_envs.rag.trace import Trace, generate_trace, read_trace
from jaxmarl_envs.rag.trace._caches import NEVER, next_uses
from jaxmarl_envs.rag.trace._schema import WEEK
from jaxmarl_envs.rag.trace._statistics import classes

WARM_REQUESTS = 800
"""Number of requests before a window that warm its caches."""
SPLITS = {"train": (0.0, 1.0), "validation": (1.0, 1.5), "test": (1.5, np.inf), "all": (0.0, np.inf)}
"""Number of weeks in the trace."""
_ROUND_DOCS = 128


@functools.lru_cache(maxsize=4)
def load_trace(folder: str, sessions: int, seed: int) -> Trace:
    """The trace in `folder`, or a generated one if it is empty."""
    return read_trace(Path(folder)) if folder else generate_trace(sessions, seed)


def agents_of(trace: Trace, n_agents: int) -> np.ndarray:
    """[M] int64: the agent of each request's session, by a hash of its name that does not depend on the platform."""
    of_session = np.array([zlib.crc32(name.encode()) % n_agents for name in trace.session_names])
    return of_session[trace.session]


@dataclasses.dataclass
class Snapshot:
    """One cache after some references under LFU-DA, with counts of all passages."""

    capacity: int
    doc: list[int] = dataclasses.field(default_factory=list)
    prio: list[int] = dataclasses.field(default_factory=list)
    place: dict[int, int] = dataclasses.field(default_factory=dict)
    """The slot of each cached passage."""
    count: dict[int, int] = dataclasses.field(default_factory=dict)
    seen: dict[int, int] = dataclasses.field(default_factory=dict)
    age: int = 0
    time: int = 0

    def refer(self, doc: int, pinned: Sequence[int] = ()) -> None:
        """One reference; a miss is admitted in place of the passage with the lowest priority that is not pinned."""
        self.time += 1
        count = self.count[doc] = self.count.get(doc, 0) + 1
        self.seen[doc] = self.time
        slot = self.place.get(doc, len(self.doc))
        if slot == self.capacity:
            slot = self.prio.index(min(self.prio))
            if self.doc[slot] in pinned:
                slot = min((p, i) for i, p in enumerate(self.prio) if self.doc[i] not in pinned)[1]
            self.age = self.prio[slot]
            del self.place[self.doc[slot]]
            self.doc[slot] = doc
        elif slot == len(self.doc):
            self.doc.append(doc)
            self.prio.append(0)
        self.place[doc] = slot
        self.prio[slot] = self.age + count


def warm_caches(trace: Trace, start: int, n_agents: int, capacity: int, *, pins: bool) -> list[Snapshot]:
    """One cache per agent after the requests before `start`, assigned by the hash of their sessions."""
    caches = [Snapshot(capacity) for _ in range(n_agents)]
    first = max(0, start - WARM_REQUESTS)
    agent = agents_of(trace, n_agents)[first:start].tolist()
    for owner, row in zip(agent, trace.docs[first:start].tolist()):
        docs = [doc for doc in row if doc >= 0]
        for doc in docs:
            caches[owner].refer(doc, docs if pins else ())
    return caches


def split_bounds(trace: Trace, split: str) -> tuple[int, int]:
    """Index of a split's first request, and one past its last."""
    low, high = SPLITS[split]
    start, stop = np.searchsorted(trace.time, [low * WEEK, min(high * WEEK, NEVER)])
    return int(start), int(stop)


def choose_starts(low: int, last: int, windows: int) -> np.ndarray:
    """At most `windows` first requests, evenly spaced from `low` to `last`, with enough before them to warm caches."""
    first = low if low >= WARM_REQUESTS else max(low, min(WARM_REQUESTS, (low + last) // 2))
    return np.unique(np.linspace(first, last, windows).astype(int))


def _warm_arrays(caches: list[Snapshot], dense: dict[int, int], n_docs: int) -> dict[str, np.ndarray]:
    """The arrays of `Cache` but the inverse, for all agents, over dense ids; what has none is forgotten."""
    n, capacity = len(caches), caches[0].capacity
    arrays = {
        "slot_doc": np.full((n, capacity), -1),
        "slot_prio": np.zeros((n, capacity)),
        "count": np.zeros((n, n_docs)),
        "seen": np.zeros((n, n_docs)),
    }
    for agent, cache in enumerate(caches):
        arrays["slot_doc"][agent, : len(cache.doc)] = [dense[doc] for doc in cache.doc]
        arrays["slot_prio"][agent, : len(cache.prio)] = cache.prio
        for doc, count in cache.count.items():
            if doc in dense:
                arrays["count"][agent, dense[doc]] = count
                arrays["seen"][agent, dense[doc]] = cache.seen[doc]
    arrays["age"], arrays["time"] = np.array([c.age for c in caches]), np.array([c.time for c in caches])
    return arrays


def _dense_ids(docs: np.ndarray, caches: list[Snapshot]) -> dict[int, int]:
    """Numbers from 0 for the passages of a window and of its caches."""
    known = set(docs[docs >= 0].tolist()).union(*(cache.doc for cache in caches))
    return {doc: number for number, doc in enumerate(sorted(known))}


def _renumber(docs: np.ndarray, dense: dict[int, int]) -> np.ndarray:
    table = np.full(max(dense, default=0) + 2, -1)
    table[list(dense)] = list(dense.values())
    return table[docs]  # -1 reads the last entry, which is -1


def _doc_count(windows: list[dict[int, int]]) -> int:
    largest = max(len(dense) for dense in windows)
    return -(-largest // _ROUND_DOCS) * _ROUND_DOCS


def _too_long(env_id: str, need: str, split: str, have: int) -> ValueError:
    return ValueError(
        f"{env_id}: a window needs {need}, and the trace's split {split!r} has {have}; use a longer trace or shorter windows"
    )


REFERENCE_COLUMNS = ("doc", "position", "same_session", "hour", "next_use")


def cache_windows(
    env_id: str, trace: Trace, split: str, windows: int, n_agents: int, capacity: int, rounds: int
) -> list[dict[str, np.ndarray]]:
    """Windows of `rounds` + 1 references per agent, of equal shapes.

    Each holds `refs` [rounds + 1, N, 5] (`REFERENCE_COLUMNS`; the next use is a round of the same agent in the window, for
    oracles only), `length` [D] tokens, and warm caches.

    Raises:
      ValueError: if no window fits into the split.
    """
    low, high = split_bounds(trace, split)
    streams = [_agent_stream(trace, agent, n_agents, high) for agent in range(n_agents)]
    last = min(int(stream["request"][-rounds - 1]) if len(stream["doc"]) > rounds else -1 for stream in streams)
    if last < low:
        have = min(int((stream["request"] >= low).sum()) for stream in streams)
        raise _too_long(env_id, f"{rounds + 1} passage references per agent", split, have)
    pieces = []
    for start in choose_starts(low, last, windows).tolist():
        refs = np.stack([_round_columns(stream, start, rounds + 1) for stream in streams], axis=1)
        caches = warm_caches(trace, start, n_agents, capacity, pins=False)
        pieces.append((refs, caches, _dense_ids(refs[..., 0], caches)))
    n_docs = _doc_count([dense for _, _, dense in pieces])
    found = []
    for refs, caches, dense in pieces:
        refs = np.concatenate([_renumber(refs[..., :1], dense), refs[..., 1:]], axis=2)
        found.append({"refs": refs, "length": _lengths(trace, dense, n_docs), **_warm_arrays(caches, dense, n_docs)})
    return found


def _agent_stream(trace: Trace, agent: int, n_agents: int, stop: int) -> dict[str, np.ndarray]:
    """What one agent meets, up to the request `stop`, reference by reference."""
    requests = np.flatnonzero((agents_of(trace, n_agents) == agent)[:stop] & (trace.docs[:stop, 0] >= 0))
    same = np.diff(trace.session[requests], prepend=-1) == 0
    row, position = np.nonzero(trace.docs[requests] >= 0)
    request = requests[row]
    return {
        "request": request,
        "doc": trace.docs[request, position],
        "position": position,
        "same_session": same[row],
        "hour": hour_of(trace.time[request]),
    }


def hour_of(time: np.ndarray) -> np.ndarray:
    """Hour of the day, 0..23, of a trace that begins at noon."""
    return (time // 3600 + 12) % 24


def _round_columns(stream: dict[str, np.ndarray], start: int, rounds: int) -> np.ndarray:
    first = int(np.searchsorted(stream["request"], start))
    part = {name: column[first : first + rounds] for name, column in stream.items()}
    part["next_use"] = next_uses(part["doc"])
    return np.stack([part[name] for name in REFERENCE_COLUMNS], axis=1)


def _lengths(trace: Trace, dense: dict[int, int], n_docs: int) -> np.ndarray:
    lengths = np.zeros(n_docs, np.int32)
    lengths[: len(dense)] = trace.tables["passages_ids"].find(np.array(list(dense), np.int32))
    return lengths


def serve_windows(
    env_id: str,
    trace: Trace,
    split: str,
    windows: int,
    n_agents: int,
    capacity: int,
    requests: int,
    rate: float,
    units_per_second: int,
) -> list[dict[str, np.ndarray]]:
    """Windows of `requests` requests, of equal shapes.

    Each holds per request `arrival` (in units of time, gaps of at most 1,800 s scaled to `rate` requests per second), `docs`
    [M, 7], `own` (tokens that are neither passages nor the resident system prompt), `input`, `output`, `kind` (0 A, 1 B,
    2 C), `session` (numbered within the window), `hour` and `next_use` [M, 7] (the next request of the window with that
    passage, for oracles only); further `length` [D] and warm caches.

    Raises:
      ValueError: if no window fits into the split.
    """
    low, high = split_bounds(trace, split)
    if high - low < requests:
        raise _too_long(env_id, f"{requests} requests", split, max(high - low, 0))
    names, kinds = classes(trace)
    kind = np.array(["ABC".index(name[0]) for name in names])[kinds]
    pieces = []
    for start in choose_starts(low, high - requests, windows).tolist():
        caches = warm_caches(trace, start, n_agents, capacity, pins=True)
        part = trace.take(np.arange(start, start + requests))
        pieces.append((part, kind[start : start + requests], caches, _dense_ids(part.docs, caches)))
    n_docs = _doc_count([dense for *_, dense in pieces])
    found = []
    for part, of_class, caches, dense in pieces:
        passages = np.where(part.docs >= 0, _renumber(part.docs, dense), -1)
        length = _lengths(trace, dense, n_docs)
        tokens = np.where(passages >= 0, length[passages], 0).sum(axis=1)
        resident = np.where(of_class == 2, 512, 1024)
        found.append(
            {
                "arrival": _scaled_arrivals(part.time, rate, units_per_second),
                "docs": passages,
                "own": np.maximum(part.input_length - tokens - resident, 1),
                "input": part.input_length,
                "output": part.output_length,
                "kind": of_class,
                "session": np.unique(part.session, return_inverse=True)[1],
                "hour": hour_of(part.time),
                "next_use": _next_requests(passages),
                "length": length,
                **_warm_arrays(caches, dense, n_docs),
            }
        )
    return found


MAX_GAP = 1800


def _scaled_arrivals(time: np.ndarray, rate: float, units_per_second: int) -> np.ndarray:
    gaps = np.minimum(np.diff(time, prepend=time[0]), MAX_GAP).astype(float)
    total = max(gaps.sum(), 1.0)
    return np.rint(np.cumsum(gaps) * ((len(time) - 1) / rate / total * units_per_second)).astype(np.int64)


def _next_requests(docs: np.ndarray) -> np.ndarray:
    after = np.full(docs.shape, NEVER, np.int64)
    row, column = np.nonzero(docs >= 0)
    following = next_uses(docs[row, column])
    some = following != NEVER
    after[row[some], column[some]] = row[following[some]]
    return after
