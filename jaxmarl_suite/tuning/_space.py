"""The settings that are searched, and points drawn from them."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmarl_suite.algorithms import coerce, field_types, unknown_field


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values, all equally likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One of the values."""
        return self.values[rng.integers(len(self.values))]


@dataclasses.dataclass(frozen=True)
class Range:
    """A number between two bounds, uniform, or uniform in its logarithm."""

    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """A number of the range; with three significant digits, so that it can be read and typed again."""
        if self.is_log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = float(rng.uniform(self.low, self.high))
        if self.is_integer:
            return round(value)
        return min(max(float(f"{value:.3g}"), self.low), self.high)


Space = Mapping[str, Choice | Range]
_BETWEEN_VALUES = re.compile(r",(?![^(\[]*[)\]])")  # commas outside brackets


def parse_space(entries: Sequence[str], config: Any) -> dict[str, Choice | Range]:
    """Reads `FIELD=A,B,C`, `FIELD=LOW:HIGH` and `FIELD=LOW:HIGH:log` for fields of `config`.

    Raises:
      ValueError: a malformed entry, an unknown field, or bounds that are no range.
    """
    kinds, space = field_types(config), {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not text.strip():
            raise ValueError(f"--space needs FIELD=A,B,... or FIELD=LOW:HIGH or FIELD=LOW:HIGH:log, got {entry!r}")
        if name not in kinds:
            raise ValueError(unknown_field(name, set(kinds), " in the space"))
        if name in space:
            raise ValueError(f"--space names {name!r} twice")
        space[name] = _range(name, text, kinds[name]) if ":" in text else _choice(name, text, config)
    if not space:
        raise ValueError("the space is empty: name at least one field, e.g. --space learning_rate=1e-4:1e-2:log")
    return space


def _choice(name: str, text: str, config: Any) -> Choice:
    values = tuple(coerce(config, {name: part.strip()})[name] for part in _BETWEEN_VALUES.split(text))
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"--space {name}={text} has a value twice")
    return Choice(values)


def _range(name: str, text: str, kind: Any) -> Range:
    if kind not in (int, float):
        raise ValueError(f"--space {name}={text}: only numbers have ranges; list the values instead")
    low, high, *scale = text.split(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        raise ValueError(f"--space {name}={text}: the bounds must be numbers") from None
    if scale not in ([], ["log"]):
        raise ValueError(f"--space {name}={text}: after the bounds may come :log only")
    if not bounds[0] < bounds[1] or not all(map(math.isfinite, bounds)):
        raise ValueError(f"--space {name}={text}: the first bound must be below the second")
    if scale and bounds[0] <= 0:
        raise ValueError(f"--space {name}={text}: a logarithmic range needs positive bounds")
    return Range(*bounds, is_log=bool(scale), is_integer=kind is int)


def draw_points(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` different points; all there are if there are fewer."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(100 * count):
        point = {name: one.draw(rng) for name, one in space.items()}
        found.setdefault(repr(point), point)
        if len(found) == count:
            break
    return list(found.values())
