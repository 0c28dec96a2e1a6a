"""A wave: lanes of one group that train together, from the start or a checkpoint to the end."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs.core import shared_leaves

from jaxmarl_suite.algorithms import ActContext, Context
from jaxmarl_suite.runner._artifacts import Artifacts, Start
from jaxmarl_suite.runner._checkpoint import Checkpoints, from_host, to_host
from jaxmarl_suite.runner._experiment import Group, Lane
from jaxmarl_suite.runner._lanes import acting_context, handed_shape, made_by, pad_lanes, phase_context
from jaxmarl_suite.runner._options import TrainOptions
from jaxmarl_suite.runner._placement import Placement, acting_axes, context_axes
from jaxmarl_suite.runner._play import Played, eval_keys, mean_played, played_fields
from jaxmarl_suite.runner._programs import Best, Programs, keep_best, phase_keys
from jaxmarl_suite.runner._schedule import PhasePlan, env_steps_at, lasting_steps, plan_phases

_CHUNK_SECONDS = 1.0
"""Time to run compiled code before checking the clock, the console and signals."""
_CHUNK_SECONDS_A_BYTE = 4e-9
"""A longer time for large states: mapped lanes are copied once per chunk, which should stay a small part of it."""


class Diverged(RuntimeError):
    """A metric is not finite: the run stops, and its last good checkpoint is kept."""

    def __init__(self, text: str, lane: Lane) -> None:
        super().__init__(text)
        self.lane = lane


class Interrupted(RuntimeError):
    """The run was asked to stop, and was saved."""


def _place_contexts(
    group: Group, lanes: list[Lane], plans: list[PhasePlan], placement: Placement
) -> tuple[list[Context], ActContext]:
    """What the phases read, and what acting reads in evaluations, on the devices; what is large is there once."""
    contexts: list[Context] = []
    for plan, data in zip(plans, group.data):
        ctx = phase_context(lanes, plan, data)
        if contexts:
            ctx = dataclasses.replace(ctx, hp=contexts[0].hp, env_params=contexts[0].env_params)
        contexts.append(placement.put(context_axes(ctx.env_params), ctx))
    first = contexts[0]
    acting = acting_context(lanes)
    there = dict(zip(map(id, jax.tree.leaves(lanes[0].env_params)), jax.tree.leaves(first.env_params)))
    evaluated = lanes[0].eval_params
    params = jax.tree.map(
        lambda is_shared, host, made: there.get(id(host), made) if is_shared else made,
        *(shared_leaves(evaluated), evaluated, acting.env_params),
    )
    acting = dataclasses.replace(acting, hp=first.hp, env_params=params)
    return contexts, placement.put(acting_axes(params), acting)


def _setting(lane: Lane) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in lane.overrides.items())})" if lane.overrides else ""


@dataclasses.dataclass
class Progress:
    """The progress of a wave. Saved in checkpoints."""

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
        artifacts: Artifacts,
        start: Start | None,
        should_stop: Callable[[], bool],
    ) -> None:
        """Runs nothing yet.

        Args:
          group: the lanes' group.
          lanes: the lanes to train; they are padded to the number that the programs are for.
          programs: one per phase.
          placement: where lanes run.
          options: options of the run.
          directory: folder for checkpoints.
          artifacts: folder for the artifacts of the phases.
          start: what the first phase begins with; None if it is the first of the method.
          should_stop: returns whether to save and stop.
        """
        self.group, self.options, self.programs, self.placement = group, options, programs, placement
        self.plans = plan_phases(group, options)
        self.lanes = lanes
        padded, _ = pad_lanes(lanes, options, programs[0].lanes)
        self.seeds = jnp.asarray([lane.seed for lane in padded], jnp.int32)
        self.contexts, self.acting = _place_contexts(group, padded, self.plans, placement)
        self.lasting = lasting_steps(self.plans, options.lasting_checkpoints)
        self.checkpoints = Checkpoints(directory, options.keep_checkpoints, self.lasting)
        self.artifacts, self.start = artifacts, start
        self.should_stop = should_stop
        self.progress = Progress()
        self.warnings: list[str] = []
        self._updates_a_second = 0.0

    # What is saved: the learner, the best policy, the unfinished log row.
    def _saved(self) -> Any:
        return self.state, self.best, self.totals

    def _shapes(self, phase: int) -> Any:
        programs = self.programs[phase]
        lanes = self.seeds.shape[0]
        score: Any = jax.ShapeDtypeStruct((lanes,), jnp.float32)
        step: Any = jax.ShapeDtypeStruct((lanes,), jnp.int32)
        best = Best(programs.policy_shape, score, step)
        return programs.state_shape, best, programs.totals_shape

    def restore(self) -> bool:
        """Restores the newest readable checkpoint; False if there is none."""
        arrays, meta, self.warnings = self.checkpoints.restore(move_aside=True)
        if arrays is None:
            return False
        self.progress = Progress(**meta["progress"])
        shapes = self._shapes(self.progress.phase)
        # Saved without padding, so that a different number of devices can continue.
        padding = self.seeds.shape[0] - len(self.lanes)
        arrays = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for a in arrays]
        place = self.placement.sharding
        if meta.get("metrics") != sorted(shapes[2].total):
            # Metric names of another version: their sums must not be taken for ours, so the row starts again.
            zeros = jax.device_get(self.programs[self.progress.phase].fresh_totals())
            arrays = [*arrays[: len(jax.tree.leaves(shapes[:2]))], *jax.tree.leaves(zeros)]
        state, best, totals = from_host(arrays, shapes)
        self.state, self.best, self.totals = jax.device_put(
            (state, best, totals), (place(shapes[0]), place(shapes[1]), place(shapes[2]))
        )
        return True

    def save(self) -> None:
        """Writes a checkpoint of the current state.

        Raises:
          Diverged: the state contains a NaN.
        """
        plan, saved = self.plans[self.progress.phase], self._saved()
        arrays = [array[: len(self.lanes)] for array in to_host(saved)]
        self._check_arrays(plan, saved, arrays)
        self.checkpoints.save(
            plan.step(self.progress.update) + self.progress.is_done,
            arrays,
            {"progress": dataclasses.asdict(self.progress), "metrics": sorted(self.totals.total)},
        )

    def _check_arrays(self, plan: PhasePlan, saved: Any, arrays: list[np.ndarray]) -> None:
        """The last update may have corrupted the state without any metric showing it yet."""
        for (path, _), array in zip(jax.tree_util.tree_leaves_with_path(saved), arrays):
            if jnp.issubdtype(array.dtype, jnp.floating) and (bad := np.isnan(array)).any():
                lane = self.lanes[int(np.argmax(bad.reshape(len(self.lanes), -1).any(axis=1)))]
                name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
                raise Diverged(
                    f"{name!r} in the state of seed {lane.seed}{_setting(lane)} is NaN after update "
                    f"{self.progress.update - 1} of phase {plan.name!r}",
                    lane,
                )

    def _begin(self) -> None:
        """Starts the first phase, from scratch or from another run's artifact."""
        handed = None
        if self.start is not None:
            self.progress.evaluations = self.start.evaluations  # continues the numbering of that run
            padding = self.seeds.shape[0] - len(self.lanes)
            lanes = [lane.index for lane in self.lanes]
            shapes = jax.tree.map(
                lambda s: jax.ShapeDtypeStruct((len(self.seeds), *s.shape), s.dtype),
                handed_shape(self.group.earlier, self.lanes[0]),
            )
            handed = from_host(self.start.of_lanes([*lanes, *lanes[-1:] * padding]), shapes)
            handed = jax.device_put(handed, self.placement.sharding(shapes))
        self._begin_phase(0, handed)
        policy = self.programs[0].policy(self.state)
        lanes_at_once = self.seeds.shape[0]
        # A copy: the state's own buffers are donated to the first chunk.
        self.best = Best(
            jax.tree.map(jnp.copy, policy),
            jnp.full((lanes_at_once,), -jnp.inf, jnp.float32),
            jnp.zeros((lanes_at_once,), jnp.int32),
        )

    def _begin_phase(self, index: int, handed: Any) -> None:
        programs, ctx = self.programs[index], self.contexts[index]
        self.state = programs.begin(handed, phase_keys(self.seeds, len(self.group.earlier) + index), ctx)
        self.totals = programs.fresh_totals()

    def _hand_on(self) -> Any:
        """What a finished phase passes to the next one; an artifact is also saved in the run folder."""
        number, plan = self.progress.phase, self.plans[self.progress.phase]
        handed = self.programs[number].hand_on(self.state)
        if self.group.phases[number].artifact is not None:
            arrays = [array[: len(self.lanes)] for array in to_host(handed)]
            self._check_arrays(plan, (handed,), arrays)
            self.artifacts.save(
                len(self.group.earlier) + number,
                handed,
                arrays,
                phase=plan.name,
                lanes=[lane.index for lane in self.lanes],
                env_steps=plan.env_steps(plan.updates),
                evaluations=self.progress.evaluations,
            )
        return handed

    def run(self) -> Iterator[list[dict[str, Any]]]:
        """Trains to the end, yielding rows as they are produced (an empty list is only a sign of progress).

        Raises:
          Diverged: a metric is not finite.
          Interrupted: `should_stop` returned True; everything is saved.
        """
        started = time.perf_counter() - self.progress.wall
        last_save = time.perf_counter()
        resumed = hasattr(self, "state")
        if not resumed:
            self._begin()
        while not self.progress.is_done:
            plan = self.plans[self.progress.phase]
            if self.progress.update == plan.updates:
                handed = self._hand_on()
                if self.progress.phase + 1 == len(self.plans):
                    yield self._absolute_rows(started)
                    self.progress.is_done = True
                    break
                self.progress.phase, self.progress.update = self.progress.phase + 1, 0
                self._begin_phase(self.progress.phase, handed)
                continue
            self._advance(plan)
            self.progress.wall = time.perf_counter() - started
            rows = self._train_rows(plan) if self.progress.update in plan.log_at else []
            is_lasting = False
            if self.progress.update in plan.eval_at:
                rows += self._eval_rows(plan)
                is_lasting = plan.step(self.progress.update) in self.lasting
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
        """Runs a chunk of updates, never past the next mark. Chunk lengths do not affect results."""
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
                f"{plan.name!r} ({plan.env_steps(update)} environment steps)",
                lane,
            )

    def _row(self, kind: str, plan: PhasePlan, lane: Lane, metrics: dict[str, Any]) -> dict[str, Any]:
        env_steps, step = plan.env_steps(self.progress.update), plan.step(self.progress.update)
        return {
            "kind": kind,
            "lane": lane.index,
            "point": lane.point,
            "seed": lane.seed,
            "phase": plan.name,
            "update": self.progress.update,
            "env_steps": env_steps,
            **({} if step == env_steps or kind == "absolute" else {"step": step}),
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

    def _evaluate(self, policy: Any, index: int, step: np.ndarray | int) -> Played:
        """Evaluation `index` of policies [L] that were trained up to `step`."""
        ctx = made_by(self.acting, self.plans, step)
        keys = eval_keys(self.seeds, jnp.asarray(index, jnp.int32))
        return self.programs[self.progress.phase].evaluate(policy, ctx, keys)

    def _eval_rows(self, plan: PhasePlan) -> list[dict[str, Any]]:
        policy = self.programs[self.progress.phase].policy(self.state)
        step = plan.step(self.progress.update)
        played = self._evaluate(policy, self.progress.evaluations, step)
        self.progress.evaluations += 1
        self.best = keep_best(policy, played.metrics["return"], self.best, jnp.asarray(step, jnp.int32))
        found = jax.device_get(played)
        return [
            {
                **self._row("eval", plan, lane, {}),
                **played_fields(found, i, self.options.eval_episodes, self.group.eval_env),
            }
            for i, lane in enumerate(self.lanes)
        ]

    def _absolute_rows(self, started: float) -> list[dict[str, Any]]:
        """Evaluates the best policy of every lane once more, on new episodes."""
        batches = math.ceil(self.options.absolute_episodes / self.options.eval_episodes)
        if not batches:
            return []
        step = np.asarray(self.best.step)
        results = []
        for k in range(batches):
            results.append(jax.device_get(self._evaluate(self.best.policy, 10**6 + k, step)))
            if k + 1 < batches and self.should_stop():  # a resumed run starts these evaluations again
                self.save()
                raise Interrupted
        found, env_steps = mean_played(results), env_steps_at(self.plans, step)
        plan = self.plans[self.progress.phase]
        self.progress.wall = time.perf_counter() - started
        episodes = batches * self.options.eval_episodes
        fields = [played_fields(found, i, episodes, self.group.eval_env) for i in range(len(self.lanes))]
        return [
            {**self._row("absolute", plan, lane, {}), "env_steps": int(env_steps[i]), **fields[i]}
            for i, lane in enumerate(self.lanes)
        ]
