"""Datasets for learning without playing: recorded from a run's policies or its replay, imported and exported."""

import dataclasses
import difflib
import functools
import importlib.metadata
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import Environment, TimeStep, VectorEnv, seed_key

from jaxmarl_suite.algorithms import ActContext, Context
from jaxmarl_suite.algorithms.core import rollout
from jaxmarl_suite.algorithms.core._types import ActFn
from jaxmarl_suite.ops import random_legal
from jaxmarl_suite.replay import (
    KIND,
    MACHINE_ERRORS,
    NO_ACTION,
    REWARD,
    SCHEMA,
    Recorded,
    concatenate,
    describe_spec,
    join_streams,
    read_episode_file,
    read_vault,
    summarize,
    write_episode_file,
    write_vault,
)
from jaxmarl_suite.runner._devices import configure, in_32_bits
from jaxmarl_suite.runner._environments import Environments
from jaxmarl_suite.runner._evaluate import Trained, check_lane, checkpoint_steps, restore_policies
from jaxmarl_suite.runner._experiment import Experiment, Lane
from jaxmarl_suite.runner._files import StorageError
from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._placement import acting_axes, take_lane
from jaxmarl_suite.runner._play import play
from jaxmarl_suite.runner._values import fields_of, json_values

TIERS = ("replay", "random", "medium", "medium-replay", "expert", "medium-expert")
"""What a dataset is made of: the newest checkpoint's replay; an untrained policy; the first policy that reaches a third
of the way from random to expert; the replay up to it; the best policy; medium and expert in equal parts."""
MEDIUM_SCORE = 33.0
MOST_MEDIUM_SCORE = 45.0
"""Above this, a medium policy is worth a warning."""
REFERENCE_EPISODES = 100
_NUM_ENVS = 10
MAX_STEPS = 100_000_000
_STREAMS = {"reference": 0, "random": 1, "medium": 2, "expert": 3}


@dataclasses.dataclass(frozen=True)
class _Source:
    """One lane of a run at one checkpoint."""

    trained: Trained
    position: int
    """Of the lane among those of the checkpoint."""

    @property
    def lane(self) -> Lane:
        return self.trained.lanes[self.position]

    @property
    def env(self) -> Environment:
        return self.trained.group.env

    @property
    def policy(self) -> Any:
        return jax.tree.map(lambda x: x[self.position], self.trained.final)

    @property
    def ctx(self) -> ActContext:
        """What acting reads, in the environment that the run trains in."""
        ctx = self.trained.context([self.lane], self.trained.step)
        one = take_lane(ctx, acting_axes(ctx.env_params), 0)
        return dataclasses.replace(one, env_params=self.lane.env_params)

    def replay(self) -> Recorded:
        """The replay of the lane."""
        spec = self.trained.group.spec
        if self.trained.options.data is not None:
            raise ValueError(f"this run of {spec.name} learned from stored replay and has none of its own")
        if spec.record is None:
            raise ValueError(f"{spec.name} keeps no replay that could be stored")
        state = jax.tree.map(lambda x: x[self.position], self.trained.state)
        return spec.record(self.lane.config, self.env, state)


