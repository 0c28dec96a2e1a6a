"""Settings: values for the fields of a config, in their types, wherever they come from."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from jaxmarl_suite.algorithms.core._registry import get
from jaxmarl_suite.algorithms.core._types import field_types


def config(algorithm: str, /, **settings: Any) -> Any:
    """The config of the algorithm called `algorithm`: its defaults with `settings` instead.

    >>> config("mappo", recurrent=True).recurrent
    True

    Its type is that of `get(algorithm).config`; `dataclasses.replace` makes others of it.

    Raises:
      ValueError: for an unknown algorithm or field, with the nearest spelling, or a value that does not fit.
    """
    default = get(algorithm).default_config
    fields = field_types(default)
    for name in settings:
        if name not in fields:
            raise ValueError(unknown_field(name, fields, f" in the config of {algorithm}"))
    return type(default)(**{name: getattr(default, name) for name in fields} | coerce(default, settings))


def unknown_field(name: str, fields: Iterable[str], where: str = "") -> str:
    """What is wrong with a name that is none of `fields`, with the nearest one."""
    near = nearest_field(name, fields)
    hint = f"did you mean {near!r}? " if near else ""
    return f"no field {name!r}{where}; {hint}there are: {', '.join(sorted(fields))}"


def nearest_field(name: str, fields: Iterable[str]) -> str | None:
    """The field with the nearest spelling, or the first letters of whose words are `name`; None where none is near."""
    near = difflib.get_close_matches(name, sorted(fields), n=1, cutoff=0.4)
    near = near or [f for f in sorted(fields) if name == "".join(word[:1] for word in f.split("_"))]
    return near[0] if near else None


def coerce(config: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with every value turned into its field's type: "1e-3" and 1 into floats, lists into tuples.

    Raises:
      ValueError: for a field that does not exist or a value that does not fit, naming both.
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
