"""How large the state of a lane is, and which setting determines its size."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from jaxmarl_suite.algorithms import Phase
from jaxmarl_suite.runner._experiment import Group
from jaxmarl_suite.runner._lanes import state_shapes
from jaxmarl_suite.runner._options import TrainOptions

_USUAL = ("num_envs", "rollout_length")  # steps and their temporaries grow with these


def state_bytes(group: Group, phases: Sequence[Phase] | None = None, config: Any = None) -> int:
    """Bytes of one lane's initial state: a lower bound for any program.

    Args:
      group: the group of the lane.
      phases: all phases of the method, if not those of the group.
      config: config of `phases`.
    """
    lane = group.lanes[0] if config is None else dataclasses.replace(group.lanes[0], config=config)
    first = len(group.earlier)
    state = state_shapes((phases or (*group.earlier, *group.phases))[: first + 1], lane)[first]
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))


def what_to_lower(group: Group, options: TrainOptions, needed: float) -> str:
    """The settings to lower if one lane needs `needed` bytes, e.g. "capacity (65536 now)".

    If most of the memory is state: the setting that most of it grows with. Otherwise the settings that steps grow with.
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
    """The approximate share of the state's bytes that depends on a setting, measured by halving it or, if that is
    rejected, doubling it.
    """
    for other in (value // 2, 2 * value):
        try:
            config = dataclasses.replace(group.config, **{name: other})
            phases = group.spec.build(config, group.env, has_data=options.data is not None)
        except ValueError:  # settings that do not work together
            continue
        return (state_bytes(group, phases, config) - now) / (other / value - 1)
    return 0.0
