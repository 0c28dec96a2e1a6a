"""Environment stepping: against its floor (the bare dynamics), and on all cores against one.

The floor: two jitted scans of random play. The bare loop is written by hand for the batch: one draw of all actions, the
rules, the restarts that the rules need, and the sums of rewards and episodes; it builds no observation, no mask and no
global state. The suite's loop carries everything a learner reads. Repetitions alternate, so that a busy machine slows
both. On CPU both run in two processes, each pinned to one core: with JAX as it is by itself (stock), and as the runner
configures it (suite).

The cores (CPU only): the suite's loop in three processes that take turns: pinned to one core; on one device of plain
JAX, which hands small operations to a pool of threads; and with the environments spread over one device per core.

    python -m benchmarks.env_stepping --json env_stepping.json
"""

import contextlib
import dataclasses
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jaxmarl_envs
from jax.sharding import PartitionSpec
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._loops import bare_loop, compiled, our_loop, scanned
from benchmarks._tables import Column, Row, Table, number, plain

TARGET_FLOOR, TARGET_CORES = 1.5, 1.8
FLOOR_MODES = ("stock", "suite")
"""JAX as it is by itself, and as the runner configures it."""


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures steps/s of random play: ours and bare, one core and all."""

    ids: tuple[str, ...] = ()
    """Environment ids; all listed matrix and hallway ids if empty."""
    num_envs: int = 256
    """E, environments stepped together."""
    steps: int = 4000
    """Steps of each environment in one timed call."""
    repetitions: int = 15
    """Timed calls of each loop, alternating."""
    cores: tuple[str, ...] = ("hallway/4-4",)
    """Environment ids that are measured on one core and on all."""
    core_envs: tuple[int, ...] = (256, 4096)
    """Numbers of environments there: few enough to be stepped by one compiled function, and more than that."""
    core_steps: int = 40_000_000
    """Steps of all environments in one timed call there: long enough that starting the devices does not matter."""
    floor: bool = True
    """Measure against the bare dynamics."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.num_envs, self.steps, self.core_steps, self.repetitions, *self.core_envs) < 1:
            raise ValueError("num_envs, steps, core_envs, core_steps and repetitions must be positive")


def measure(env_id: str, num_envs: int, steps: int, repetitions: int) -> Row:
    """Medians of both loops' steps/s for one environment, and what they earned: the same game, by the same rules."""
    env = jaxmarl_envs.make(env_id)
    pairs = {"ours": our_loop(env, num_envs), "bare": bare_loop(env, num_envs)}
    loops = {name: compiled(*pair, num_envs, steps) for name, pair in pairs.items()}
    times: dict[str, list[_common.Spent]] = {name: [] for name in loops}
    result: Row = {"id": env_id, "num_envs": num_envs}
    for name, (start, _) in pairs.items():
        carried = jax.tree.leaves(jax.eval_shape(start, seed_key(0)))
        result[f"{name}_bytes"] = sum(leaf.size * leaf.dtype.itemsize for leaf in carried) / num_envs
    for repetition in range(repetitions + 1):
        key = seed_key(repetition)
        for name, loop in loops.items():
            with _common.stopwatch() as spent:
                _, total, episodes = jax.block_until_ready(loop(key))
            times[name].append(spent)
            result[f"{name}_reward_per_step"] = float(total.mean()) / steps
            result[f"{name}_episode_length"] = num_envs * steps / max(int(episodes.sum()), 1)
    for name, (_, *warm) in times.items():
        wall = statistics.median(spent.wall for spent in warm)
        cpu = statistics.median(spent.cpu for spent in warm)
        result |= {f"{name}_steps_per_s": num_envs * steps / wall, f"{name}_wall_seconds": wall}
        result |= {f"{name}_cpu_seconds": cpu}
    # Neighboring calls are compared with each other: other work on the machine comes and goes more slowly.
    result["ratio"] = statistics.median(o.wall / b.wall for o, b in zip(times["ours"][1:], times["bare"][1:]))
    return result


