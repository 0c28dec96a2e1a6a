"""Settings: values for the fields of a config, converted to their types."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from jaxmarl_suite.algorithms.core._registry import get
from jaxmarl_suite.algorithms.core._types import field_types


def config(algorithm: str, /, **settings: Any) -> Any:
    """The default config of `algorithm` with some settings replaced.

    >>> config("mappo", recurrent=True).recurrent
    True

    Its type is `get(algorithm).config`; use `dataclasses.replace` to change it.

    Raises:
      ValueError: an unknown algorithm or field (the nearest spelling is suggested), or a value of the wrong type.
    """
    default = get(algorithm).default_config
    fields = field_types(default)
    for name in settings:
        if name not in fields:
            raise ValueError(unknown_field(name, fields, f" in the config of {algorithm}"))
    return type(default)(**{name: getattr(default, name) for name in fields} | coerce(default, settings))


def unknown_field(name: str, fields: Iterable[str], where: str = "") -> str:
    """The error message for a name that is not one of `fields`, with the nearest one."""
    near = nearest_field(name, fields)
    hint = f"did you mean {near!r}? " if near else ""
    return f"no field {name!r}{where}; {hint}there are: {', '.join(sorted(fields))}"


def nearest_field(name: str, fields: Iterable[str]) -> str | None:
    """The field with the nearest spelling, or whose words have `name` as initials; None if there is none."""
    near = difflib.get_close_matches(name, sorted(fields), n=1, cutoff=0.4)
    near = near or [f for f in sorted(fields) if name == "".join(word[:1] for word in f.split("_"))]
    return near[0] if near else None


def coerce(config: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Converts every value to the type of its field: "1e-3" and 1 to floats, lists to tuples.

    Raises:
      ValueError: an unknown field or a value that cannot be converted; both are given.
    """
    types = field_types(config)
    result = {}
    for name, value in settings.items():
        if name not in types:
            raise ValueError(unknown_field(name, types))
        result[name] = _as_type(name, value, types[name])
    return result


def _as_type(name: str, value: Any, expected: Any) -> Any:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    try:
        if expected is bool:
            if isinstance(value, str):
                return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
            if not isinstance(value, bool):
                raise ValueError
            return value
        if expected is int:
            number = float(value)
            if number != int(number) or isinstance(value, bool):
                raise ValueError
            return int(number)
        if expected is float:
            return float(value)
        if expected is str and not isinstance(value, str):
            raise ValueError
        if origin is typing.Literal:
            if value not in arguments:
                raise ValueError
            return value
        if origin is tuple:
            parts = value.strip("()[]").replace(" ", "").rstrip(",").split(",") if isinstance(value, str) else value
            return tuple(_as_type(name, part, arguments[0]) for part in parts)
        if type(None) in arguments:  # Optional
            kind = next(a for a in arguments if a is not type(None))
            return None if value in (None, "none", "None") else _as_type(name, value, kind)
    except (ValueError, KeyError, TypeError, OverflowError):
        shown = (
            " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(expected, "__name__", expected)
        )
        raise ValueError(f"{name} must be {shown}, got {value!r}") from None
    return value
