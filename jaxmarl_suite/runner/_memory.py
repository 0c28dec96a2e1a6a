"""How large the state of a lane is, and which setting makes it so."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from jaxmarl_suite.algorithms import Phase
from jaxmarl_suite.runner._experiment import Group
from jaxmarl_suite.runner._lanes import state_shapes
from jaxmarl_suite.runner._options import TrainOptions

_USUAL = ("num_envs", "rollout_length")  # what steps and their temporaries grow with


def state_bytes(group: Group, phases: Sequence[Phase] | None = None, config: Any = None) -> int:
    """Bytes of one lane's state at the start: less than any program needs.

    Args:
      group: the lane's.
      phases: all of the method, where they are others than the group's.
      config: that of `phases`.
    """
    lane = group.lanes[0] if config is None else dataclasses.replace(group.lanes[0], config=config)
    first = len(group.earlier)
    state = state_shapes((phases or (*group.earlier, *group.phases))[: first + 1], lane)[first]
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))


def what_to_lower(group: Group, options: TrainOptions, needed: float) -> str:
    """The settings to lower where one lane needs `needed` bytes, e.g. "capacity (65536 now)".

    The setting that most of the state grows with, where the state is most of it; else those that steps grow with.
    """
    settings = {field.name: getattr(group.config, field.name) for field in dataclasses.fields(group.config)}
    now = state_bytes(group)
    if 2 * now >= needed:
        sizes = {name: value for name, value in settings.items() if isinstance(value, int) and value > 1}  # True is 1
        shares = {name: _share(group, options, name, value, now) for name, value in sizes.items()}
        name = max(shares, key=lambda name: shares[name], default="")
        if name and shares[name] > 0:
            return f"{name} ({settings[name]} now)"
    return " or ".join(name for name in _USUAL if name in settings)


def _share(group: Group, options: TrainOptions, name: str, value: int, now: int) -> float:
    """About how many of the state's bytes come and go with a setting: seen at half and, if that is refused, at twice it."""
    for other in (value // 2, 2 * value):
        try:
            config = dataclasses.replace(group.config, **{name: other})
            phases = group.spec.build(config, group.env, has_data=options.data is not None)
        except ValueError:  # settings that do not go together
            continue
        return (state_bytes(group, phases, config) - now) / (other / value - 1)
    return 0.0
