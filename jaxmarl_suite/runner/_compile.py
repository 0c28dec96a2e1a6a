"""The programs of a group, for as many lanes as fit into memory at once."""

import collections
from typing import Any

import jax

from jaxmarl_suite.algorithms import ActContext, Context
from jaxmarl_suite.runner._authors import naming_authors
from jaxmarl_suite.runner._devices import in_32_bits, memory_budget
from jaxmarl_suite.runner._experiment import Group, Lane
from jaxmarl_suite.runner._lanes import acting_context, handed_shape, lane_context, pad_lanes
from jaxmarl_suite.runner._memory import state_bytes, what_to_lower
from jaxmarl_suite.runner._options import TrainOptions
from jaxmarl_suite.runner._placement import Placement
from jaxmarl_suite.runner._programs import Evaluated, Programs, compile_phase

_KEPT_PROGRAMS = 16
_compiled: collections.OrderedDict[Any, list[Programs]] = collections.OrderedDict()


def compile_group(group: Group, lanes: list[Lane], placement: Placement, options: TrainOptions) -> list[Programs]:
    """All programs of a group for these lanes; those of recent groups are cached in the process."""
    contexts = [jax.eval_shape(lambda data=data: lane_context(lanes, 1, data)) for data in group.data]
    acting = jax.eval_shape(lambda: acting_context(lanes))
    shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves((contexts, acting)))
    key = (
        *(group.spec.make, jax.tree.structure(group.config), group.env, group.eval_env),
        *(jax.tree.structure((contexts, acting)), shapes, len(group.earlier)),
        *(len(lanes), placement, options.eval_episodes, options.eval_max_steps),
    )
    try:
        hash(key)
    except TypeError:  # an environment or a config that cannot be hashed
        return _compile(group, contexts, acting, len(lanes), placement, options)
    programs = _compiled.pop(key, None) or _compile(group, contexts, acting, len(lanes), placement, options)
    _compiled[key] = programs
    if len(_compiled) > _KEPT_PROGRAMS:
        _compiled.popitem(last=False)
    return programs


def _compile(
    group: Group, contexts: list[Context], acting: ActContext, lanes: int, placement: Placement, options: TrainOptions
) -> list[Programs]:
    programs: list[Programs] = []
    handed = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((lanes, *s.shape), s.dtype), handed_shape(group.earlier, group.lanes[0])
    )
    for phase, evaluated, ctx in zip(group.phases, group.eval_phases, contexts):
        how = Evaluated(evaluated.algorithm, group.eval_env, acting, options.eval_episodes, options.eval_max_steps)
        previous = programs[-1] if programs else None
        programs.append(compile_phase(phase, placement, ctx, previous, handed=handed, lanes=lanes, evaluate=how))
        handed = programs[-1].handed_shape
    return programs


@in_32_bits
def choose_wave(group: Group, options: TrainOptions, size: int | None = None) -> tuple[int, list[Programs], Placement]:
    """The number of lanes to run at once, with the programs for them: all, or as many as fit into memory.

    Args:
      group: the lanes.
      options: options of the run.
      size: the number chosen earlier, if a run is resumed.

    Raises:
      ValueError: not even one lane per device fits, or `size` lanes do not.
      TracingError: an algorithm or environment outside the suite raised an exception.
    """
    with naming_authors(group.spec.name, group.env.spec.id):
        return _choose_wave(group, options, size)


def _choose_wave(group: Group, options: TrainOptions, size: int | None) -> tuple[int, list[Programs], Placement]:
    budget = int(options.memory_gib * 2**30) if options.memory_gib else memory_budget()
    count = size or min(len(group.lanes), options.lanes_at_once or len(group.lanes))
    least = state_bytes(group)
    programs: list[Programs] = []
    while True:
        lanes, placement = pad_lanes(list(group.lanes[:count]), options)
        needed = least * len(lanes)  # known without compiling anything
        if needed <= budget:
            programs = compile_group(group, lanes, placement, options)
            # Arguments of sharded programs are counted per device.
            largest = max(programs, key=lambda p: p.peak_bytes)
            needed = largest.peak_bytes * placement.mesh.size
            if needed <= budget:
                return count, programs, placement
        if count == 1 or size:
            lanes_need = "one lane needs" if count == 1 else f"the {count} lanes that the run trains at once need"
            lower = "" if size else what_to_lower(group, options, needed / len(lanes))
            remedy = f"lower {lower}, or raise memory_gib" if lower else "raise memory_gib"
            if programs and largest.memory["total"] * placement.mesh.size <= budget:
                remedy = "evaluations need most of it: lower eval_episodes, or raise memory_gib"
            raise ValueError(
                f"{lanes_need} {needed / 2**30:.2g} GiB, and {budget / 2**30:.2g} GiB may be used; {remedy}"
            )
        count = max(1, min(count - 1, int(count * budget / needed)))