class _Run:
    """One lane of a run, whose checkpoints are played."""

    def __init__(self, run_dir: str | Path, lane: int, seed: int, warn: Callable[[str], None]) -> None:
        self.run_dir, self.index, self.seed, self.warn = run_dir, lane, seed, warn
        self.experiment = Experiment.read(RunFolder.open(run_dir))

    def at(self, step: int | None) -> _Source:
        """The lane at a checkpoint; the newest if None."""
        waves = restore_policies(self.run_dir, step=step, warn=self.warn)
        check_lane(self.index, [one.index for trained in waves for one in trained.lanes])
        return next(
            _Source(trained, position)
            for trained in waves
            for position, one in enumerate(trained.lanes)
            if one.index == self.index
        )

    @functools.cached_property
    def newest(self) -> _Source:
        """The lane at its newest checkpoint."""
        return self.at(None)

    @functools.cached_property
    def returns(self) -> dict[int, float]:
        """Returns of the evaluations whose checkpoints are there, by step."""
        steps = set(checkpoint_steps(self.run_dir, self.index))
        found = {}
        for row in RunFolder.open(self.run_dir).rows():
            step = row.get("step", row["env_steps"])
            if row["kind"] == "eval" and row["lane"] == self.index and step in steps:
                found[step] = row["metrics"]["return"]
        if not found:
            raise ValueError(
                f"run {str(self.run_dir)!r} has no evaluated checkpoint; train it with --lasting-checkpoints N"
            )
        return dict(sorted(found.items()))

    @functools.cached_property
    def best(self) -> _Source:
        """The checkpoint with the highest return."""
        source = self.at(max(self.returns, key=self.returns.__getitem__))
        if source.trained.group.phases[source.trained.phase].algorithm.sees_state:
            raise ValueError(
                f"{source.trained.group.spec.name} plans from the environment's state; datasets are played from "
                "observations only"
            )
        return source

    @functools.cached_property
    def references(self) -> tuple[float, float]:
        """Mean returns of uniformly random actions and of the best checkpoint, which have scores 0 and 100."""
        best, key = self.best, self._key("reference")
        algorithm = best.trained.group.phases[best.trained.phase].algorithm
        low = float(self._mean_return(_uniform(best.env), lambda n: ())((), best.ctx, key))
        high = float(self._mean_return(algorithm.act, algorithm.init_carry)(best.policy, best.ctx, key))
        if not high > low:
            raise ValueError(
                f"the best checkpoint of run {str(self.run_dir)!r} returns {high:g}, uniformly random actions {low:g}: "
                "there is nothing between them to record"
            )
        return low, high

    def score(self, value: float) -> float:
        """A return on the scale from random (0) to expert (100)."""
        low, high = self.references
        return 100.0 * (value - low) / (high - low)

    @functools.cached_property
    def medium(self) -> _Source:
        """The first checkpoint that is a third of the way to the best one, as it explores."""
        scores: dict[int, float] = {}
        for step in (step for step, value in self.returns.items() if self.score(value) >= MEDIUM_SCORE):
            source = self.at(step)
            value = float(self._explored_return(source.policy, source.ctx, self._key("reference")))
            scores[step] = self.score(value)
            if scores[step] < MEDIUM_SCORE:
                continue
            if scores[step] > MOST_MEDIUM_SCORE:
                self.warn(
                    f"the medium policy, of step {step}, has score {scores[step]:.0f}, expected {MEDIUM_SCORE:g} to "
                    f"{MOST_MEDIUM_SCORE:g}; keep more checkpoints (--lasting-checkpoints, --evaluations)"
                )
            return source
        raise ValueError(
            f"no checkpoint of run {str(self.run_dir)!r} has a score of {MEDIUM_SCORE:g} as it explores: {scores}"
        )

    def play(self, source: _Source, stream: str, steps: int, *, untrained: bool = False) -> Recorded:
        """At least `steps` steps of a policy as it explores."""
        algorithm = source.trained.group.phases[source.trained.phase].algorithm
        ctx, key = source.ctx, self._key(stream)
        init_key, play_key = jax.random.split(key)
        policy = source.policy
        if untrained:
            first = (*source.trained.group.earlier, *source.trained.group.phases)[0].algorithm
            whole = Context(ctx.hp, ctx.env_params, ctx.clock * 0, ctx.horizon, ctx.played_before * 0)
            policy = jax.jit(lambda key, ctx: first.policy(first.init(key, ctx)))(init_key, whole)
        return _play(source.env, algorithm.explore or algorithm.act, policy, algorithm.init_carry, ctx, play_key, steps)

    @functools.cached_property
    def _explored_return(self) -> Callable[[Any, ActContext, jax.Array], jax.Array]:
        """`(policy, ctx, key) -> return` of a policy as it explores."""
        algorithm = self.best.trained.group.phases[self.best.trained.phase].algorithm
        return self._mean_return(algorithm.explore or algorithm.act, algorithm.init_carry)

    def _mean_return(
        self, act: ActFn, init_carry: Callable[[int], Any]
    ) -> Callable[[Any, ActContext, jax.Array], jax.Array]:
        """`(policy, ctx, key) -> mean return` of reference episodes."""
        env, max_steps = self.best.env, self.experiment.options.eval_max_steps

        @jax.jit
        def run(policy: Any, ctx: ActContext, key: jax.Array) -> jax.Array:
            def acting(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any]:
                return act(policy, carry, timestep, key, ctx)

            carry = init_carry(REFERENCE_EPISODES)
            played, *_ = play(env, acting, carry, ctx.env_params, key, episodes=REFERENCE_EPISODES, max_steps=max_steps)
            return played["return"].mean()

        return run

    def _key(self, stream: str) -> jax.Array:
        return jax.random.fold_in(seed_key(self.seed), _STREAMS[stream])


