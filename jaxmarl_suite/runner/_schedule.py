"""When things happen in a run: how phases share the environment steps, after which updates rows and evaluations come."""

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
    """Updates of one phase, and where in them rows are logged and policies evaluated."""

    name: str
    updates: int
    env_steps_per_update: int
    """0 where the phase never acts."""
    first_env_step: int
    """Environment steps before the phase."""
    first_step: int
    """The same, and the updates of the phases before that never acted."""
    log_at: tuple[int, ...]
    eval_at: tuple[int, ...]
    played_before: int = 0
    """See `Context`."""

    def env_steps(self, update: int) -> int:
        """Environment steps of a lane after `update` updates of the phase."""
        return self.first_env_step + update * self.env_steps_per_update

    def step(self, update: int) -> int:
        """Environment steps, and one for each update of a phase that takes none: numbers checkpoints, measures progress."""
        return self.first_step + update * (self.env_steps_per_update or 1)

    def updates_at(self, step: np.ndarray | int) -> np.ndarray:
        """Updates of the phase that were over at a step; 0 before it."""
        return np.maximum((np.asarray(step) - self.first_step) // (self.env_steps_per_update or 1), 0)

    def clock(self, step: np.ndarray | int) -> np.ndarray:
        """Indices of the updates after which it was that step; 0 where that was before the phase."""
        return np.maximum(self.updates_at(step) - 1, 0)

    def next_stop(self, update: int) -> int:
        """The next update after which something is to be done."""
        return self._marks[bisect.bisect_right(self._marks, update)]

    @functools.cached_property
    def _marks(self) -> list[int]:
        return sorted({*self.log_at, *self.eval_at, self.updates})


def plan_phases(group: Group, options: TrainOptions) -> list[PhasePlan]:
    """The schedule of a group.

    Phases that act share the environment steps by their fractions, and marks lie at equal distances of these. A phase that
    never acts has its own number of updates, and as many rows and evaluations as the option says, at equal distances.
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
    """Updates of a phase nearest after `number` points that divide `total` equally.

    Args:
      number: of points.
      total: length of the run, in any unit.
      first: of it before the phase.
      size: of it in an update.
      updates: of the phase.
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
    """A warning for every setting in absolute units, of any lane, whose effect would come after the end of its phase.

    Raises:
      ValueError: where nothing would be learned before the end.
    """
    return list(dict.fromkeys(warning for group in groups for warning in _too_late(group, options)))


def _too_late(group: Group, options: TrainOptions) -> Iterator[str]:
    for phase, plan in zip(group.phases, plan_phases(group, options)):
        length = (
            plan.played_before + plan.updates * plan.env_steps_per_update
        )  # with the experience that it goes on with
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
    """Steps of `number` evaluations at equal distances, the last one among them, whose checkpoints stay."""
    steps = [plan.step(update) for plan in plans for update in plan.eval_at]
    return frozenset(steps[math.ceil(k * len(steps) / number) - 1] for k in range(1, number + 1))
