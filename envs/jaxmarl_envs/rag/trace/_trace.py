"""A trace as NumPy arrays."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxmarl_envs.rag.trace._schema import MAX_PASSAGES, PARTS, WEEK, Problem


@dataclasses.dataclass(frozen=True)
class Ragged:
    """M lists of ids, concatenated."""

    ids: np.ndarray  # [K] int32
    offsets: np.ndarray  # [M + 1] int64, list i is ids[offsets[i]:offsets[i + 1]]

    @property
    def counts(self) -> np.ndarray:
        """[M] int64, lengths of the lists."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """[K] int64, the index of the list that each id is in."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def take(self, index: np.ndarray) -> "Ragged":
        """The lists `index`, in that order."""
        counts = self.counts[index]
        offsets = offsets_of(counts)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Ragged(self.ids[np.repeat(self.offsets[:-1][index], counts) + within], offsets)

    @staticmethod
    def join(parts: Sequence["Ragged"]) -> "Ragged":
        """The lists of all `parts`, in order."""
        counts = np.concatenate([part.counts for part in parts])
        return Ragged(np.concatenate([part.ids for part in parts]), offsets_of(counts))


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """[M + 1] int64: the start of each list, given the lengths of the lists, and the end of the last one."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


@dataclasses.dataclass(frozen=True)
class Table:
    """Token lengths by id."""

    ids: np.ndarray  # [D] int32, ascending
    lengths: np.ndarray  # [D] int32, tokens, 1..512

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Token lengths of `ids`, int32; 0 for ids that are not in the table."""
        if not len(self.ids):
            return np.zeros(len(ids), np.int32)
        place = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.lengths[place], 0).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Trace:
    """M requests in order of arrival, and the token lengths of the ids that they refer to.

    In a file, timestamps start again at 0 every week. `time` is unwrapped: it counts seconds from the start of the first
    week. `overlay()` returns the other view, in which all weeks lie on top of each other.
    """

    time: np.ndarray  # [M] int64, seconds, ascending
    segment: np.ndarray  # [M] int32, the week of each request; its timestamp in the file is time - segment * WEEK
    input_length: np.ndarray  # [M] int32, tokens
    output_length: np.ndarray  # [M] int32, tokens
    docs: np.ndarray  # [M, 7] int32, distinct passages in the order of the prompt, padded with -1
    parts: Mapping[str, Ragged]  # ids of each request by part, as in the file, duplicates included
    session: np.ndarray  # [M] int32, index into session_names
    session_names: np.ndarray  # [S] of str objects, by first appearance
    tables: Mapping[str, Table]  # token lengths by part
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Dropped lines by kind; empty after strict reading."""
    problems: tuple[Problem, ...] = ()
    """The first `MAX_REPORTED` problems."""

    def __len__(self) -> int:
        """M."""
        return len(self.time)

    @property
    def n_docs(self) -> np.ndarray:
        """[M] int64, number of distinct passages per request."""
        return (self.docs >= 0).sum(axis=1)

    def part_tokens(self, part: str) -> np.ndarray:
        """[M] int64, tokens of one part of each prompt; duplicate passages count twice."""
        ragged = self.parts[part]
        lengths = self.tables[part].find(ragged.ids)
        return np.bincount(ragged.owners, weights=lengths, minlength=len(self)).astype(np.int64)

    def take(self, index: np.ndarray) -> "Trace":
        """The requests with these indices, in that order; sessions keep their numbers."""
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[index] for name in _COLUMNS},
            parts={name: ragged.take(index) for name, ragged in self.parts.items()},
        )

    def overlay(self) -> "Trace":
        """All weeks on top of each other, as in the paper's figures: time modulo a week, sorted."""
        time = self.time % WEEK
        order = np.argsort(time, kind="stable")
        return dataclasses.replace(self.take(order), time=time[order], segment=np.zeros(len(self), np.int32))

    def view(self, name: str) -> "Trace":
        """The view "unwrapped" (this trace) or "overlay"."""
        if name not in ("unwrapped", "overlay"):
            raise ValueError(f"a trace has the views 'unwrapped' and 'overlay', got {name!r}")
        return self if name == "unwrapped" else self.overlay()


_COLUMNS = ("time", "segment", "input_length", "output_length", "docs", "session")


def join(chunks: Sequence[Trace]) -> Trace:
    """Concatenates consecutive traces that share their tables; sessions are renumbered."""
    numbers: dict[str, int] = {}
    sessions = []
    for chunk in chunks:
        mapped = [numbers.setdefault(name, len(numbers)) for name in chunk.session_names.tolist()]
        sessions.append(np.array(mapped, np.int32)[chunk.session])
    names = np.empty(len(numbers), object)
    names[:] = list(numbers)
    columns = {name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in _COLUMNS[:-1]}
    parts = {name: Ragged.join([chunk.parts[name] for chunk in chunks]) for name in PARTS}
    return Trace(
        **columns,
        parts=parts,
        session=np.concatenate(sessions),
        session_names=names,
        tables=chunks[0].tables,
        counts=chunks[-1].counts,
        problems=chunks[-1].problems,
    )


def distinct_docs(passages: Ragged) -> np.ndarray:
    """[M, 7] int32: the distinct ids of each list (of at most 7), in order, padded with -1."""
    count = len(passages.offsets) - 1
    padded = np.full((count, MAX_PASSAGES), -1, np.int32)
    owners = passages.owners
    within = np.arange(len(passages.ids)) - passages.offsets[:-1][owners]
    padded[owners, within] = passages.ids
    for column in range(1, MAX_PASSAGES):
        again = (padded[:, :column] == padded[:, column : column + 1]).any(axis=1)
        padded[again, column] = -1
    order = np.argsort(padded < 0, axis=1, kind="stable")  # moves what is left to the front
    return np.take_along_axis(padded, order, axis=1)


def folder_of(path: str | Path) -> Path:
    """`path`, if it is a folder.

    Raises:
      ValueError: otherwise.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(
            f"a trace is a folder with the files 0_trace.jsonl to 5_web_search.jsonl; {str(path)!r} is not one"
        )
    return folder
