"""A wave: lanes of one group that train together, from a fresh start or a checkpoint to the end."""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.algorithms import Context
from jaxmarl_suite.runner._authors import naming_authors
from jaxmarl_suite.runner._checkpoint import Checkpoints, from_host, to_host
from jaxmarl_suite.runner._devices import in_32_bits, memory_budget
from jaxmarl_suite.runner._experiment import Group, Lane, TrainOptions
from jaxmarl_suite.runner._lanes import lane_context, pad_lanes, phase_context
from jaxmarl_suite.runner._memory import state_bytes, what_to_lower
from jaxmarl_suite.runner._programs import (  # fmt: skip
    Best,
    Placement,
    Played,
    Programs,
    compile_phase,
    eval_keys,
    keep_best,
    mean_played,
    phase_keys,
    played_fields,
)
from jaxmarl_suite.runner._schedule import PhasePlan, lasting_steps, plan_phases

_CHUNK_SECONDS = 1.0
"""Compiled work between two looks at the clock, the console and the signals."""
_CHUNK_SECONDS_A_BYTE = 4e-9
"""More of it where states are large: mapped lanes are copied once a chunk, and that should stay a small part of it."""
_KEPT_PROGRAMS = 16
_compiled: collections.OrderedDict[Any, list[Programs]] = collections.OrderedDict()


class Diverged(RuntimeError):
    """A metric that is not finite: the run stops, its last good checkpoint stays."""


class Interrupted(RuntimeError):
    """The run was asked to stop, and has saved."""


def compile_group(group: Group, lanes: list[Lane], placement: Placement, options: TrainOptions) -> list[Programs]:
    """All programs of a group for so many lanes; those that this process used last are at hand."""
    ctx = lane_context(lanes, 1, group.data)
    shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(ctx))
    key = (
        *(group.spec.make, jax.tree.structure(group.config), group.env, jax.tree.structure(ctx), shapes),
        *(len(lanes), placement, options.eval_episodes, options.eval_max_steps),
    )
    try:
        hash(key)
    except TypeError:  # an environment or a config that cannot be hashed
        return _compile(group, ctx, len(lanes), placement, options)
    programs = _compiled.pop(key, None) or _compile(group, ctx, len(lanes), placement, options)
    _compiled[key] = programs
    if len(_compiled) > _KEPT_PROGRAMS:
        _compiled.popitem(last=False)
    return programs


def _compile(group: Group, ctx: Context, lanes: int, placement: Placement, options: TrainOptions) -> list[Programs]:
    programs: list[Programs] = []
    for phase in group.phases:
        programs.append(
            compile_phase(
                phase,
                group.env,
                placement,
                ctx,
                programs[-1] if programs else None,
                lanes=lanes,
                eval_episodes=options.eval_episodes,
                eval_max_steps=options.eval_max_steps,
            )
        )
    return programs


