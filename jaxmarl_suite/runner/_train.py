"""Training: runs an experiment in a run folder."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from jaxmarl_suite.recipes import choose
from jaxmarl_suite.runner._artifacts import Artifacts, find_starts, read_start
from jaxmarl_suite.runner._checkpoint import check_storage
from jaxmarl_suite.runner._compile import choose_wave
from jaxmarl_suite.runner._describe import describe, described_wandb, diff, wandb_options
from jaxmarl_suite.runner._devices import configure, in_32_bits, seldom_collecting
from jaxmarl_suite.runner._eval_env import eval_flags
from jaxmarl_suite.runner._experiment import Experiment, Group
from jaxmarl_suite.runner._files import StorageError, reason
from jaxmarl_suite.runner._folder import RunFolder, default_run_dir
from jaxmarl_suite.runner._options import MACHINE_OPTIONS, TrainOptions, WandbOptions
from jaxmarl_suite.runner._schedule import check_milestones, plan_phases
from jaxmarl_suite.runner._sinks import make_sinks
from jaxmarl_suite.runner._summary import Summary
from jaxmarl_suite.runner._wave import Diverged, Interrupted, Wave


class Listener(Protocol):
    """Receives progress; the console is one implementation."""

    def announce(self, text: str) -> None:
        """Receives a line for the user: groups, waves, warnings."""
        ...

    def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
        """Receives new rows (possibly none), and the number of steps of all lanes since the last call.

        Steps are environment steps plus one per update of a phase that takes none.
        """
        ...


class Silent:
    """A listener that prints nothing."""

    def announce(self, text: str) -> None:
        """Ignores the line."""

    def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
        """Ignores the rows."""


def train(
    algorithm: str,
    env: str,
    *,
    config: Any = None,
    recipe: str = "auto",
    env_options: Mapping[str, Any] | None = None,
    eval_env_options: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    options: TrainOptions | None = None,
    run_dir: str | Path | None = None,
    sinks: Sequence[str] = (),
    wandb: WandbOptions | None = None,
    listener: Listener | None = None,
) -> Path:
    """Trains every combination of grid point and seed, in as few programs as possible; returns the run folder.

    Args:
      algorithm: a registered name, e.g. "tad-ppo".
      env: an id, e.g. "matrix/climbing".
      config: the algorithm's config, or a mapping from field names to values that differ from the defaults, e.g.
        `{"recurrent": True}`; None for the defaults.
      recipe: "auto" for the tuned settings of this algorithm on this environment, if there are any, in place of its
        defaults; "none"; or the name of a recipe. A whole config has all settings and leaves none to a recipe.
      env_options: passed to `jaxmarl_envs.make`.
      eval_env_options: options in which evaluations differ from training, in addition to those of the environment's
        family.
      grid: values by config field or `env.OPTION`; every combination is trained.
      options: length, seeds, evaluations, ...
      run_dir: a new or empty folder; None for the next free one in `runs/`.
      sinks: "tensorboard", "wandb".
      wandb: project, group, tags and runs of the sink "wandb"; None for the defaults.
      listener: receives progress.

    Raises:
      ValueError: anything that cannot work, before anything is written.
      Diverged: a metric became NaN or infinite; the last good checkpoint is kept.
      Interrupted: on SIGINT or SIGTERM, after saving; `resume` continues.
      StorageError: something could not be written, e.g. on a full disk; everything written before is intact.
    """
    is_whole = config is not None and not isinstance(config, Mapping)
    if is_whole and recipe not in ("auto", "none"):
        raise ValueError(
            f"a whole config leaves nothing to recipe {recipe!r}: give a mapping of the fields that differ from it"
        )
    chosen = None if is_whole else choose(recipe, algorithm, env)
    listener = listener or Silent()
    if chosen is not None:
        config = {**chosen.settings, **(config or {})}
        listener.announce(chosen.announcement)
    experiment = Experiment(
        algorithm,
        env,
        config,
        dict(env_options or {}),
        dict(grid or {}),
        options or TrainOptions(),
        dict(eval_env_options or {}),
    )
    return run(experiment, run_dir=run_dir, sinks=sinks, wandb=wandb, listener=listener)


@in_32_bits
@seldom_collecting
def run(
    experiment: Experiment,
    *,
    run_dir: str | Path | None = None,
    sinks: Sequence[str] = (),
    wandb: WandbOptions | None = None,
    listener: Listener | None = None,
) -> Path:
    """Like `train`, for an `Experiment`."""
    if wandb is not None and "wandb" not in sinks:
        raise ValueError('options of wandb need the sink "wandb" (--sinks wandb)')
    configure()
    groups, listener = experiment.groups(), listener or Silent()
    for warning in check_milestones(groups, experiment.options):
        listener.announce(warning)
    starts = find_starts(experiment, groups)
    config = describe(experiment, groups, starts) | {"sinks": list(sinks)} | described_wandb(wandb)
    if run_dir is None:
        run_dir = default_run_dir(experiment.algorithm, experiment.env)
    with RunFolder.claim(run_dir) as folder:
        try:
            folder.begin(config, [start.write for start in starts])
            with _storage_failures(folder):
                return _run(experiment, groups, folder, tuple(sinks), wandb, listener)
        except Exception:  # rejected while its programs were built
            folder.discard()
            raise


@in_32_bits
@seldom_collecting
def resume(
    run_dir: str | Path,
    *,
    experiment: Experiment | None = None,
    sinks: Sequence[str] | None = None,
    wandb: WandbOptions | None = None,
    listener: Listener | None = None,
) -> Path:
    """Continues a run from its newest intact checkpoint (or from the start if there is none); returns its folder.

    Args:
      run_dir: the run folder.
      experiment: the expected experiment, compared with that of the run; None to skip this check. Options of the
        machine (`checkpoint_seconds`, `keep_checkpoints`, `devices`, `memory_gib`) may differ.
      sinks: the expected sinks; None to skip this check.
      wandb: the expected options of the sink "wandb"; None to skip this check.
      listener: receives progress.

    Raises:
      ValueError: `experiment` or `sinks` differ from the run's (every differing field is given), its stored replay is
        gone, or another process is training in the folder.
    """
    configure()
    folder = RunFolder.open(run_dir)
    about = folder.read_config()
    stored = Experiment.read(folder).to_json() | {"sinks": about.get("sinks", []), "wandb": about.get("wandb", {})}
    given = ({} if experiment is None else experiment.to_json()) | ({} if sinks is None else {"sinks": list(sinks)})
    given |= described_wandb(wandb)
    if differences := [d for d in diff(stored, given) if d[0].removeprefix("train.") not in MACHINE_OPTIONS]:
        raise ValueError(
            f"cannot resume {str(run_dir)!r} with another configuration: "
            + "; ".join(f"{name} is {ours!r} in the run, got {theirs!r}" for name, ours, theirs in differences)
        )
    experiment, options = experiment or Experiment.from_json(stored), wandb_options(folder, stored["wandb"])
    check_data(run_dir, experiment)
    groups, listener = experiment.groups(), listener or Silent()
    with folder.locked(), _storage_failures(folder):
        check_storage(folder.path)  # before a checkpoint is taken for a damaged one: the run may lie somewhere else now
        folder.cut_torn_line()
        if folder.renew_versions():
            listener.announce(f"{folder.path / 'versions.json'} was missing or damaged; it now describes this process")
        if changed := folder.changed_flags():
            listener.announce(changed)
        return _run(experiment, groups, folder, tuple(stored["sinks"]), options, listener, is_resumed=True)


def check_data(run_dir: str | Path, experiment: Experiment) -> None:
    """Rejects resuming a run whose stored replay is gone."""
    data = experiment.options.data
    if data is not None and not Path(data).is_dir():
        raise ValueError(
            f"run {str(run_dir)!r} learns from stored replay in {data!r}, which is not there; to resume, put it back "
            f'("jaxmarl-suite eval {run_dir}" does without)'
        )


@contextmanager
def _storage_failures(folder: RunFolder) -> Iterator[None]:
    """Adds to errors about files that cannot be written (e.g. a full disk) what is still safe."""
    try:
        yield
    except (StorageError, OSError) as error:
        text = f"{error.filename or folder.path}: {reason(error)}" if isinstance(error, OSError) else str(error)
        safe = f'what was written before is intact; "jaxmarl-suite resume {folder.name}" continues from there'
        raise StorageError(f"{text}; {'nothing was trained yet' if folder.is_untrained else safe}") from error


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGINT or SIGTERM was received; a second signal is raised as usual, without
    saving.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return
    previous: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: Any) -> None:
        stopped.set()
        for signal_number, handler in previous.items():
            signal.signal(signal_number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield stopped.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(
    experiment: Experiment,
    groups: list[Group],
    folder: RunFolder,
    sink_names: tuple[str, ...],
    wandb: WandbOptions | None,
    listener: Listener,
    is_resumed: bool = False,
) -> Path:
    _announce(experiment, groups, listener)
    summary, has_trained = Summary(folder), False
    try:
        with ExitStack() as closing, _stop_on_signals() as should_stop:
            sinks = make_sinks(sink_names, folder.path, experiment.to_json(), wandb)
            for sink in sinks:
                closing.callback(sink.close)
            for number, group in enumerate(groups):
                if len(groups) > 1:
                    settings = dict(group.lanes[0].overrides)
                    listener.announce(
                        f"program {number + 1} of {len(groups)}: {len(group.lanes)} lanes like {settings}"
                    )
                for wave in _waves(group, number, folder, experiment.options, summary, listener, should_stop):
                    is_first = number == 0 and wave.lanes[0] is group.lanes[0]
                    _restore(wave, listener, is_expected=is_resumed and is_first)
                    has_trained |= _run_wave(wave, sinks, summary, listener)
        if has_trained or not summary.was_finished:
            summary.write("finished")
    except Diverged as error:
        summary.write("failed", error=str(error))
        raise Diverged(f"{error}; checkpoints of {folder.path} are from before", error.lane) from None
    except Interrupted:
        summary.write("interrupted")
        raise Interrupted(f'stopped and saved; continue with "jaxmarl-suite resume {folder.name}"') from None
    return folder.path


def _announce(experiment: Experiment, groups: list[Group], listener: Listener) -> None:
    """Says what is about to be trained."""
    options = experiment.options
    steps = sorted({_env_steps(group, options) for group in groups})
    lanes = sum(len(group.lanes) for group in groups)
    listener.announce(
        f"{experiment.algorithm} on {experiment.env}: {_count(lanes, 'lane')} "
        f"({_count(len(experiment.points()), 'point')} x {_count(options.seeds, 'seed')}) in "
        f"{_count(len(groups), 'compiled program')}, {f'{steps[0]:,} to ' if len(steps) > 1 else ''}"
        f"{steps[-1]:,} environment steps each{_without_steps(groups)}"
    )
    if evaluated := experiment.evaluation_options:
        listener.announce(f"policies are evaluated with {eval_flags(evaluated)}")


def _waves(
    group: Group,
    number: int,
    folder: RunFolder,
    options: TrainOptions,
    summary: Summary,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Iterator[Wave]:
    """The waves of a group, one after another; compiles its programs first."""
    began = time.perf_counter()
    size, programs, placement = choose_wave(group, options, folder.wave_size(number, len(group.lanes)))
    summary.timings["compile_seconds"] += time.perf_counter() - began  # nearly none where the process has them
    folder.set_wave_size(number, size)
    if size < len(group.lanes):
        listener.announce(f"{size} lanes run at once, {len(group.lanes)} in all")
    start = read_start(folder, number) if group.earlier else None
    for first in range(0, len(group.lanes), size):
        name = folder.wave_name(number, first)
        lanes = list(group.lanes[first : first + size])
        yield Wave(
            *(group, lanes, programs, placement, options, folder.checkpoints / name),
            artifacts=Artifacts(folder.artifacts / name),
            start=start,
            should_stop=should_stop,
        )


def _restore(wave: Wave, listener: Listener, *, is_expected: bool) -> None:
    """Goes on where the newest whole checkpoint stands, and says so."""
    is_restored = wave.restore()
    for warning in wave.warnings:
        listener.announce(f"{warning}; trying the previous one")
    if is_restored:
        listener.announce(f"continuing at {_where(wave)}")
    elif wave.warnings:
        listener.announce("no intact checkpoint is left; starting over")
    elif is_expected:
        listener.announce("no checkpoint; starting from the beginning")


def _run_wave(wave: Wave, sinks: list[Any], summary: Summary, listener: Listener) -> bool:
    """Trains a wave to its end, and hands its rows on. True where there were any."""
    has_trained, seen = False, _steps_so_far(wave)
    try:
        for rows in wave.run():
            for sink in sinks:
                sink.write(rows)
            has_trained = True
            summary.timings.setdefault("first_row_seconds", summary.seconds)
            now = _steps_so_far(wave)
            listener.rows(rows, (now - seen) * len(wave.lanes))
            seen = now
            summary.note(rows)
    except ValueError as error:  # raised by a library: user errors were found before
        raise RuntimeError(f"{type(error).__name__} in training: {reason(error)}") from error
    finally:
        wave.checkpoints.close()
    return has_trained


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _steps_so_far(wave: Wave) -> int:
    return wave.plans[wave.progress.phase].step(wave.progress.update)


def _where(wave: Wave) -> str:
    plan = wave.plans[wave.progress.phase]
    steps = plan.env_steps(wave.progress.update)
    return f"update {wave.progress.update} of {plan.updates} of phase {plan.name!r} ({steps:,} steps)"


def _without_steps(groups: Sequence[Group]) -> str:
    """The updates of phases that never act, for the message about a run's length."""
    updates = sorted({sum(phase.updates or 0 for phase in group.phases) for group in groups})
    if not updates[-1]:
        return ""
    return f", after {f'{updates[0]:,} to ' if len(updates) > 1 else ''}{_count(updates[-1], 'update')} without any"


def _env_steps(group: Group, options: TrainOptions) -> int:
    """Environment steps that a lane of the group will take: whole updates only, so there may be fewer than requested."""
    last = plan_phases(group, options)[-1]
    return last.env_steps(last.updates)


def total_env_steps(experiment: Experiment) -> int:
    """Environment steps that the experiment will take, over all lanes."""
    return sum(_env_steps(group, experiment.options) * len(group.lanes) for group in experiment.groups())


def total_steps(experiment: Experiment) -> int:
    """The same, plus one per update of a phase that takes none: the unit of progress."""
    plans = [(plan_phases(group, experiment.options)[-1], len(group.lanes)) for group in experiment.groups()]
    return sum(last.step(last.updates) * lanes for last, lanes in plans)
