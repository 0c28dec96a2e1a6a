"""When things happen in a run: how phases share the environment steps, after which updates rows and evaluations come."""

import bisect
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from jaxmarl_suite.runner._experiment import Group, TrainOptions


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """Updates of one phase, and where in them rows are logged and policies evaluated."""

    name: str
    updates: int
    env_steps_per_update: int
    first_step: int
    """Environment steps before the phase."""
    log_at: tuple[int, ...]
    eval_at: tuple[int, ...]
    played_before: int = 0
    """Environment steps of the phases before whose state this one begins with; see `Context`."""

    def env_steps(self, update: int) -> int:
        """Environment steps of a lane after `update` updates of the phase."""
        return self.first_step + update * self.env_steps_per_update

    def clock(self, env_steps: np.ndarray | int) -> np.ndarray:
        """Indices of the updates after which a lane had so many environment steps; 0 where that was before the phase."""
        return np.maximum((np.asarray(env_steps) - self.first_step) // self.env_steps_per_update - 1, 0)

    def next_stop(self, update: int) -> int:
        """The next update after which something is to be done."""
        return self._marks[bisect.bisect_right(self._marks, update)]

    @functools.cached_property
    def _marks(self) -> list[int]:
        return sorted({*self.log_at, *self.eval_at, self.updates})


def plan_phases(group: Group, options: TrainOptions) -> list[PhasePlan]:
    """The schedule of a group: phases share the environment steps by their fractions, marks lie at equal distances."""
    plans: list[PhasePlan] = []
    done = begun = 0  # environment steps before a phase, and before the last one that began with nothing
    fractions = [phase.fraction for phase in group.phases]
    for index, phase in enumerate(group.phases):
        size = phase.algorithm.env_steps_per_update
        until = options.total_steps * sum(fractions[: index + 1]) / sum(fractions)
        later = sum(p.algorithm.env_steps_per_update for p in group.phases[index + 1 :])  # at least one update each
        most = (options.total_steps - done - later) // size
        updates = most if index == len(group.phases) - 1 else min(most, max(1, round((until - done) / size)))

        def marks(number: int, first: int = done, size: int = size, updates: int = updates) -> tuple[int, ...]:
            interval = options.total_steps / number
            found = {
                math.ceil((k * interval - first) / size - 1e-9)
                for k in range(math.floor(first / interval) + 1, number + 1)
            }
            return tuple(sorted(u for u in found if 0 < u <= updates))

        log_at, eval_at = tuple(sorted({*marks(options.log_rows), updates})), marks(options.evaluations)
        if index == len(group.phases) - 1:  # the end of the run is always evaluated
            eval_at = tuple(sorted({*eval_at, updates}))
        played = done - begun if phase.begin else 0
        begun = done - played
        plans.append(PhasePlan(phase.name, updates, size, done, log_at, eval_at, played))
        done += updates * size
    return plans


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
    """Environment steps of `number` evaluations at equal distances, the last one among them, whose checkpoints stay."""
    steps = [plan.env_steps(update) for plan in plans for update in plan.eval_at]
    return frozenset(steps[math.ceil(k * len(steps) / number) - 1] for k in range(1, number + 1))