def measure_floor(ids: Sequence[str], sizes: Row, platform: str) -> list[Row]:
    """`measure` of every id in every mode, each mode in a process of its own; accelerators know one mode."""
    rows = []
    with contextlib.ExitStack() as stack:
        workers = {}
        for mode in FLOOR_MODES if platform == "cpu" else ("suite",):
            task = {"kind": "floor", "mode": mode, "is_pinned": platform == "cpu", "sizes": sizes}
            environment = _processes.child_environment(keep_flags=False, JAXMARL_SUITE_CACHE="off")
            workers[mode] = stack.enter_context(_processes.Worker("benchmarks.env_stepping", task, environment))
        for env_id in ids:
            print(f"{env_id} ...", file=sys.stderr, flush=True)
            rows += [worker.ask({"id": env_id}) | {"mode": mode} for mode, worker in workers.items()]
    return rows


CORE_MODES = {"one core": 1, "one device": 1, "all cores": None}
"""What is compared, with its number of devices: None for one per core."""


def spread_loop(env_id: str, num_envs: int, steps: int) -> Callable[[jax.Array], Any]:
    """The suite's loop over all devices, an independent part of the environments on each; compiled."""
    devices = jax.device_count()
    if num_envs % devices:
        raise ValueError(f"num_envs must be a multiple of the {devices} devices, got {num_envs}")
    start, step = our_loop(jaxmarl_envs.make(env_id), num_envs // devices)
    loop = scanned(start, step, num_envs // devices, steps)
    mesh = jax.make_mesh((devices,), ("env",), axis_types=(jax.sharding.AxisType.Auto,))

    def part(key: jax.Array) -> Any:
        return loop(jax.random.fold_in(key, jax.lax.axis_index("env")))

    spec = PartitionSpec("env")
    spread = jax.shard_map(part, mesh=mesh, in_specs=PartitionSpec(), out_specs=spec, check_vma=False)
    return jax.jit(spread).lower(seed_key(0)).compile()


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """What answers the requests for a kind of task."""
    if task["kind"] == "hardware":
        return lambda _: _common.hardware()
    return _start_floor(task) if task["kind"] == "floor" else _start_cores(task)


def _start_floor(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Configures this process for a mode; each request is one environment."""
    from jaxmarl_suite.runner import configure

    if task["is_pinned"]:
        _processes.pin()
    if task["mode"] == "suite":
        configure(1)
    return lambda request: measure(request["id"], **task["sizes"])


def _start_cores(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Configures this process for a mode; each request is one timed call."""
    from jaxmarl_suite.runner import configure

    if task["mode"] == "one core":
        _processes.pin()
    if task["mode"] != "one device":
        configure(CORE_MODES[task["mode"]])
    loop = spread_loop(task["id"], task["num_envs"], task["steps"])

    def answer(request: dict[str, Any]) -> Row:
        key = seed_key(request["repetition"])
        with _common.stopwatch() as spent:
            jax.block_until_ready(loop(key))
        return {"wall": spent.wall, "cpu": spent.cpu, "devices": jax.device_count()}

    return answer


def measure_cores(env_id: str, num_envs: int, steps: int, repetitions: int) -> list[Row]:
    """One row per mode of `CORE_MODES`: medians of steps/s over calls that alternate between processes."""
    times: dict[str, list[Row]] = {mode: [] for mode in CORE_MODES}
    with contextlib.ExitStack() as stack:
        workers = {}
        for mode in CORE_MODES:
            task = {"kind": "cores", "mode": mode, "id": env_id, "num_envs": num_envs, "steps": steps}
            environment = _processes.child_environment(keep_flags=False, JAX_PLATFORMS="cpu")
            workers[mode] = stack.enter_context(_processes.Worker("benchmarks.env_stepping", task, environment))
        for repetition in range(repetitions + 1):
            for mode, worker in workers.items():
                times[mode].append(worker.ask({"repetition": repetition}))
    rows = []
    for mode, (_, *warm) in times.items():
        wall = statistics.median(t["wall"] for t in warm)
        rows.append(
            {
                "id": env_id,
                "num_envs": num_envs,
                "mode": mode,
                "devices": warm[0]["devices"],
                "steps_per_s": num_envs * steps / wall,
                "ratio_to_one_core": statistics.median(
                    a["wall"] / b["wall"] for a, b in zip(times["one core"][1:], warm)
                ),
                "wall_seconds": wall,
                "cpu_seconds": statistics.median(t["cpu"] for t in warm),
                "cores_busy": statistics.median(t["cpu"] / t["wall"] for t in warm),
            }
        )
    return rows


def floor_table(rows: list[Row]) -> Table:
    """Ours beside bare; the modes of an environment in one line."""
    modes = [mode for mode in FLOOR_MODES if any(row["mode"] == mode for row in rows)]
    shown: dict[tuple[str, int], Row] = {}
    for row in rows:
        line = shown.setdefault((row["id"], row["num_envs"]), dict(row))
        line |= {f"{row['mode']} {name}": row[name] for name in ("ours_steps_per_s", "bare_steps_per_s", "ratio")}
    columns = [Column("environment", plain("id"))]
    for mode in modes:
        columns += [
            Column(f"{mode}: ours, steps/s", number(f"{mode} ours_steps_per_s")),
            Column(f"{mode}: bare, steps/s", number(f"{mode} bare_steps_per_s")),
            Column(f"{mode}: time ratio", number(f"{mode} ratio", ".2f")),
        ]
    columns += [
        Column("ours, bytes", number("ours_bytes")),
        Column("bare, bytes", number("bare_bytes")),
        Column("ours, reward/step", number("ours_reward_per_step", ".4f")),
        Column("bare, reward/step", number("bare_reward_per_step", ".4f")),
    ]
    key = ("id", "num_envs", "mode")
    return Table("stepping", rows, tuple(columns), key, "ours_steps_per_s", shown=tuple(shown.values()))


def floor_targets(rows: list[Row]) -> list[Row]:
    """On CPU, what a learner reads may cost half of the bare dynamics; a line for the costliest environment of a mode."""
    found = []
    for mode in FLOOR_MODES:
        worst = max((row for row in rows if row["mode"] == mode), key=lambda row: row["ratio"])
        name = f"time over the bare dynamics, {mode}, at worst ({worst['id']})"
        found.append(_common.target(name, worst["ratio"], TARGET_FLOOR, at_most=True))
    return found


def cores_table(rows: list[Row]) -> Table:
    """One core beside all."""
    columns = (
        Column("environment", plain("id")),
        Column("environments", plain("num_envs")),
        Column("mode", plain("mode")),
        Column("devices", plain("devices")),
        Column("steps/s", number("steps_per_s")),
        Column("x one core", number("ratio_to_one_core", ".2f")),
        Column("cores busy", number("cores_busy", ".2f")),
        Column("wall s", number("wall_seconds", ".3f")),
        Column("CPU s", number("cpu_seconds", ".3f")),
    )
    return Table("cores", rows, columns, ("id", "num_envs", "mode"), "steps_per_s")


def main(args: Args) -> dict[str, Any]:
    ids = args.ids or tuple(i for i in jaxmarl_envs.available() if i.split("/")[0] in ("matrix", "hallway"))
    for env_id in (*ids, *args.cores):  # a mistake is told at once
        jaxmarl_envs.make(env_id)
    old = _common.begin("env_stepping", args)
    # Asked of another process: this one holds no accelerator while others measure.
    environment = _processes.child_environment(keep_flags=False)
    with _processes.Worker("benchmarks.env_stepping", {"kind": "hardware"}, environment) as worker:
        found = worker.ask({})
    is_cpu = found["platform"] == "cpu"
    tables, targets = [], []
    if args.floor:
        sizes = {"num_envs": args.num_envs, "steps": args.steps, "repetitions": args.repetitions}
        rows = measure_floor(ids, sizes, found["platform"])
        tables.append(floor_table(rows))
        targets += floor_targets(rows) if is_cpu else []
    if args.cores and is_cpu and hasattr(os, "sched_setaffinity") and found["usable_cores"] > 1:
        rows = []
        for env_id in args.cores:
            print(f"{env_id}, one core and all ...", file=sys.stderr, flush=True)
            for num_envs in args.core_envs:
                rows += measure_cores(env_id, num_envs, max(1, args.core_steps // num_envs), args.repetitions)
        tables.append(cores_table(rows))
        targets += [
            _common.target(
                f"{r['num_envs']} of {r['id']}, {r['devices']} cores over one", r["ratio_to_one_core"], TARGET_CORES
            )
            for r in rows
            if r["mode"] == "all cores"
        ]
    elif args.cores:
        print("cores are compared on a CPU of several cores, on Linux only", file=sys.stderr)
    return _common.finish("env_stepping", args, found, tables, targets, old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
