"""Kills: trainings are killed at random moments and before file operations, resumed, and compared with undisturbed ones.

A training ends with the same state, rows and summary, bit for bit and apart from wall times, or the soak fails. Half of the
kills come at a random moment, half before a random one of the operations on files, and one for each method in the first of
them; a resumed training may be killed as well. The number `--seed` decides all of it but the machine's speed.

    python -m benchmarks.kill_soak --json kills.json
"""

import collections
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

_PPO = {"num_envs": 8, "rollout_length": 4, "epochs": 2, "hidden": (16,)}
_STEPS = {"num_envs": 8, "rollout_length": 4, "capacity": 128, "batch_size": 8, "gradient_steps": 2, "hidden": (4,)}
_Q: dict[str, Any] = {
    **{"num_envs": 8, "rollout_length": 4, "capacity": 16, "batch_size": 4, "gradient_steps": 1, "learning_starts": 24},
    **{"recurrent": False, "width": 4, "embed": 4, "hyper_hidden": 4},
}
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mappo": ("matrix/climbing", {"horizon": 3}, _PPO),
    "qmix": ("matrix/climbing", {"horizon": 3}, _Q),
    "td3": ("toy/pendulum", {}, {**_STEPS, "warmup_steps": 64}),
    "gem": ("toy/pendulum", {}, {**_STEPS, "warmup_steps": 64}),
    "tad-ppo": ("matrix/climbing", {"horizon": 3}, _PPO),
}
"""By method the environment, its options and small settings."""
KILLED = ("begun again", "resumed")
"""What may be done after a kill: the same command once more where there is no run yet, or `resume`."""
_UPDATES = 20
_PATIENCE = 600.0  # seconds


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Kills trainings and looks at what is left of them."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods."""
    kills: int = 13
    """Kills for each method."""
    seed: int = 0
    """Of the kills."""

    def __post_init__(self) -> None:
        """Refuses what cannot be done."""
        super().__post_init__()
        if unknown := set(self.methods) - set(METHODS):
            raise ValueError(f"methods must be of {', '.join(METHODS)}, got {', '.join(sorted(unknown))}")
        if self.kills < 1:
            raise ValueError(f"kills must be at least 1, got {self.kills}")


def experiment(method: str) -> dict[str, Any]:
    """A short training of two seeds, in JSON values, with a checkpoint after every update."""
    from jaxmarl_suite import algorithms
    from jaxmarl_suite.runner import Experiment, TrainOptions

    env, env_options, settings = METHODS[method]
    config = dataclasses.replace(algorithms.get(method).default_config, **settings)
    options = TrainOptions(
        total_steps=_UPDATES * config.num_envs * config.rollout_length,
        seeds=2,
        evaluations=_UPDATES,
        log_rows=_UPDATES,
        eval_episodes=2,
        absolute_episodes=4,
        eval_max_steps=20,
        checkpoint_seconds=0.0,
    )
    return Experiment(method, env, config, env_options, {}, options).to_json()


@dataclasses.dataclass
class Ended:
    """How a process ended."""

    code: int
    seconds: float
    """Since it was ready."""
    said: str

    @property
    def operations(self) -> int:
        """Operations on files, of one that came to its end."""
        return int(self.said.split()[-1])


