"""Football: steps of `football/` with restarts, beside the plain-Python reference of the tests.

Random legal play in both, in one process pinned to one core, counted in CPU seconds; the reference is written to be read,
and shows no observations.

    python -m benchmarks.football --json football.json
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain
from benchmarks.adapters import start_pinned
from benchmarks.micro import compiled

TARGETS = {"3_vs_1_with_keeper": 200_000.0, "counterattack_hard": 60_000.0}
"""Steps per second at 256 environments; the latter has 22 players."""
TARGET_ENVS = 256


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures random stepping of football/ on one core."""

    scenarios: tuple[str, ...] = ("3_vs_1_with_keeper", "counterattack_hard_small", "counterattack_hard")
    """Variants of football/."""
    num_envs: tuple[int, ...] = (256, 1024)
    """E, environments stepped together."""
    steps: int = 200
    """Steps of every environment in one timed call."""
    repetitions: int = 7
    """Timed calls."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.steps, self.repetitions, *self.num_envs) < 1:
            raise ValueError("num_envs, steps and repetitions must be positive")
        import jaxmarl_envs

        for name in self.scenarios:
            jaxmarl_envs.make(f"football/{name}")


def measure(name: str, num_envs: int, steps: int, repetitions: int) -> Row:
    """Environment steps per CPU second, ours and the reference's, and the CPU seconds of compilation."""
    import jax

    play, compile_s = compiled(f"football/{name}", num_envs)
    times = []
    for seed in range(repetitions + 1):
        began = time.process_time()
        jax.block_until_ready(play(seed_key(seed), steps))
        times.append(time.process_time() - began)
    found = num_envs * steps / statistics.median(times[1:])
    python = simulate(name, 100)
    return {
        "id": name,
        "num_envs": num_envs,
        "steps_per_s": found,
        "python_steps_per_s": python,
        "ratio": found / python,
        "compile_s": compile_s,
    }


def simulate(name: str, steps: int) -> float:
    """Steps per CPU second of the plain-Python reference, drawing actions included."""
    import jax
    import jaxmarl_envs

    from tests.envs.football_reference import Game

    env = jaxmarl_envs.make(f"football/{name}")
    params = env.default_params
    start = jax.tree.map(np.asarray, env.reset(seed_key(0), params)[0])
    game, rng = Game(env.plan, params), np.random.default_rng(0)
    game.load(start)
    began = time.process_time()
    for _ in range(steps):
        if game.over:
            game.load(start)
        game.step([rng.choice(sorted(game.legal(agent))) for agent in game.agents], rng.random((2, 4)))
    return steps / (time.process_time() - began)


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Pins this process to a core; each request is one row."""
    start_pinned()
    return lambda request: measure(**request, **task)


def table_of(rows: list[Row]) -> Table:
    """Ours beside plain Python."""
    columns = (
        Column("scenario", plain("id")),
        Column("environments", number("num_envs")),
        Column("steps/s", number("steps_per_s")),
        Column("Python steps/s", number("python_steps_per_s")),
        Column("x Python", number("ratio")),
        Column("compilation, s", number("compile_s", ".1f")),
    )
    return Table("football", rows, columns, ("id", "num_envs"), "steps_per_s")


def targets_of(rows: list[Row]) -> list[Row]:
    """Steps per second beside what was asked for."""
    return [
        _common.target(f"{TARGET_ENVS} of {row['id']}, steps/s", row["steps_per_s"], TARGETS[row["id"]])
        for row in rows
        if row["id"] in TARGETS and row["num_envs"] == TARGET_ENVS
    ]


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("football", args)
    environment = _processes.child_environment(keep_flags=False, JAX_PLATFORMS="cpu", JAXMARL_SUITE_CACHE="off")
    task = {"steps": args.steps, "repetitions": args.repetitions}
    rows = []
    with _processes.Worker("benchmarks.football", task, environment) as worker:
        for name in args.scenarios:
            for num_envs in args.num_envs:
                print(f"{num_envs} of {name} ...", file=sys.stderr, flush=True)
                rows.append(worker.ask({"name": name, "num_envs": num_envs}))
    return _common.finish("football", args, _common.hardware(), [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
