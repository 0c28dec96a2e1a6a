"""Checks of numbers for searches."""

import math
import numbers
from collections.abc import Callable

import jax


def check_count(name: str, value: int) -> None:
    """Rejects anything but an integer of at least 1.

    Raises:
      ValueError: naming the setting and its value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_number(name: str, value: jax.Array | float, accepted: str, fits: Callable[[float], bool]) -> None:
    """Rejects numbers out of range; traced ones are not checked.

    Raises:
      ValueError: naming the setting, its value and what is accepted.
    """
    if isinstance(value, numbers.Real) and not (math.isfinite(value) and fits(float(value))):
        raise ValueError(f"{name} must {accepted}, got {value}")