def _uniform(env: Environment) -> ActFn:
    """Uniformly random legal actions."""
    spec = env.spec

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        if spec.is_discrete:
            return random_legal(key, timestep.action_mask), carry
        low, high = spec.action_bounds
        shape = (*timestep.obs.shape[:2], spec.action_dim)
        return jax.random.uniform(key, shape, jnp.float32, low, high), carry

    return act


def _play(
    env: Environment,
    act: ActFn,
    policy: Any,
    init_carry: Callable[[int], Any],
    ctx: ActContext,
    key: jax.Array,
    steps: int,
) -> Recorded:
    """At least `steps` steps of a policy, in ten environments at once."""
    vector, length = VectorEnv(env, _NUM_ENVS), -(-steps // _NUM_ENVS)

    @jax.jit
    def run(policy: Any, ctx: ActContext, key: jax.Array) -> dict[str, jax.Array]:
        def acting(carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
            action, carry = act(policy, carry, timestep, key, ctx)
            return action, carry, action

        reset_key, play_key = jax.random.split(key)
        start = vector.reset(reset_key, ctx.env_params)
        _, _, played = rollout(vector, acting, start, init_carry(_NUM_ENVS), play_key, ctx.env_params, length)
        before, after = played.timestep, played.next_timestep
        streams = {
            "obs": before.obs,
            "state": before.state,
            "action": played.record,
            REWARD: after.reward,
            "terminated": after.terminated,
            "truncated": after.truncated,
            "next_obs": after.final_obs,
            "next_state": after.final_state,
        }
        if env.spec.is_discrete:
            ended = before.done.at[0].set(True)
            last = jnp.roll(played.record, 1, axis=0)
            streams |= {
                "mask": before.action_mask,
                "next_mask": after.final_mask,
                "last_action": jnp.where(ended[..., None], NO_ACTION, last),
            }
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), streams)

    found = jax.tree.map(np.asarray, run(policy, ctx, key))
    return join_streams(found, begins=np.ones(_NUM_ENVS, bool))


