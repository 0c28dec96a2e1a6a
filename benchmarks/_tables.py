"""Tables: rows, how they are shown, and what of them is compared."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class Column(NamedTuple):
    """One column of a printed table."""

    title: str
    text: Callable[[Row], str]


class Table(NamedTuple):
    """Rows, how they are shown, and what of them is compared with an earlier result."""

    name: str
    rows: list[Row]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """Fields that tell rows apart."""
    metric: str
    """Field that is compared."""
    is_time: bool = False
    """The metric is seconds: its reciprocal is the throughput."""
    shown: Sequence[Row] = ()
    """The rows as they are shown, where a line holds several."""


def number(field: str, pattern: str = ",.0f", scale: float = 1.0) -> Callable[[Row], str]:
    """Shows one number of a row; a dash where there is none."""

    def text(row: Row) -> str:
        value = row.get(field)
        return "–" if value is None else format(value * scale, pattern)

    return text


def plain(field: str) -> Callable[[Row], str]:
    """Shows a field as it is."""
    return lambda row: str(row[field])


def markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; all but the first are flush right where they hold numbers."""
    if not lines:
        return "(no rows)"
    is_right = [all(not c or c[0] in "–+-.0123456789" for c in column) for column in zip(*lines)]
    widths = [max(3, *(len(c) for c in column)) for column in zip(titles, *lines)]

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cells, widths, is_right)]
        return f"| {' | '.join(parts)} |"

    rule = ["-" * (w - 1) + ":" if right else "-" * w for w, right in zip(widths, is_right)]
    return "\n".join([line(titles), f"| {' | '.join(rule)} |", *map(line, lines)])


def render(table: Table) -> str:
    """A table as Markdown."""
    rows = table.shown or table.rows
    return markdown([c.title for c in table.columns], [[c.text(row) for c in table.columns] for row in rows])
