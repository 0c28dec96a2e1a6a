"""Conversion of values to plain Python and to JSON."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np


def plain_value(name: str, value: Any) -> Any:
    """`value` as a plain Python value: NumPy and JAX numbers become numbers, arrays lists, paths text; containers are
    copied.

    Raises:
      ValueError: JSON cannot represent the value; `name` is given.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, os.PathLike):
        return plain_value(name, os.fspath(value))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain_value(name, part) for key, part in value.items()}
    if isinstance(value, list | tuple | range):
        parts = [plain_value(name, part) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    dtype = getattr(value, "dtype", None)
    if dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_, np.str_)):
        return value.tolist()
    for kind in (int, float, str):  # e.g. an enumeration
        if isinstance(value, kind):
            return kind(value)
    raise ValueError(f"{name} must be a number, text, or a list of them, got {value!r}")


def grid_values(name: Any, values: Any) -> list[Any]:
    if not isinstance(name, str):
        raise ValueError(f"a grid is over names of fields, got {name!r}")
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) < 1:
        raise ValueError(f"grid over {name!r} needs a list of values, got {values!r}")
    return [plain_value(f"grid over {name!r}", value) for value in values]


def plain(config: Any) -> dict[str, Any]:
    """A dataclass as JSON values."""
    return json_values(fields_of(config))


def fields_of(config: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, as plain Python values."""
    return {f.name: plain_value(f.name, getattr(config, f.name)) for f in dataclasses.fields(config)}


def json_values(value: Any) -> Any:
    """`value` as it would be after a round trip through JSON: tuples and arrays as lists, NumPy numbers as Python's."""
    if isinstance(value, Mapping):
        return {name: json_values(v) for name, v in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [json_values(v) for v in value]
    return value