@in_32_bits
def make_dataset(
    run_dir: str | Path,
    path: str | Path,
    *,
    tier: str = "replay",
    steps: int = 50_000,
    lane: int = 0,
    seed: int = 0,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Stores a dataset made from one lane of a run; returns its card.

    Returns of random actions and of the best checkpoint (100 episodes each) have scores 0 and 100. Policies act as they
    explore. Methods that keep no replay have the tiers that are played; all but "replay" need a run with lasting
    checkpoints.

    Args:
      run_dir: a run, which may be unfinished; for tiers with a replay, one that collected its own experience.
      path: a new folder.
      tier: one of `TIERS`.
      steps: length of what is played, rounded up to a multiple of 10; a replay is stored as it is.
      lane: which lane.
      seed: of the episodes.
      warn: called with warnings about unreadable checkpoints and unusual scores.

    Raises:
      ValueError: an unknown tier, a run that has no such lane, replay or checkpoints, or `path` exists.
      StorageError: the machine fails, e.g. the disk is full; nothing that was written is left.
    """
    _check_new(path)
    if tier not in TIERS:
        near = difflib.get_close_matches(tier, TIERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown tier {tier!r}; {hint}there are: {', '.join(TIERS)}")
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be in 1..{MAX_STEPS:,}, got {steps:,}")
    configure()
    run = _Run(run_dir, lane, seed, warn)
    source, recorded = _record(run, tier, steps)
    card = summarize(recorded)
    mean = card["returns"]["mean"]
    low, high = (None, None) if tier == "replay" else run.references
    spec, one = source.trained.group.spec, source.lane
    about = {
        "tier": tier,
        "env_options": run.experiment.env_settings(one.overrides),
        **card,
        "random_return": low,
        "expert_return": high,
        "score": None if tier == "replay" or mean is None else run.score(mean),
        "algorithm": spec.name,
        "seed": one.seed,
        "dataset_seed": seed,
        "env_steps": source.trained.env_steps,
        "config": json_values(fields_of(one.config)),
    }
    return _write(Path(path).absolute(), recorded, source.env, about)


def _record(run: _Run, tier: str, steps: int) -> tuple[_Source, Recorded]:
    """What the dataset consists of, and the newest policy in it."""
    if tier == "replay":
        return run.newest, run.newest.replay()
    if tier == "random":
        return run.best, run.play(run.best, "random", steps, untrained=True)
    if tier == "medium":
        return run.medium, run.play(run.medium, "medium", steps)
    if tier == "medium-replay":
        return run.medium, run.medium.replay()
    expert = run.play(run.best, "expert", steps)
    return run.best, expert if tier == "expert" else concatenate([run.play(run.medium, "medium", steps), expert])


@in_32_bits
def import_dataset(
    file: str | Path, path: str | Path, *, env: str, env_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Stores the episodes of a file as a dataset; returns its card. See `replay.read_episode_file` for the layouts.

    Args:
      file: ends in `.npz`, or in `.hdf5` or `.h5` (needs the extra `minari`).
      path: a new folder.
      env: id of the environment that the episodes are of.
      env_options: its options.

    Raises:
      ValueError: the file cannot be read or does not fit the environment, or `path` exists.
    """
    _check_new(path)
    instance = Environments(env, dict(env_options or {})).get({})
    recorded = read_episode_file(file, instance.env.spec)
    about = {"tier": "imported", "env_options": json_values(dict(env_options or {})), **summarize(recorded)}
    return _write(Path(path).absolute(), recorded, instance.env, about)


def export_dataset(path: str | Path, file: str | Path) -> int:
    """Writes a dataset to a new `.npz` file, by episode; returns the number of episodes.

    Raises:
      ValueError: there is no dataset, or the file exists.
      StorageError: the machine fails; nothing that was written is left.
    """
    dataset = read_vault(path)
    if dataset.about.get("kind") != KIND:
        raise ValueError(f"stored replay {str(path)!r} is no dataset of steps")
    try:
        return write_episode_file(file, dataset.items, dataset.about["layout"])
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        raise StorageError(f"{str(file)!r} cannot be written: {error.strerror}") from error


def _check_new(path: str | Path) -> None:
    if Path(path).exists():
        raise ValueError(f"{str(path)!r} exists; name a folder that does not")


def _write(path: Path, recorded: Recorded, env: Environment, about: dict[str, Any]) -> dict[str, Any]:
    """Writes a dataset, reads it again, and returns its card."""
    spec = env.spec
    card = {
        "schema": SCHEMA,
        "kind": KIND,
        "env": spec.id,
        "layout": describe_spec(spec),
        **about,
        "versions": {name: _version(name) for name in ("jaxmarl-suite", "jax", "brax")},
    }
    try:
        write_vault(path, recorded.items, card)
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        raise StorageError(
            f"dataset {str(path)!r} cannot be written: {error.strerror}; nothing is left of it"
        ) from error
    try:
        return dict(read_vault(path).about)
    except ValueError:
        shutil.rmtree(path)
        raise


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