@in_32_bits
def choose_wave(group: Group, options: TrainOptions, size: int | None = None) -> tuple[int, list[Programs], Placement]:
    """How many lanes run at once, with the programs for them: all, or as many as the memory holds.

    Args:
      group: the lanes.
      options: of the run.
      size: how many a run that is resumed has had at once.

    Raises:
      ValueError: where not even one lane a device fits, or not `size`.
      TracingError: where an algorithm or environment outside the suite raised an exception.
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
        needed = least * len(lanes)  # known before anything is compiled
        if needed <= budget:
            programs = compile_group(group, lanes, placement, options)
            # Arguments of sharded programs are counted per device.
            largest = max(programs, key=lambda p: p.peak_bytes)
            needed = largest.peak_bytes * placement.mesh.size
            if needed <= budget:
                return count, programs, placement
        if count == 1 or size:
            lanes_need = "one lane needs" if count == 1 else f"the {count} lanes that the run has at once need"
            lower = "" if size else what_to_lower(group, options, needed / len(lanes))
            remedy = f"lower {lower}, or raise memory_gib" if lower else "raise memory_gib"
            if programs and largest.memory["total"] * placement.mesh.size <= budget:
                remedy = "evaluations need most of it: lower eval_episodes, or raise memory_gib"
            raise ValueError(
                f"{lanes_need} {needed / 2**30:.2g} GiB, and {budget / 2**30:.2g} GiB may be used; {remedy}"
            )
        count = max(1, min(count - 1, int(count * budget / needed)))


def _setting(lane: Lane) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in lane.overrides.items())})" if lane.overrides else ""


@dataclasses.dataclass
class Progress:
    """Where a wave stands. Saved in checkpoints."""

    phase: int = 0
    update: int = 0  # within the phase
    evaluations: int = 0
    wall: float = 0.0  # seconds of training so far
    is_done: bool = False


class Wave:
    """Lanes training together."""

    def __init__(
        self,
        group: Group,
        lanes: list[Lane],
        programs: list[Programs],
        placement: Placement,
        options: TrainOptions,
        directory: Path,
        should_stop: Callable[[], bool],
    ) -> None:
        """Nothing runs yet. `lanes` are padded to the programs' number; `directory` is for checkpoints."""
        self.group, self.options, self.programs, self.placement = group, options, programs, placement
        self.plans = plan_phases(group, options)
        self.lanes = lanes
        padded, _ = pad_lanes(lanes, options, programs[0].lanes)
        self.seeds = jnp.asarray([lane.seed for lane in padded], jnp.int32)
        self.contexts = [phase_context(padded, plan, group.data) for plan in self.plans]
        self.lasting = lasting_steps(self.plans, options.lasting_checkpoints)
        self.checkpoints = Checkpoints(directory, options.keep_checkpoints, self.lasting)
        self.should_stop = should_stop
        self.progress = Progress()
        self.warnings: list[str] = []
        self._updates_a_second = 0.0

    # What is saved: the learner, the best policy, the half-finished log row.
    def _saved(self) -> Any:
        return self.state, self.best, self.totals

    def _shapes(self, phase: int) -> Any:
        programs = self.programs[phase]
        lanes = self.seeds.shape[0]
        score: Any = jax.ShapeDtypeStruct((lanes,), jnp.float32)
        env_steps: Any = jax.ShapeDtypeStruct((lanes,), jnp.int32)
        best = Best(programs.policy_shape, score, env_steps)
        return programs.state_shape, best, programs.totals_shape

    def restore(self) -> bool:
        """Takes up the newest checkpoint that can be read; False if there is none."""
        arrays, meta, self.warnings = self.checkpoints.restore(move_aside=True)
        if arrays is None:
            return False
        self.progress = Progress(**meta["progress"])
        shapes = self._shapes(self.progress.phase)
        # Saved without the padding, so that another number of devices can continue.
        padding = self.seeds.shape[0] - len(self.lanes)
        arrays = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for a in arrays]
        place = self.placement.sharding
        if meta.get("metrics") != sorted(shapes[2].total):
            # Another version's names: sums of other metrics would be taken for ours, so that the row is begun anew.
            zeros = jax.device_get(self.programs[self.progress.phase].fresh_totals())
            arrays = [*arrays[: len(jax.tree.leaves(shapes[:2]))], *jax.tree.leaves(zeros)]
        state, best, totals = from_host(arrays, shapes)
        self.state, self.best, self.totals = jax.device_put(
            (state, best, totals), (place(shapes[0]), place(shapes[1]), place(shapes[2]))
        )
        return True

    def save(self) -> None:
        """Writes a checkpoint of now.

        Raises:
          Diverged: it would hold a NaN.
        """
        plan, saved = self.plans[self.progress.phase], self._saved()
        arrays = [array[: len(self.lanes)] for array in to_host(saved)]
        self._check_arrays(plan, saved, arrays)
        self.checkpoints.save(
            plan.env_steps(self.progress.update) + self.progress.is_done,
            arrays,
            {"progress": dataclasses.asdict(self.progress), "metrics": sorted(self.totals.total)},
        )

    def _check_arrays(self, plan: PhasePlan, saved: Any, arrays: list[np.ndarray]) -> None:
        """The last update may have spoilt what no metric shows before the next one."""
        for (path, _), array in zip(jax.tree_util.tree_leaves_with_path(saved), arrays):
            if jnp.issubdtype(array.dtype, jnp.floating) and (bad := np.isnan(array)).any():
                lane = self.lanes[int(np.argmax(bad.reshape(len(self.lanes), -1).any(axis=1)))]
                name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
                raise Diverged(
                    f"{name!r} in the state of seed {lane.seed}{_setting(lane)} is NaN after update "
                    f"{self.progress.update - 1} of phase {plan.name!r}"
                )

    def _begin_phase(self, index: int, previous: Any) -> None:
        programs, ctx = self.programs[index], self.contexts[index]
        self.state = programs.begin(previous, phase_keys(self.seeds, index), ctx)
        self.totals = programs.fresh_totals()
        if index == 0:
            policy = programs.policy(self.state)
            lanes = self.seeds.shape[0]
            # A copy: the state's own buffers are donated to the first chunk.
            self.best = Best(
                jax.tree.map(jnp.copy, policy),
                jnp.full((lanes,), -jnp.inf, jnp.float32),
                jnp.zeros((lanes,), jnp.int32),
            )

    def run(self) -> Iterator[list[dict[str, Any]]]:
        """Trains to the end, yielding rows as they come (an empty list: just a sign of life).

        Raises:
          Diverged: a metric is not finite.
          Interrupted: `should_stop` said so; everything is saved.
        """
        started = time.perf_counter() - self.progress.wall
        last_save = time.perf_counter()
        resumed = hasattr(self, "state")
        if not resumed:
            self._begin_phase(0, None)
        while not self.progress.is_done:
            plan = self.plans[self.progress.phase]
            if self.progress.update == plan.updates:
                if self.progress.phase + 1 == len(self.plans):
                    yield self._absolute_rows(started)
                    self.progress.is_done = True
                    break
                self.progress.phase, self.progress.update = self.progress.phase + 1, 0
                self._begin_phase(self.progress.phase, self.state)
                continue
            self._advance(plan)
            self.progress.wall = time.perf_counter() - started
            rows = self._train_rows(plan) if self.progress.update in plan.log_at else []
            is_lasting = False
            if self.progress.update in plan.eval_at:
                rows += self._eval_rows(plan)
                is_lasting = plan.env_steps(self.progress.update) in self.lasting
            yield rows
            stop = self.should_stop()
            if stop or is_lasting or time.perf_counter() - last_save > self.options.checkpoint_seconds:
                self._check_finite(plan)
                self.save()
                last_save = time.perf_counter()
            if stop:
                raise Interrupted
        self.save()

    def _advance(self, plan: PhasePlan) -> None:
        """Runs a chunk of updates, never past the next mark. The chunks' lengths change no result."""
        start = self.progress.update
        seconds = _CHUNK_SECONDS + _CHUNK_SECONDS_A_BYTE * self.programs[self.progress.phase].state_bytes
        wanted = max(1, int(self._updates_a_second * seconds)) if self._updates_a_second else 4
        stop = min(start + wanted, plan.next_stop(start))
        began = time.perf_counter()
        bounds = jnp.asarray(start, jnp.int32), jnp.asarray(stop, jnp.int32)
        programs, ctx = self.programs[self.progress.phase], self.contexts[self.progress.phase]
        self.state, self.totals = jax.block_until_ready(programs.chunk(self.state, self.totals, ctx, *bounds))
        self._updates_a_second = (stop - start) / max(time.perf_counter() - began, 1e-6)
        self.progress.update = stop

    def _check_finite(self, plan: PhasePlan) -> None:
        first_bad = jax.device_get(self.totals.first_bad)
        bad = [
            (int(updates[i]), name, lane)
            for name, updates in first_bad.items()
            for i, lane in enumerate(self.lanes)
            if updates[i] >= 0
        ]
        if bad:
            update, name, lane = min(bad, key=lambda b: b[0])
            raise Diverged(
                f"metric {name!r} of seed {lane.seed}{_setting(lane)} is not finite since update {update} of phase "
                f"{plan.name!r} ({plan.env_steps(update)} environment steps)"
            )

    def _row(self, kind: str, plan: PhasePlan, lane: Lane, metrics: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": kind,
            "lane": lane.index,
            "point": lane.point,
            "seed": lane.seed,
            "phase": plan.name,
            "update": self.progress.update,
            "env_steps": plan.env_steps(self.progress.update),
            "wall": round(self.progress.wall, 3),
            "metrics": metrics,
        }

    def _train_rows(self, plan: PhasePlan) -> list[dict[str, Any]]:
        self._check_finite(plan)
        totals = jax.device_get(self.totals)
        self.totals = self.programs[self.progress.phase].fresh_totals()
        rows = []
        for i, lane in enumerate(self.lanes):
            metrics = {
                name: float(total[i] / totals.weight[name][i]) if totals.weight[name][i] > 0 else None
                for name, total in totals.total.items()
            }
            rows.append(self._row("train", plan, lane, metrics))
        return rows

    def _evaluate(self, policy: Any, index: int, env_steps: np.ndarray | int) -> Played:
        """Evaluation `index` of policies [L], which so many environment steps of training led to."""
        programs, ctx = self.programs[self.progress.phase], self.contexts[self.progress.phase]
        clock = np.broadcast_to(self.plans[self.progress.phase].clock(env_steps), self.seeds.shape)
        ctx = dataclasses.replace(ctx, clock=jnp.asarray(clock, jnp.int32))
        return programs.evaluate(policy, ctx, eval_keys(self.seeds, jnp.asarray(index, jnp.int32)))

    def _eval_rows(self, plan: PhasePlan) -> list[dict[str, Any]]:
        policy = self.programs[self.progress.phase].policy(self.state)
        steps = plan.env_steps(self.progress.update)
        played = self._evaluate(policy, self.progress.evaluations, steps)
        self.progress.evaluations += 1
        self.best = keep_best(policy, played.metrics["return"], self.best, jnp.asarray(steps, jnp.int32))
        found = jax.device_get(played)
        return [
            {**self._row("eval", plan, lane, {}), **played_fields(found, i, self.options.eval_episodes)}
            for i, lane in enumerate(self.lanes)
        ]

    def _absolute_rows(self, started: float) -> list[dict[str, Any]]:
        """The best policy of every lane once more, on fresh episodes."""
        batches = math.ceil(self.options.absolute_episodes / self.options.eval_episodes)
        if not batches:
            return []
        env_steps = np.asarray(self.best.env_steps)
        results = []
        for k in range(batches):
            results.append(jax.device_get(self._evaluate(self.best.policy, 10**6 + k, env_steps)))
            if k + 1 < batches and self.should_stop():  # a resumed run begins these evaluations anew
                self.save()
                raise Interrupted
        found = mean_played(results)
        plan = self.plans[self.progress.phase]
        self.progress.wall = time.perf_counter() - started
        fields = [played_fields(found, i, batches * self.options.eval_episodes) for i in range(len(self.lanes))]
        return [
            {**self._row("absolute", plan, lane, {}), "env_steps": int(env_steps[i]), **fields[i]}
            for i, lane in enumerate(self.lanes)
        ]
