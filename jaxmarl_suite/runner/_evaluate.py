"""Evaluation of what a run has learned: the final and best policies of its newest or an older checkpoint."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import TimeStep

from jaxmarl_suite.algorithms import ActContext, Algorithm
from jaxmarl_suite.runner._checkpoint import Checkpoints, from_host
from jaxmarl_suite.runner._devices import configure, in_32_bits, seldom_collecting
from jaxmarl_suite.runner._experiment import Experiment, Group, Lane
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._lanes import acting_context, made_by, pad_lanes, state_shapes
from jaxmarl_suite.runner._options import MAX_EPISODES, TrainOptions
from jaxmarl_suite.runner._placement import acting_axes, take_lane
from jaxmarl_suite.runner._play import eval_keys, evaluation, mean_played, played_fields
from jaxmarl_suite.runner._programs import Best
from jaxmarl_suite.runner._schedule import env_steps_at, plan_phases

FIRST_EVALUATION = 2_000_000
"""First number of these evaluations, far from those of training."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """The policies of some lanes, from a checkpoint of their wave."""

    group: Group
    options: TrainOptions
    phase: int
    lanes: tuple[Lane, ...]
    final: Any  # policies, [L] in front
    best: Any  # policies, [L] in front
    best_score: np.ndarray  # [L] return in the evaluation that selected it; -inf before the first
    env_steps: int  # of a lane, when the final policies were saved
    best_env_steps: np.ndarray  # [L]
    step: int  # of the run, for the final policies: environment steps plus updates of phases that take none
    best_step: np.ndarray  # [L]
    is_done: bool
    state: Any  # the learners' whole states, [L] in front

    def context(self, lanes: list[Lane], step: np.ndarray | int) -> ActContext:
        """What acting reads in evaluations of lanes [L], for policies from this step of the run."""
        plans = plan_phases(self.group, self.options)[: self.phase + 1]
        return made_by(acting_context(lanes), plans, step)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of one policy of one lane, averaged over whole episodes."""

    lane: int
    point: int
    seed: int
    overrides: dict[str, Any]
    policy: str
    """"final" or "best"."""
    env_steps: int
    """Environment steps that the policy was trained for."""
    episodes: int
    optimum: float | None
    metrics: dict[str, float]
    """`return` and other metrics; those of extra policies have their name as a prefix, as in `teacher/return`."""
    cut: dict[str, float]
    """If some episodes had not ended after `eval_max_steps` steps: their share, by the name of the return."""


@in_32_bits
@seldom_collecting
def restore_policies(
    run_dir: str | Path,
    *,
    step: int | None = None,
    eval_env_options: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Trained]:
    """The policies of every lane that has a checkpoint.

    Args:
      run_dir: the run folder; the run may be unfinished.
      step: which checkpoint, by environment steps of a lane (plus updates of phases that take none); None for the
        newest. Runs keep those selected by `lasting_checkpoints`.
      eval_env_options: changes to the options of the run's evaluation environment.
      warn: called with warnings: unreadable checkpoints, and JAX settings that differ from the run's.

    Raises:
      ValueError: `run_dir` is not a run, or has no (such) checkpoint.
    """
    configure()
    folder = RunFolder.open(run_dir)
    experiment = Experiment.read(folder)
    if eval_env_options:
        options = {**experiment.eval_env_options, **eval_env_options}
        experiment = dataclasses.replace(experiment, eval_env_options=options)
    if changed := folder.changed_flags():
        warn(changed)
    found, problems, steps = [], [], set()

    def note(problem: str) -> None:
        problems.append(problem)
        warn(problem)

    for number, group in enumerate(experiment.groups_to_evaluate()):
        for first, directory in folder.waves(number, len(group.lanes)):
            plans = plan_phases(group, experiment.options)
            end = plans[-1].step(plans[-1].updates)
            checkpoints = Checkpoints(directory, read_only=True)
            try:
                # A finished run's checkpoint has the number after its last step.
                numbers = {min(number, end): number for number in checkpoints.steps()}
                steps |= set(numbers)
                if step is None or step in numbers:
                    restored = checkpoints.restore(step=None if step is None else numbers[step])
                    trained = _trained(group, experiment.options, first, restored, note)
                    found += [] if trained is None else [trained]
            finally:
                checkpoints.close()
    if not found and step is not None and steps and not problems:
        there = ", ".join(map(str, sorted(steps)))
        raise ValueError(f"run {str(run_dir)!r} has no checkpoint of step {step}; there are {there}")
    if not found and step in steps:
        raise ValueError(f"run {str(run_dir)!r} has no checkpoint of step {step} that can be read")
    if not found:
        lack = "no checkpoint that can be read" if problems else "no checkpoint yet"
        remedy = "starts it over" if problems else "continues it"
        raise ValueError(f'run {str(run_dir)!r} has {lack}; "jaxmarl-suite resume {run_dir}" {remedy}')
    return found


