"""Generates traces of any size with the statistics of the recorded one.

Session starts are a Poisson process, given their number, with a rate that depends on hour and day. The classes of a
session's turns are a Markov chain. Lengths are drawn from the quantiles in `calibration.json`. Passages follow a topic
model:

- the popularity of topics varies from day to day; each topic owns a window of passages that overlaps the next one;
- a session usually keeps its topic, and sometimes switches to one that others have just asked about;
- each passage of a request comes from its topic or, less often, from a set of hubs that belong to no topic.

The model was fitted to the recorded trace; it is not claimed that its parts exist in reality. A larger trace has more
sessions in the same fourteen days, with unchanged think times.
"""

import dataclasses
import importlib.resources
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmarl_envs.rag.trace._schema import DAY, MAX_CHUNK, PARTS
from jaxmarl_envs.rag.trace._trace import Ragged, Table, Trace, distinct_docs, join, offsets_of
from jaxmarl_envs.rag.trace._writer import write_chunks

CLASSES = "ABC"
"""A: retrieval; B: retrieval and web search; C: neither."""
DAYS, START_HOUR, START_MS = 14, 12, 1_757_476_800_000
"""The trace begins at noon (local time); session ids count milliseconds from there."""
RECORDED_SESSIONS = 3990
CORPUS = 8302
MAX_SESSIONS = 50_000_000

N_TOPICS, WINDOW, STRIDE, N_HUBS = 162, 37, 29.6, 120
TOPIC_EXPONENT, TOPIC_SHIFT, DAILY_SPREAD = 1.195, 10.0, 0.744
RANK_EXPONENT, HUB_EXPONENT, HUB_SHARE = 1.73, 0.55, 0.229
KEEP_TOPIC, TAKE_RECENT, RECENT = 0.72, 0.04, 11
FULL_SHARE = 0.968
"""Share of requests with retrieval that pick all six passages."""
N_PICKS = 6
_CHUNK = 16_384
_FIRST_SYSTEM = 8302  # ids of system chunks follow the corpus: first chunks by class, last of C, daily
_LAST_OF_C, _DAILY, _CLOCK = _FIRST_SYSTEM + 3, _FIRST_SYSTEM + 4, _FIRST_SYSTEM + 4 + 2 * DAYS
_MOST_HISTORY_CHUNKS = 10


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The generator's parameters, from `calibration.json`."""

    by_class: dict[str, Any]
    turns: np.ndarray  # [25] float64, probabilities of 1, 2, ... turns
    first_class: np.ndarray  # [3] float64
    next_class: np.ndarray  # [3, 3] float64, rows sum to 1
    hour_rate: np.ndarray  # [24] float64, sessions begun in an hour, by local hour
    day_factor: np.ndarray  # [14] float64, mean 1
    corpus_lengths: np.ndarray  # quantiles
    levels: np.ndarray  # their levels, 0..1

    def draw(self, rng: np.random.Generator, quantiles: Any, size: int) -> np.ndarray:
        """[size] int64 draws from a distribution with these quantiles, interpolated linearly."""
        return np.rint(np.interp(rng.random(size), self.levels, quantiles)).astype(np.int64)


def load_calibration() -> Calibration:
    """The parameters measured on the recorded trace."""
    text = importlib.resources.files("jaxmarl_envs.rag.trace").joinpath("calibration.json").read_text("utf-8")
    raw = json.loads(text)
    turns = np.zeros(25)
    for count, share in raw["turns_per_session_pmf"].items():
        turns[int(count) - 1] = share
    moves = np.array([[raw["class_transition_counts"].get(a + b, 0) for b in CLASSES] for a in CLASSES], float)
    days = np.array(raw["requests_per_day_noon_to_noon"], float)
    return Calibration(
        by_class=raw["by_class"],
        turns=turns / turns.sum(),
        first_class=np.array([raw["first_turn_class"][name] for name in CLASSES]),
        next_class=moves / moves.sum(axis=1, keepdims=True),
        hour_rate=np.array(raw["session_starts_per_hour_by_local_hour"]),
        day_factor=days / days.mean(),
        corpus_lengths=np.array(raw["corpus_passage_length"]),
        levels=np.array(raw["quantile_levels"]) / 100,
    )