def start(
    command: str, folder: Path, description: dict[str, Any], *, operation: int = 0, after: float | None = None
) -> Ended:
    """Runs a child to its end, or kills it `after` so many seconds of training or before file operation `operation`."""
    words = [
        sys.executable,
        "-m",
        "benchmarks._kill_child",
        command,
        str(folder),
        json.dumps(description),
        str(operation),
    ]
    environment = _processes.child_environment(JAX_DISABLE_MOST_OPTIMIZATIONS="1")  # quick to compile
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            words, cwd=_processes.ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.monotonic() + _PATIENCE
        while "ready\n" not in said(output) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        try:
            process.wait(_PATIENCE if after is None else after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return Ended(process.returncode, time.monotonic() - began, said(output))


def said(output: Any) -> str:
    """What a process has written so far."""
    return os.pread(output.fileno(), 2**20, 0).decode(errors="replace")


def contents(folder: Path) -> dict[str, Any]:
    """The results of a finished run: arrays of its last checkpoints and artifacts, rows, summary; without wall times."""
    from jaxmarl_suite.runner import RunFolder
    from jaxmarl_suite.runner._checkpoint import Checkpoints

    run, arrays = RunFolder(folder), {}
    artifacts = sorted(run.artifacts.iterdir()) if run.artifacts.is_dir() else []
    for first, directory in [*run.waves(0, 2**31), *((path.name, path) for path in artifacts)]:
        checkpoints = Checkpoints(directory, read_only=True)
        found, _, problems = checkpoints.restore()
        checkpoints.close()
        assert found is not None and not problems, problems
        arrays[first] = [(x.dtype.name, x.shape, np.ascontiguousarray(x).tobytes()) for x in found]
    rows = {(r["kind"], r["lane"], r["phase"], r["update"]): {**r, "wall": 0} for r in run.rows()}
    summary = {name: value for name, value in run.summary().items() if not name.endswith("seconds")}
    return {"arrays": arrays, "rows": rows, "summary": summary}


def trial(
    folder: Path, description: dict[str, Any], whole: Ended, kills: int, draw: random.Random, first: bool
) -> list[str]:
    """One training that is killed `kills` times and then finished: what was found after each kill.

    Args:
      folder: for the run.
      description: the experiment.
      whole: how the undisturbed training ended.
      kills: one or two.
      draw: decides.
      first: the first kill comes before one of the very first operations, where the run is made.
    """
    outcomes, command = [], "train"
    for kill in range(kills):
        if first and not kill:
            ended = start(command, folder, description, operation=draw.randint(1, 25))
        elif draw.random() < 0.5:
            ended = start(command, folder, description, operation=draw.randint(1, whole.operations))
        else:
            ended = start(command, folder, description, after=draw.uniform(0.0, 0.9 * whole.seconds))
        if ended.code != -signal.SIGKILL:
            outcomes.append(f"FAILED: {ended.said[-300:]}" if ended.code else "finished before the kill")
            break
        if (folder / "config.json").exists():
            command = "resume"
            outcomes.append("resumed")
        else:  # there is no run yet, and what there is of it is in nobody's way
            outcomes.append("begun again")
    ended = start("resume" if (folder / "config.json").exists() else "train", folder, description)
    return outcomes if not ended.code else [*outcomes, f"FAILED: {ended.said[-300:]}"]


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The parts of two runs' contents that are not equal."""
    return [name for name in ours if ours[name] != theirs[name]]


def soak(method: str, kills: int, seed: int, folder: Path) -> list[Row]:
    """A row for each trial of a method."""
    draw, description, rows = random.Random(f"{method} {seed}"), experiment(method), []
    start("train", folder / "compiled" / "run", description)  # so that all that follow find their programs on disk
    whole = start("train", folder / "whole" / "run", description)
    if whole.code:
        raise RuntimeError(f"the undisturbed training failed: {whole.said}")
    expected, left = contents(folder / "whole" / "run"), kills
    while left > 0:
        together = min(left, 1 + (draw.random() < 0.5))
        place = folder / f"trial-{len(rows)}" / "run"
        place.parent.mkdir(parents=True)
        outcomes = trial(place, description, whole, together, draw, first=not rows)
        is_whole = not any(outcome.startswith("FAILED") for outcome in outcomes)
        done = sum(outcome in KILLED for outcome in outcomes)
        left -= done if is_whole else together
        wrong = differences(contents(place), expected) if is_whole else ["everything"]
        rows.append({"method": method, "trial": len(rows), "kills": done, "outcomes": outcomes, "differs": wrong})
        print(
            f"{method} {len(rows) - 1}: {', '.join(outcomes)}; {'DIFFERS in ' + ', '.join(wrong) if wrong else 'equal'}"
        )
        sys.stdout.flush()
    return rows


def table_of(rows: list[Row]) -> Table:
    """One line per method: kills, what was found after them, and whether the runs ended like the undisturbed one."""
    shown = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        found = collections.Counter(outcome.partition(":")[0] for row in mine for outcome in row["outcomes"])
        shown.append(
            {
                "method": method,
                "runs": len(mine),
                "kills": sum(row["kills"] for row in mine),
                **{name: found[name] for name in (*KILLED, "FAILED")},
                "equal": sum(not row["differs"] for row in mine),
            }
        )
    names = ("runs", "kills", *KILLED, "FAILED", "equal")
    columns = (Column("method", plain("method")), *(Column(name, number(name)) for name in names))
    return Table("kills", rows, columns, ("method", "trial"), "kills", shown=shown)


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("kill_soak", args)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for method in args.methods for row in soak(method, args.kills, args.seed, Path(folder) / method)]
    lost = sum(bool(row["differs"]) for row in rows)
    targets = [_common.target("runs that do not end like undisturbed ones", lost, 0, at_most=True)]
    result = _common.finish("kill_soak", args, _common.hardware(), [table_of(rows)], targets, old=old)
    if lost:
        raise SystemExit(1)
    return result


if __name__ == "__main__":
    _common.run_script(main, Args)