def checkpoint_steps(run_dir: str | Path, lane: int) -> list[int]:
    """Steps of the checkpoints that a lane of a run has, oldest first; some may be damaged.

    Raises:
      ValueError: `run_dir` is not a run, or has no such lane.
    """
    folder = RunFolder.open(run_dir)
    experiment = Experiment.read(folder)
    groups = experiment.groups_to_evaluate()
    check_lane(lane, [one.index for group in groups for one in group.lanes])
    found: list[int] = []
    for number, group in enumerate(groups):
        place = next((i for i, one in enumerate(group.lanes) if one.index == lane), None)
        waves = [] if place is None else [wave for wave in folder.waves(number, len(group.lanes)) if wave[0] <= place]
        if not waves:
            continue
        plans = plan_phases(group, experiment.options)
        checkpoints = Checkpoints(waves[-1][1], read_only=True)
        try:
            found += [min(step, plans[-1].step(plans[-1].updates)) for step in checkpoints.steps()]
        finally:
            checkpoints.close()
    return found


def _trained(
    group: Group, options: TrainOptions, first: int, restored: Any, warn: Callable[[str], None]
) -> Trained | None:
    """The lanes from `first` on, from what `Checkpoints.restore` found."""
    arrays, meta, problems = restored
    for problem in problems:
        warn(problem)
    if arrays is None:
        return None
    progress, stored = meta["progress"], arrays[0].shape[0]  # lanes of the wave
    phase = progress["phase"]
    shapes = _shapes(group, phase, stored)
    # After them come the totals of metrics, whose names only the update knows, and tracing it may need data.
    state, best = from_host(arrays[: len(jax.tree.leaves(shapes))], shapes)
    lanes = group.lanes[first : first + stored]
    final = jax.jit(group.phases[phase].algorithm.policy)(state)
    plans, best_step = plan_phases(group, options), np.asarray(best.step)[: len(lanes)]
    take = functools.partial(jax.tree.map, lambda x: x[: len(lanes)])
    return Trained(
        group=group,
        options=options,
        phase=phase,
        lanes=lanes,
        final=take(final),
        best=take(best.policy),
        best_score=np.asarray(best.score)[: len(lanes)],
        env_steps=plans[phase].env_steps(progress["update"]),
        best_env_steps=env_steps_at(plans, best_step),
        step=plans[phase].step(progress["update"]),
        best_step=best_step,
        is_done=progress["is_done"],
        state=take(state),
    )


def _shapes(group: Group, phase: int, lanes: int) -> Any:
    """Shapes of the first part of what a wave saves: state and best policy."""
    state = state_shapes((*group.earlier, *group.phases[: phase + 1]), group.lanes[0])[-1]
    algorithm = group.phases[phase].algorithm
    best = Best(
        jax.eval_shape(algorithm.policy, state),
        jax.eval_shape(lambda: jnp.zeros((), jnp.float32)),
        jax.eval_shape(lambda: jnp.zeros((), jnp.int32)),
    )
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct((lanes, *s.shape), s.dtype), (state, best))


def evaluate(
    run_dir: str | Path,
    *,
    episodes: int | None = None,
    lane: int | None = None,
    step: int | None = None,
    eval_env_options: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Evaluation]:
    """The results of the final and best policy of every lane on new episodes, from checkpoints.

    Args:
      run_dir: the run folder; the run may be unfinished.
      episodes: at least this many per policy, in batches of the run's `eval_episodes`; None for its
        `absolute_episodes`.
      lane: only this lane; None for all.
      step: see `restore_policies`.
      eval_env_options: see `restore_policies`.
      warn: called with warnings about unreadable checkpoints.

    Raises:
      ValueError: the folder has no (such) checkpoints, or the run no such lane.
    """
    check_episodes(episodes)
    waves = restore_policies(run_dir, step=step, eval_env_options=eval_env_options, warn=warn)
    return list(evaluate_trained(waves, episodes=episodes, lane=lane))


def evaluate_trained(
    waves: list[Trained], *, episodes: int | None = None, lane: int | None = None
) -> Iterator[Evaluation]:
    """`evaluate` for restored policies."""
    known = [one.index for trained in waves for one in trained.lanes]
    check_lane(lane, known)
    for trained in waves:
        chosen = [i for i, one in enumerate(trained.lanes) if lane is None or one.index == lane]
        if chosen:
            yield from _evaluate(trained, chosen, episodes)


