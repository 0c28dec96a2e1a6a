"""Makes the documentation of fields in the source available to `help()`."""

import ast
import inspect
import itertools
import textwrap
from typing import TypeVar

_T = TypeVar("_T")


def field_docs(cls: type) -> dict[str, str]:
    """The documentation of the fields of a class and its bases: the string below a field, or the comment after it."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(base))
            tree = ast.parse(source)
        except (OSError, TypeError, SyntaxError):
            continue
        lines, body = source.splitlines(), tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, text in itertools.pairwise([*body, ast.Pass()]):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(str(text.value.value).split())
            elif comment := lines[(field.end_lineno or 1) - 1][field.end_col_offset or 0 :].partition("#")[2].strip():
                found[field.target.id] = comment
    return found


def documented(cls: type[_T]) -> type[_T]:
    """Adds the documentation of fields in the source of a NamedTuple to its `help()`."""
    for name, text in field_docs(cls).items():
        getattr(cls, name).__doc__ = text
    return cls
