"""Checks of settings that configs share."""

import dataclasses
import functools
import numbers
import typing
from collections.abc import Sequence
from typing import Any

LARGEST_INTEGER = 2**31 - 1
"""Limit of the 32-bit integers that compiled programs count with."""
_hints: Any = functools.cache(typing.get_type_hints)
"""Wide enough for configs that JAX rebuilds while flattening and unflattening."""
_LARGEST = 3.4028235e38
"""Limit of float32, the type of traced settings: larger numbers become infinite."""


def check_floats(
    config: Any,
    *,
    fractions: Sequence[str] = (),
    amounts: Sequence[str] = (),
    positive: Sequence[str] = (),
    finite: Sequence[str] = (),
) -> None:
    """Rejects numbers in a config that are out of range, NaN or infinite.

    Only Python and NumPy numbers are checked: a config may also contain traced values or placeholders.

    Args:
      config: a dataclass.
      fractions: fields between 0 and 1, both included.
      amounts: fields that are not negative.
      positive: fields above 0.
      finite: fields of either sign.

    Raises:
      ValueError: naming the field, its value and what is accepted.
    """
    for names, accepted, fits in (
        (fractions, "lie between 0 and 1", lambda x: 0 <= x <= 1),
        (amounts, "be finite and not negative", lambda x: x >= 0),
        (positive, "be finite and positive", lambda x: x > 0),
        (finite, "be finite", lambda x: True),
    ):
        for name in names:
            value = getattr(config, name)
            is_number = isinstance(value, numbers.Real)
            if is_number and not (abs(value) <= _LARGEST and fits(value)):
                raise ValueError(f"{name} must {accepted}, got {value}")


def check_integers(config: Any, *, least: int = 1) -> None:
    """Rejects integers in a dataclass that are too small or too large, including those in tuples and optional ones.

    A field's metadata may override the bounds: `least`, and `most` (`LARGEST_INTEGER` by default, None for no bound).

    Args:
      config: a dataclass.
      least: lower bound of fields that do not set it.

    Raises:
      ValueError: naming the field, its value and what is accepted.
    """
    kinds = _hints(type(config))
    for field in dataclasses.fields(config):
        parts = {kinds[field.name], *typing.get_args(kinds[field.name])}
        value = getattr(config, field.name)
        if int not in parts or (value is None and type(None) in parts):
            continue
        lowest, most = field.metadata.get("least", least), field.metadata.get("most", LARGEST_INTEGER)
        is_tuple = typing.get_origin(kinds[field.name]) is tuple and isinstance(value, tuple | list)
        for entry in value if is_tuple else (value,):
            is_whole = isinstance(entry, numbers.Integral)
            if isinstance(entry, numbers.Real) and not is_whole:
                is_whole = float(entry).is_integer()  # the runner converts 8.0 to 8
            if isinstance(entry, bool) or not is_whole:
                raise ValueError(f"{field.name} must be an integer, got {entry!r}")
            if entry < lowest:
                raise ValueError(f"{field.name} must be at least {lowest}, got {value}")
            if most is not None and entry > most:
                raise ValueError(f"{field.name} must be at most {most:,}, got {entry:,}")