def check_episodes(episodes: int | None) -> None:
    """Rejects a number of episodes that is not positive, or so large that it must be a typing error."""
    if episodes is not None and not 1 <= episodes <= MAX_EPISODES:
        raise ValueError(f"episodes must be in 1..{MAX_EPISODES:,}, got {episodes:,}")


def check_lane(lane: int | None, known: list[int]) -> None:
    """Rejects a lane that is not among `known`."""
    if lane is not None and lane not in known:
        raise ValueError(f"no lane {lane} with a checkpoint; there are {min(known)}..{max(known)}")


@in_32_bits
@seldom_collecting
def _evaluate(trained: Trained, chosen: list[int], episodes: int | None) -> list[Evaluation]:
    options, group = trained.options, trained.group
    wanted = episodes or options.absolute_episodes or options.eval_episodes
    size = min(wanted, options.eval_episodes)
    batches = math.ceil(wanted / size)
    lanes, placement = pad_lanes([trained.lanes[i] for i in chosen], options)
    pick = np.array(chosen + [chosen[-1]] * (len(lanes) - len(chosen)))
    seeds = jnp.asarray([lane.seed for lane in lanes], jnp.int32)
    algorithm = group.eval_phases[trained.phase].algorithm
    axes = acting_axes(lanes[0].eval_params)
    sizes = {"episodes": size, "max_steps": options.eval_max_steps}
    program = jax.jit(evaluation(placement, algorithm, group.eval_env, axes, **sizes))
    results = []
    for name, policies in (("final", trained.final), ("best", trained.best)):
        if name == "best" and not np.isfinite(trained.best_score).all():
            continue  # nothing has been evaluated yet
        policy = jax.tree.map(lambda x: x[pick], policies)
        ctx = trained.context(lanes, trained.best_step[pick] if name == "best" else trained.step)
        keys = [eval_keys(seeds, jnp.asarray(FIRST_EVALUATION + k, jnp.int32)) for k in range(batches)]
        played = mean_played([program(policy, ctx, key) for key in keys])
        for place, index in enumerate(chosen):
            one, found = trained.lanes[index], played_fields(played, place, batches * size, group.eval_env)
            results.append(
                Evaluation(
                    lane=one.index,
                    point=one.point,
                    seed=one.seed,
                    overrides=dict(one.overrides),
                    policy=name,
                    env_steps=int(trained.best_env_steps[index]) if name == "best" else trained.env_steps,
                    episodes=found["episodes"],
                    optimum=one.optimum,
                    metrics=found["metrics"],
                    cut=found.get("cut", {}),
                )
            )
    return results


@in_32_bits
def take_policy(trained: Trained, lane: int, policy: str = "best") -> tuple[Algorithm, Any, ActContext]:
    """What `algorithm.act(policy, carry, timestep, key, ctx)` needs: the algorithm, a lane's policy, and its context.

    Args:
      trained: includes the lane.
      lane: its index in the run.
      policy: "best" or "final".
    """
    index = [one.index for one in trained.lanes].index(lane)
    step = trained.best_step[index] if policy == "best" else trained.step
    ctx = trained.context([trained.lanes[index]], step)
    ctx = take_lane(ctx, acting_axes(ctx.env_params), 0)
    chosen = jax.tree.map(lambda x: x[index], trained.best if policy == "best" else trained.final)
    return trained.group.eval_phases[trained.phase].algorithm, chosen, ctx


@in_32_bits
def make_act(trained: Trained, lane: int, policy: str = "best") -> Callable[[jax.Array, TimeStep], jax.Array]:
    """`(key, timestep) -> action` for one instance of the evaluation environment, for `jaxmarl_envs.record_episode`.

    The function keeps the recurrent state of one episode: make a new one for each.

    Args:
      trained: includes the lane.
      lane: its index in the run.
      policy: "best" or "final".

    Raises:
      ValueError: for a method that plans from states, which are not shown here.
    """
    algorithm, chosen, ctx = take_policy(trained, lane, policy)
    if algorithm.sees_state:
        raise ValueError("this method plans from the environment's state, and recorded episodes show observations only")
    step = in_32_bits(jax.jit(lambda carry, timestep, key: algorithm.act(chosen, carry, timestep, key, ctx)))
    memory = [algorithm.init_carry(1)]

    def act(key: jax.Array, timestep: TimeStep) -> jax.Array:
        action, memory[0] = step(memory[0], jax.tree.map(lambda x: x[None], timestep), key)
        return action[0]

    return act
