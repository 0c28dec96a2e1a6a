"""The format of a RAGPulse trace: files, fields, limits; and what is said of lines that do not keep it."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

TRACE_FILE = "0_trace.jsonl"
PARTS = ("sys_prompt", "passages_ids", "history", "web_search", "user_input")
"""The lists of `hash_ids`, as the files write them."""
TABLES = {
    "sys_prompt": ("1_sys_prompt.jsonl", "sys_prompt_id"),
    "passages_ids": ("2_passages.jsonl", "passage_id"),
    "history": ("3_history.jsonl", "history_id"),
    "web_search": ("5_web_search.jsonl", "web_search_id"),
    "user_input": ("4_user_input.jsonl", "user_input_id"),
}
"""For each part the file with its token lengths, and the name of the id in that file."""
REQUEST_FIELDS = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")

DAY, WEEK = 86_400, 604_800
MAX_PASSAGES = 7
MAX_CHUNK = 512
"""Most tokens of one id; longer text is cut into several."""
MAX_TEMPLATE = 64
"""Most tokens by which `input_length` may differ from the sum over its ids; recorded are 6 to 12."""
MAX_INT = 2**31 - 1
MAX_LINE = 2**20
"""Most bytes of a line."""
MAX_REPORTED = 20
"""Problems that are described one by one."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One line that breaks the format."""

    file: str
    line: int
    """Counted from 1; 0 where the file as a whole is meant."""
    field: str
    value: str
    """As it was found, shortened."""
    kind: str
    """What lenient reading counts by."""
    expected: str

    def __str__(self) -> str:
        """One line: where, what came, what is accepted."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.kind}: got {self.value}; expected {self.expected}"


class TraceError(ValueError):
    """A trace that cannot be read; the message names file, line, field and value of the first problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first, *others = (str(problem) for problem in self.problems)
        more = f" (and {len(others)} more, listed below)" if others else ""
        super().__init__(first + more + "".join(f"\n  {other}" for other in others))


class BadLine(Exception):
    """What is wrong with a line, before it is known which line it is."""

    def __init__(self, kind: str, field: str, value: Any, expected: str) -> None:
        super().__init__(kind)
        self.kind, self.field, self.value, self.expected = kind, field, value, expected

    def at(self, file: str, line: int) -> Problem:
        """The problem with its place."""
        return Problem(file, line, self.field, shorten(self.value), self.kind, self.expected)


def shorten(value: Any) -> str:
    """A value as a message shows it: at most 60 characters of its literal, however large it is."""
    if isinstance(value, str | bytes):
        text = repr(value[:60])
    elif isinstance(value, int) and abs(value) > 10**40:
        text = f"an integer of {value.bit_length()} bits"
    elif isinstance(value, list | dict):
        text = f"a {'list' if isinstance(value, list) else 'record'} of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Problems:
    """Counts problems by kind and keeps the first ones; `strict` raises once there are `MAX_REPORTED`."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.counts: Counter[str] = Counter()
        self.first: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Takes note of one more.

        Raises:
          TraceError: if reading is strict and there are as many as are described.
        """
        self.counts[problem.kind] += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(problem)
        if self.strict and len(self.first) == MAX_REPORTED:
            raise TraceError(self.first)

    def raise_if_strict(self) -> None:
        """At the end of strict reading, and where nothing can follow.

        Raises:
          TraceError: if reading is strict and there was a problem.
        """
        if self.strict and self.first:
            raise TraceError(self.first)
