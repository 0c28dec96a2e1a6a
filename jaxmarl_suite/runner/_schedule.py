"""The schedule of a run: environment steps per phase, and the updates after which rows are logged and policies
evaluated.
"""

import bisect
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from jaxmarl_suite.runner._experiment import Group
from jaxmarl_suite.runner._options import TrainOptions


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """The updates of one phase, and where in them rows are logged and policies evaluated."""

    name: str
    updates: int
    env_steps_per_update: int
    """0 if the phase never acts."""
    first_env_step: int
    """Environment steps before the phase."""
    first_step: int
    """Environment steps plus updates of phases that take none, before the phase."""
    log_at: tuple[int, ...]
    eval_at: tuple[int, ...]
    played_before: int = 0
    """See `Context`."""

    def env_steps(self, update: int) -> int:
        """Environment steps of a lane after `update` updates of the phase."""
        return self.first_env_step + update * self.env_steps_per_update

    def step(self, update: int) -> int:
        """Environment steps plus one per update of a phase that takes none; used for checkpoint numbers and progress."""
        return self.first_step + update * (self.env_steps_per_update or 1)

    def updates_at(self, step: np.ndarray | int) -> np.ndarray:
        """Number of updates of the phase that were finished at a step; 0 before the phase."""
        return np.maximum((np.asarray(step) - self.first_step) // (self.env_steps_per_update or 1), 0)

    def clock(self, step: np.ndarray | int) -> np.ndarray:
        """Index of the last update before a step; 0 before the phase."""
        return np.maximum(self.updates_at(step) - 1, 0)

    def next_stop(self, update: int) -> int:
        """The next update after which there is something to do."""
        return self._marks[bisect.bisect_right(self._marks, update)]

    @functools.cached_property
    def _marks(self) -> list[int]:
        return sorted({*self.log_at, *self.eval_at, self.updates})


def plan_phases(group: Group, options: TrainOptions) -> list[PhasePlan]:
    """The schedule of a group.

    Phases that act share the environment steps by their fractions, and their marks are equally spaced in environment
    steps. A phase that never acts has its own number of updates, with all the rows and evaluations of the options,
    equally spaced.
    """
    plans: list[PhasePlan] = []
    sizes = [phase.algorithm.env_steps_per_update for phase in group.phases]
    fractions = [phase.fraction if size else 0.0 for phase, size in zip(group.phases, sizes)]
    last_to_act = max((index for index, size in enumerate(sizes) if size), default=-1)
    done = begun = step = 0  # environment steps before a phase, and before its experience began; steps before it
    for index, (phase, size) in enumerate(zip(group.phases, sizes)):
        if size:
            until = options.total_steps * sum(fractions[: index + 1]) / sum(fractions)
            most = (options.total_steps - done - sum(sizes[index + 1 :])) // size  # later: at least one update each
            updates = most if index == last_to_act else min(most, max(1, round((until - done) / size)))
            log_at, eval_at = (
                _marks(number, options.total_steps, done, size, updates)
                for number in (options.log_rows, options.evaluations)
            )
        else:
            updates = phase.updates or 1
            log_at, eval_at = (
                _marks(number, updates, 0, 1, updates) for number in (options.log_rows, options.evaluations)
            )
        log_at = tuple(sorted({*log_at, updates}))
        if index == len(sizes) - 1:  # the end of the run is always evaluated
            eval_at = tuple(sorted({*eval_at, updates}))
        played = phase.played_before
        if played is None:
            continues = phase.begin is not None and index > 0 and group.phases[index - 1].artifact is None
            played = done - begun if continues else 0
        begun = done - played
        plans.append(PhasePlan(phase.name, updates, size, done, step, log_at, eval_at, played))
        done, step = done + updates * size, step + updates * (size or 1)
    return plans


def _marks(number: int, total: int, first: int, size: int, updates: int) -> tuple[int, ...]:
    """The updates of a phase after which to log or evaluate: the nearest to `number` equally spaced points of `total`.

    Args:
      number: number of points.
      total: length of the run, in any unit.
      first: the part of it before the phase.
      size: the part of it that one update takes.
      updates: number of updates in the phase.
    """
    interval = total / number
    found = {
        math.ceil((k * interval - first) / size - 1e-9) for k in range(math.floor(first / interval) + 1, number + 1)
    }
    return tuple(sorted(update for update in found if 0 < update <= updates))


def env_steps_at(plans: Sequence[PhasePlan], step: np.ndarray | int) -> np.ndarray:
    """Environment steps of a lane at a step of the run."""
    return sum(
        (np.minimum(plan.updates_at(step), plan.updates) * plan.env_steps_per_update for plan in plans),
        start=np.zeros(np.shape(step), np.int64),
    )


def check_milestones(groups: Sequence[Group], options: TrainOptions) -> list[str]:
    """Warnings for settings in absolute units, in any lane, whose effect would come after the end of their phase.

    Raises:
      ValueError: nothing would be learned before the end.
    """
    return list(dict.fromkeys(warning for group in groups for warning in _too_late(group, options)))


def _too_late(group: Group, options: TrainOptions) -> Iterator[str]:
    for phase, plan in zip(group.phases, plan_phases(group, options)):
        length = (
            plan.played_before + plan.updates * plan.env_steps_per_update
        )  # including the experience that the phase continues with
        for config in {id(lane.config): lane.config for lane in group.lanes}.values():
            for milestone in phase.algorithm.milestones(config):
                if milestone.env_steps <= length:
                    continue
                value = f"{milestone.setting} {getattr(config, milestone.setting):,g}"
                if milestone.is_vital:
                    raise ValueError(
                        f"{group.spec.name} would learn nothing: with {value} {milestone.event} comes after "
                        f"{milestone.env_steps:,g} environment steps, and phase {plan.name!r} has {length:,}; lower "
                        f"{milestone.setting} or raise total_steps"
                    )
                yield (
                    f"warning: with {value} {milestone.event} comes after {milestone.env_steps:,g} environment steps, "
                    f"and phase {plan.name!r} has {length:,}"
                )


def lasting_steps(plans: list[PhasePlan], number: int) -> frozenset[int]:
    """Steps of `number` equally spaced evaluations, including the last, whose checkpoints are kept."""
    steps = [plan.step(update) for plan in plans for update in plan.eval_at]
    return frozenset(steps[math.ceil(k * len(steps) / number) - 1] for k in range(1, number + 1))
