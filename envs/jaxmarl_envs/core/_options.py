"""Options of environments: their ranges, and errors for invalid ones."""

import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmarl_envs.core._registry import UnknownOption

LARGEST = 1e6
"""Bounds of real numbers: far from overflow and underflow in float32."""


class Option(NamedTuple):
    """One option: its default, which determines its type, and its range, ends included."""

    default: Any
    lowest: float = -LARGEST
    highest: float = LARGEST
    choices: tuple[str, ...] = ()

    def read(self, where: str, value: Any) -> Any:
        """`value` as a string, an int or a float, after checking it.

        Raises:
          ValueError: a value of another type or out of range; the message says what is accepted.
        """
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"{where} must be {' or '.join(map(repr, self.choices))}, got {value!r}")
            return value
        is_whole = isinstance(self.default, int)
        kinds: Any = (int, np.integer) if is_whole else (int, float, np.integer, np.floating)
        is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not self.lowest <= value <= self.highest:
            kind = "an integer" if is_whole else "a number"
            raise ValueError(f"{where} must be {kind} from {self.lowest:g} to {self.highest:.12g}, got {value!r}")
        return int(value) if is_whole else float(value)


def positive(default: float) -> Option:
    """An option for a number that is used as a divisor."""
    return Option(default, 1 / LARGEST)


def not_negative(default: float) -> Option:
    """An option for a number that may be zero."""
    return Option(default, 0.0)


def count(default: int, highest: float = 1000, lowest: int = 1) -> Option:
    """An option for a size; the default bound keeps arrays small enough to allocate."""
    return Option(default, lowest, highest)


def steps(default: int) -> Option:
    """An option for a number of steps."""
    return Option(default, 1, 100_000)


def read_options(env_id: str, given: Mapping[str, Any], accepted: Mapping[str, Option]) -> dict[str, Any]:
    """The values of all `accepted` options, given or default.

    Raises:
      ValueError: an unknown option (the nearest name is suggested), or an invalid value.
    """
    for name in given:
        if name not in accepted:
            near = difflib.get_close_matches(name, accepted, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UnknownOption(
                f"{env_id}: unknown option {name!r}; {hint}accepted: {', '.join(sorted(accepted))}",
                {name: option.default for name, option in accepted.items()},
            )
    return {
        name: option.read(f"{env_id}: {name}", given[name]) if name in given else option.default
        for name, option in accepted.items()
    }