def generate_trace(sessions: int = RECORDED_SESSIONS, seed: int = 0) -> Trace:
    """A synthetic trace of fourteen days; equal arguments give the same trace.

    Args:
      sessions: how many begin; the recorded trace has 3990.
      seed: at least 0.

    Raises:
      ValueError: for a number of sessions below 1 or beyond 50 million, or a negative seed.
    """
    pieces = list(iter_generated(sessions, seed))
    tables = {part: _join_tables([piece.tables[part] for piece in pieces]) for part in PARTS}
    return join([dataclasses.replace(piece, tables=tables) for piece in pieces])


def write_generated(folder: str | Path, sessions: int = RECORDED_SESSIONS, seed: int = 0) -> int:
    """Writes a generated trace into a new folder, piece by piece, and returns the number of requests."""
    return write_chunks(iter_generated(sessions, seed), folder)


def iter_generated(sessions: int, seed: int) -> Iterator[Trace]:
    """Yields a generated trace in pieces of at most 16,384 requests. The tables of a piece have only new rows."""
    if isinstance(sessions, bool) or not 1 <= sessions <= MAX_SESSIONS:
        raise ValueError(f"a trace needs 1 to {MAX_SESSIONS:,} sessions, got {sessions}")
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    plan_rng, corpus_rng, topic_rng, pick_rng, length_rng, name_rng = np.random.default_rng(seed).spawn(6)
    calibration = load_calibration()
    corpus = _draw_corpus(corpus_rng, calibration)
    plan = _plan_turns(plan_rng, calibration, sessions)
    topic = _choose_topics(topic_rng, plan)
    names = _session_names(name_rng, plan.begin)
    builder = _Builder(calibration, corpus, len(plan.time))
    for start in range(0, len(plan.time), _CHUNK):
        part = plan.slice(start, start + _CHUNK)
        picks = _pick_passages(pick_rng, corpus, part.kind, topic[start : start + _CHUNK])
        yield builder.build(length_rng, part, picks, names)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """M turns in order of time."""

    time: np.ndarray  # [M] int64, seconds
    session: np.ndarray  # [M] int32
    kind: np.ndarray  # [M] int8, index into CLASSES
    is_first: np.ndarray  # [M] bool, the session's first turn
    begin: np.ndarray  # [sessions] float64, seconds

    def slice(self, start: int, stop: int) -> "_Plan":
        part = slice(start, stop)
        return _Plan(self.time[part], self.session[part], self.kind[part], self.is_first[part], self.begin)


