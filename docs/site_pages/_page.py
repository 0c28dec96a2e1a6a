"""What a page is, and small pieces of Markdown."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    address: str
    """Its place in the site, e.g. `studies/gem_toy.md`."""
    title: str
    section: str
    """The heading of the navigation that it is below; empty for a page that is only linked."""
    text: str
    origin: str
    """The file of the repository that it shows, to which its links are relative; `./` for a page made of code, whose
    links are relative to the repository."""


def table(rows: Sequence[dict[str, str]]) -> str:
    """A Markdown table; all rows have the same keys, the headers."""
    if not rows:
        return ""
    header = "| " + " | ".join(rows[0]) + " |"
    lines = ["| " + " | ".join(cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join([header, "| " + " | ".join(":--" for _ in rows[0]) + " |", *lines])


def cell(text: str) -> str:
    """A text in one cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(value: object) -> str:
    """A value as code; nothing for the empty text."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """A summary as a sentence."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def joined(parts: Iterable[str]) -> str:
    """The parts that are not empty, as paragraphs."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
