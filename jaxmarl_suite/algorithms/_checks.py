"""What configs have in common when they refuse settings."""

import numbers
from collections.abc import Sequence
from typing import Any

_LARGEST = 3.4028235e38
"""Of a float32, in which settings are traced: beyond it a number is infinite there."""


def check_floats(
    config: Any,
    *,
    fractions: Sequence[str] = (),
    amounts: Sequence[str] = (),
    positive: Sequence[str] = (),
    finite: Sequence[str] = (),
) -> None:
    """Refuses numbers of a config that are not what they should be; NaN and infinity never are.

    Only Python's and NumPy's numbers are looked at: configs are also made of traced values, and of placeholders.

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