def _plan_turns(rng: np.random.Generator, calibration: Calibration, sessions: int) -> _Plan:
    hours = np.arange(DAYS * 24)
    rate = calibration.hour_rate[(hours + START_HOUR) % 24] * calibration.day_factor[hours // 24]
    begin = np.sort((rng.choice(len(hours), sessions, p=rate / rate.sum()) + rng.random(sessions)) * 3600)
    turns = 1 + rng.choice(len(calibration.turns), sessions, p=calibration.turns)
    session = np.repeat(np.arange(sessions, dtype=np.int32), turns)
    first = offsets_of(turns)[:-1]
    is_first = np.zeros(len(session), bool)
    is_first[first] = True
    is_long = rng.random(len(session)) < 0.12
    normal = rng.standard_normal(len(session))
    gap = np.where(is_long, 700 * np.exp(2.2 * normal), 36 * np.exp(0.8 * normal))
    gap[first] = 0.0
    total = np.cumsum(gap)
    time = np.floor(begin[session] + total - total[first][session]).astype(np.int64)
    kind = _draw_classes(rng, calibration, turns, first)
    keep = np.flatnonzero(time < DAYS * DAY)
    order = keep[np.argsort(time[keep], kind="stable")]
    return _Plan(time[order], session[order], kind[order], is_first[order], begin)


def _draw_classes(
    rng: np.random.Generator, calibration: Calibration, turns: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """[M] int8: a Markov chain along each session, drawn turn by turn for all sessions together."""
    kind = np.zeros(turns.sum(), np.int8)
    cumulative = np.cumsum(calibration.next_class, axis=1)[:, :-1]
    kind[first] = rng.choice(3, len(turns), p=calibration.first_class / calibration.first_class.sum())
    for turn in range(1, int(turns.max())):
        place = first[turns > turn] + turn
        kind[place] = (rng.random(len(place))[:, None] > cumulative[kind[place - 1]]).sum(axis=1)
    return kind


@dataclasses.dataclass(frozen=True)
class _Corpus:
    lengths: np.ndarray  # [8302] int64, tokens
    owned: np.ndarray  # [162, 37] int32, passages of each topic by rank
    hubs: np.ndarray  # [120] int32, by rank


def _draw_corpus(rng: np.random.Generator, calibration: Calibration) -> _Corpus:
    order = rng.permutation(CORPUS).astype(np.int32)
    start = np.floor(np.arange(N_TOPICS) * STRIDE).astype(int) + N_HUBS
    windows = order[start[:, None] + np.arange(WINDOW)]
    owned = rng.permuted(windows, axis=1)
    return _Corpus(calibration.draw(rng, calibration.corpus_lengths, CORPUS), owned, order[:N_HUBS])


def _choose_topics(rng: np.random.Generator, plan: _Plan) -> np.ndarray:
    """[M] int16: the topic of each turn, in order of time; -1 where there is no retrieval."""
    popularity = (np.arange(N_TOPICS) + TOPIC_SHIFT) ** -TOPIC_EXPONENT
    daily = popularity * np.exp(DAILY_SPREAD * rng.standard_normal((DAYS, N_TOPICS)))
    cumulative = np.cumsum(daily / daily.sum(axis=1, keepdims=True), axis=1)
    day, uniform = plan.time // DAY, rng.random((len(plan.time), 4))
    fresh = np.empty(len(day), np.int16)
    for today in range(DAYS):
        now = day == today
        fresh[now] = np.searchsorted(cumulative[today], uniform[now, 0]).clip(max=N_TOPICS - 1)
    keeps, takes = uniform[:, 1] < KEEP_TOPIC, uniform[:, 2] < TAKE_RECENT
    topic = np.full(len(day), -1, np.int16)
    retrieves = np.flatnonzero(plan.kind < 2)
    last_topic: dict[int, int] = {}  # by session
    recent: deque[int] = deque(maxlen=RECENT)
    columns = (plan.session, fresh, keeps, takes, uniform[:, 3])
    chosen = []
    for session, new, keep, take, which in zip(*(column[retrieves].tolist() for column in columns)):
        before = last_topic.get(session)
        if before is not None and keep:
            new = before
        elif recent and take:
            new = recent[int(which * len(recent))]
        last_topic[session] = new
        recent.append(new)
        chosen.append(new)
    topic[retrieves] = chosen
    return topic


def _pick_passages(rng: np.random.Generator, corpus: _Corpus, kind: np.ndarray, topic: np.ndarray) -> Ragged:
    """Distinct passages of each turn: hubs and passages of its topic, drawn without replacement, in random order."""
    count = len(kind)
    picks = np.where(rng.random(count) < FULL_SHARE, N_PICKS, rng.integers(0, N_PICKS, count))
    picks[kind == 2] = 0
    from_hubs = rng.binomial(picks, HUB_SHARE)
    owned = corpus.owned[np.maximum(topic, 0)]
    both = np.concatenate([owned, np.broadcast_to(corpus.hubs, (count, N_HUBS))], axis=1)
    log_weight = np.concatenate(
        [-RANK_EXPONENT * np.log(np.arange(1, WINDOW + 1)), -HUB_EXPONENT * np.log(np.arange(1, N_HUBS + 1))]
    )
    score = log_weight - np.log(rng.exponential(size=(count, WINDOW + N_HUBS)))  # Gumbel noise: the top k are the draw
    columns = []
    for part in (score[:, :WINDOW], score[:, WINDOW:]):
        best = np.argpartition(-part, N_PICKS, axis=1)[:, :N_PICKS]
        rank = np.argsort(-np.take_along_axis(part, best, axis=1), axis=1)
        columns.append(np.take_along_axis(best, rank, axis=1))
    index = np.concatenate([columns[0], columns[1] + WINDOW], axis=1)
    step = np.arange(N_PICKS)
    wanted = np.concatenate([step < (picks - from_hubs)[:, None], step < from_hubs[:, None]], axis=1)
    shuffled = np.argsort(np.where(wanted, rng.random(wanted.shape), 2.0), axis=1)
    ids = np.take_along_axis(np.take_along_axis(both, index, axis=1), shuffled, axis=1)
    keep = np.arange(ids.shape[1]) < picks[:, None]
    return Ragged(ids[keep].astype(np.int32), offsets_of(picks))


def _session_names(rng: np.random.Generator, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of all session names: milliseconds, [S] int64, and suffixes of 12 characters, [S]."""
    letters = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
    suffix = letters[rng.integers(0, 36, (len(begin), 12), dtype=np.uint8)].reshape(-1).view("S12")
    return START_MS + (1000 * begin).astype(np.int64), suffix


class _Builder:
    """Assigns texts (ids and token lengths) to turns; ids continue from piece to piece."""

    def __init__(self, calibration: Calibration, corpus: _Corpus, turns: int) -> None:
        self._calibration = calibration
        self._corpus: Table | None = Table(np.arange(CORPUS, dtype=np.int32), corpus.lengths.astype(np.int32))
        self._corpus_lengths = corpus.lengths
        self._clock = _CLOCK
        self._question = _CLOCK + turns
        self._history = self._question + turns
        self._web = self._history + 2 + _MOST_HISTORY_CHUNKS * turns
        self._empty_history = (self._history, self._history + 1)  # of 11 and of 10 tokens
        self._history += 2

    def build(
        self, rng: np.random.Generator, plan: _Plan, picks: Ragged, names: tuple[np.ndarray, np.ndarray]
    ) -> Trace:
        """The next piece of the trace."""
        is_start, count = self._corpus is not None, len(plan.time)
        tokens = _draw_tokens(rng, self._calibration, plan)
        parts, tables = {"passages_ids": picks}, {"passages_ids": self._corpus or _table([], [])}
        self._corpus = None
        parts["sys_prompt"], tables["sys_prompt"] = self._system(plan, is_start)
        parts["history"], tables["history"] = self._histories(plan.kind, tokens["history"], is_start)
        parts["web_search"], tables["web_search"], self._web = _cut(tokens["web"], self._web)
        parts["user_input"], tables["user_input"], self._question = _cut(tokens["user"], self._question)
        passages = np.bincount(picks.owners, weights=self._corpus_lengths[picks.ids], minlength=count).astype(np.int64)
        total = tokens["system"] + passages + sum(tokens[part] for part in ("history", "web", "user", "template"))
        present, session = np.unique(plan.session, return_inverse=True)
        session_names = np.empty(len(present), object)
        moments, suffixes = (column[present].tolist() for column in names)
        session_names[:] = [f"{ms}-{suffix.decode('ascii')}" for ms, suffix in zip(moments, suffixes)]
        return Trace(
            time=plan.time,
            segment=np.zeros(count, np.int32),
            input_length=total.astype(np.int32),
            output_length=tokens["output"].astype(np.int32),
            docs=distinct_docs(picks),
            parts={part: parts[part] for part in PARTS},
            session=session.astype(np.int32),
            session_names=session_names,
            tables={part: tables[part] for part in PARTS},
        )

    def _system(self, plan: _Plan, is_start: bool) -> tuple[Ragged, Table]:
        """System prompts: a chunk per class, one per day (for C, one that is always the same), and a new one per turn."""
        count, kind = len(plan.time), plan.kind.astype(np.int64)
        new = np.arange(self._clock, self._clock + count)
        self._clock += count
        daily = _DAILY + 2 * (plan.time // DAY) + kind
        is_c = kind == 2
        rows = np.stack([_FIRST_SYSTEM + kind, np.where(is_c, new, daily), np.where(is_c, _LAST_OF_C, new)], axis=1)
        fixed = np.arange(_FIRST_SYSTEM, _CLOCK) if is_start else np.arange(0)
        system = _system_lengths(self._calibration)
        lengths = np.where(fixed == _LAST_OF_C, system[2, 2], MAX_CHUNK)
        of_new = np.array([system[0, 2], system[1, 2], system[2, 1]])[kind]
        table = _table(np.concatenate([fixed, new]), np.concatenate([lengths, of_new]))
        return Ragged(rows.reshape(-1).astype(np.int32), offsets_of(np.full(count, 3))), table

    def _histories(self, kind: np.ndarray, tokens: np.ndarray, is_start: bool) -> tuple[Ragged, Table]:
        """Histories: turns without history share a chunk, which is the shortest one."""
        empty_lengths = np.array([11, 10])
        of_empty = (kind == 1).astype(int)
        is_empty = tokens <= empty_lengths[of_empty]
        cut, table, self._history = _cut(np.where(is_empty, 1, tokens), self._history)
        owner_is_empty = is_empty[cut.owners]
        ids = np.where(owner_is_empty, np.array(self._empty_history)[of_empty[cut.owners]], cut.ids).astype(np.int32)
        new = ~owner_is_empty
        rows = _table(table.ids[new], table.lengths[new])
        if is_start:
            rows = _join_tables([_table(self._empty_history, empty_lengths), rows])
        return Ragged(ids, cut.offsets), rows


def _system_lengths(calibration: Calibration) -> np.ndarray:
    """[3, 3] int64, tokens of the three system chunks of each class."""
    return np.array([calibration.by_class[name]["sys_chunk_lengths"] for name in CLASSES])


def _draw_tokens(rng: np.random.Generator, calibration: Calibration, plan: _Plan) -> dict[str, np.ndarray]:
    """Tokens of every part but the passages, of the template, and of the output; [M] int64 each."""
    count = len(plan.time)
    tokens = {name: np.zeros(count, np.int64) for name in ("history", "web", "user", "template", "output")}
    for kind, name in enumerate(CLASSES):
        tables = calibration.by_class[name]
        for is_first in (True, False):
            here = np.flatnonzero((plan.kind == kind) & (plan.is_first == is_first))
            history = tables["history_tokens_first_turn" if is_first else "history_tokens_later_turns"]
            tokens["history"][here] = calibration.draw(rng, history, len(here))
            tokens["web"][here] = calibration.draw(rng, tables["web_tokens"], len(here))
            tokens["user"][here] = calibration.draw(rng, tables["user_input_tokens"], len(here))
            tokens["output"][here] = calibration.draw(rng, tables["output_length"], len(here))
            overhead, share = zip(*sorted((int(k), v) for k, v in tables["template_overhead"].items()))
            tokens["template"][here] = rng.choice(overhead, len(here), p=np.array(share) / sum(share))
    tokens["system"] = _system_lengths(calibration).sum(axis=1)[plan.kind]
    return tokens


def _cut(tokens: np.ndarray, first_id: int) -> tuple[Ragged, Table, int]:
    """Texts of the given lengths, cut into chunks with new ids from `first_id` on; also returns the next free id."""
    chunks = -(-tokens // MAX_CHUNK)
    offsets = offsets_of(chunks)
    lengths = np.full(offsets[-1], MAX_CHUNK)
    some = tokens > 0
    lengths[offsets[1:][some] - 1] = tokens[some] - MAX_CHUNK * (chunks[some] - 1)
    stop = first_id + int(offsets[-1])
    ids = np.arange(first_id, stop, dtype=np.int32)
    return Ragged(ids, offsets), Table(ids, lengths.astype(np.int32)), stop


def _table(ids: Any, lengths: Any) -> Table:
    return Table(np.array(ids, np.int32), np.array(lengths, np.int32))


def _join_tables(tables: list[Table]) -> Table:
    """Concatenates tables whose ids ascend from one to the next."""
    return Table(np.concatenate([t.ids for t in tables]), np.concatenate([t.lengths for t in tables]))
