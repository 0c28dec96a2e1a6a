"""The format of a RAGPulse trace (files, fields, limits), and the errors for lines that violate it."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

TRACE_FILE = "0_trace.jsonl"
PARTS = ("sys_prompt", "passages_ids", "history", "web_search", "user_input")
"""Names of the lists in `hash_ids`, in the order of the files."""
TABLES = {
    "sys_prompt": ("1_sys_prompt.jsonl", "sys_prompt_id"),
    "passages_ids": ("2_passages.jsonl", "passage_id"),
    "history": ("3_history.jsonl", "history_id"),
    "web_search": ("5_web_search.jsonl", "web_search_id"),
    "user_input": ("4_user_input.jsonl", "user_input_id"),
}
"""For each part, the file with its token lengths and the name of the id field in it."""
REQUEST_FIELDS = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")

DAY, WEEK = 86_400, 604_800
MAX_PASSAGES = 7
MAX_CHUNK = 512
"""Maximum tokens per id; longer text is split into several ids."""
MAX_TEMPLATE = 64
"""Maximum difference in tokens between `input_length` and the sum over its ids; in the recorded trace it is 6 to 12."""
MAX_INT = 2**31 - 1
MAX_LINE = 2**20
"""Maximum length of a line in bytes."""
MAX_REPORTED = 20
"""Maximum number of problems that are described individually."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A line that violates the format."""

    file: str
    line: int
    """Line number, from 1; 0 for the file as a whole."""
    field: str
    value: str
    """The value found, shortened."""
    kind: str
    """Category of the problem; lenient reading counts problems by kind."""
    expected: str

    def __str__(self) -> str:
        """One line with the place, the value found and what is accepted."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.kind}: got {self.value}; expected {self.expected}"


class TraceError(ValueError):
    """Raised for a trace that cannot be read; names file, line, field and value of the first problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first, *others = (str(problem) for problem in self.problems)
        more = f" (and {len(others)} more, listed below)" if others else ""
        super().__init__(first + more + "".join(f"\n  {other}" for other in others))


class BadLine(Exception):
    """A problem in a line, raised by code that does not know the line's number."""

    def __init__(self, kind: str, field: str, value: Any, expected: str) -> None:
        super().__init__(kind)
        self.kind, self.field, self.value, self.expected = kind, field, value, expected

    def at(self, file: str, line: int) -> Problem:
        """The problem, located."""
        return Problem(file, line, self.field, shorten(self.value), self.kind, self.expected)


def shorten(value: Any) -> str:
    """`value` for a message: at most 60 characters, however large it is."""
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
    """Counts problems by kind and keeps the first `MAX_REPORTED`; with `strict`, raises when it has that many."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.counts: Counter[str] = Counter()
        self.first: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Adds a problem.

        Raises:
          TraceError: if reading is strict and there are now `MAX_REPORTED` problems.
        """
        self.counts[problem.kind] += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(problem)
        if self.strict and len(self.first) == MAX_REPORTED:
            raise TraceError(self.first)

    def raise_if_strict(self) -> None:
        """Called at the end of a file or chunk.

        Raises:
          TraceError: if reading is strict and there was a problem.
        """
        if self.strict and self.first:
            raise TraceError(self.first)
