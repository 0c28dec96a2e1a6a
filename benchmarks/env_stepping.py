"""Environment stepping: against its floor (the bare dynamics), and on all cores against one.

The floor: two jitted scans of random play. The bare loop is written by hand for the batch: one draw of all actions, the
rules, the restarts that the rules need, and the sums of rewards and episodes; it builds no observation, no mask and no
global state. The suite's loop carries everything a learner reads. Repetitions alternate, so that a busy machine slows
both.

The cores (CPU only): the suite's loop in three processes that take turns: pinned to one core; on one device of plain
JAX, which hands small operations to a pool of threads; and with the environments spread over one device a core.

    python -m benchmarks.env_stepping --json env_stepping.json
"""

import contextlib
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jax.sharding import PartitionSpec
from jaxmarl_envs.hallway import Hallway
from jaxmarl_envs.matrix import MatrixGame

from benchmarks import _common
from benchmarks._common import Column, Row, Table, number, plain

Carry = Any
TARGET_CORES = 1.8


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures steps/s of random play: ours and bare, one core and all."""

    ids: tuple[str, ...] = ()
    """Environment ids; all listed matrix and hallway ids if empty."""
    num_envs: int = 256
    """E, environments stepped together."""
    steps: int = 1000
    """Steps of each environment in one timed call."""
    repetitions: int = 15
    """Timed calls of each loop, alternating."""
    cores: tuple[str, ...] = ("hallway/4-4",)
    """Environment ids that are measured on one core and on all."""
    core_envs: tuple[int, ...] = (256, 4096)
    """Numbers of environments there: half of a small batch takes more than half of its time."""
    core_steps: int = 5_000_000
    """Steps of all environments in one timed call there: long enough that starting the devices does not matter."""
    floor: bool = True
    """Measure against the bare dynamics."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.num_envs, self.steps, self.core_steps, self.repetitions, *self.core_envs) < 1:
            raise ValueError("num_envs, steps, core_envs, core_steps and repetitions must be positive")


def random_actions(key: jax.Array, shape: tuple[int, ...], num_actions: int) -> jax.Array:
    """Uniform actions from one draw of bits; the same in both loops. Flat: short last axes do not vectorise."""
    return jaxmarl_envs.uniform_index(key, num_actions, (math.prod(shape),)).reshape(shape)


def our_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the suite's loop."""
    vector, spec = jaxmarl_envs.VectorEnv(env, num_envs), env.spec

    def start(key: jax.Array) -> Carry:
        return vector.reset(key, env.default_params)

    def step(key: jax.Array, state: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        action_key, step_key = jax.random.split(key)
        action = random_actions(action_key, (num_envs, spec.n_agents), spec.num_actions)
        state = vector.step(step_key, state, action, env.default_params)
        return state, state.timestep.reward[:, 0], state.timestep.done

    return start, step


def bare_loop(env: jaxmarl_envs.Environment, num_envs: int) -> tuple[Callable, Callable]:
    """`(start, step)` of the same rules written for the batch, and nothing else."""
    game = getattr(env, "unwrapped", env)
    if isinstance(game, Hallway):
        return _bare_hallway(game, num_envs, env.spec.episode_limit)
    assert isinstance(game, MatrixGame)
    n, a = game.n_agents, game.num_actions
    payoff = jnp.asarray(game.default_params.payoff)
    successor = jnp.asarray(game.default_params.successor)
    strides = a ** np.arange(n)[::-1]

    def play(key: jax.Array) -> jax.Array:
        action = random_actions(key, (num_envs, n), a)
        return sum(action[:, i] * int(strides[i]) for i in range(n))

    if game.start is None:  # contexts: every step ends and draws the next game

        def start(key: jax.Array) -> Carry:
            return random_actions(key, (num_envs,), game.n_stages)

        def step(key: jax.Array, context: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            action_key, reset_key = jax.random.split(key)
            return start(reset_key), payoff[context, play(action_key)], jnp.ones(num_envs, bool)

    elif successor.shape[1] == 1:  # the same game, n_stages times
        length = game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.zeros(num_envs if length > 1 else 0, jnp.int32)

        def step(key: jax.Array, t: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            reward = payoff[0, play(key)]
            if length == 1:
                return t, reward, jnp.ones(num_envs, bool)
            done = t + 1 >= length
            return jnp.where(done, 0, t + 1), reward, done

    else:  # stages, and perhaps a time limit
        limit, end = env.spec.episode_limit, game.n_stages

        def start(key: jax.Array) -> Carry:
            return jnp.full(num_envs, game.start, jnp.int32), jnp.zeros(num_envs, jnp.int32)

        def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
            (stage, t), joint = carry, play(key)
            reward, stage, t = payoff[stage, joint], successor[stage, joint], t + 1
            done = (stage >= end) | (t >= limit)
            return (jnp.where(done, game.start, stage), jnp.where(done, 0, t)), reward, done

    return start, step


def _bare_hallway(game: Hallway, num_envs: int, limit: int) -> tuple[Callable, Callable]:
    lengths = jnp.array(game.lengths)

    def cells(key: jax.Array) -> jax.Array:
        joint = jaxmarl_envs.uniform_index(key, math.prod(game.lengths), (num_envs,))
        return 1 + jnp.stack(jnp.unravel_index(joint, game.lengths), axis=-1)

    def start(key: jax.Array) -> Carry:
        return cells(key), jnp.zeros(num_envs, jnp.int32)

    def step(key: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, jax.Array]:
        x, t = carry
        action_key, reset_key = jax.random.split(key)
        action = random_actions(action_key, x.shape, 3)
        x = jnp.clip(x + (action == 2) - (action == 1), 0, lengths)
        home, t = x == 0, t + 1
        done = home.any(axis=1) | (t >= limit)
        reward = jnp.where(home.all(axis=1), 10.0, 0.0)
        return (jnp.where(done[:, None], cells(reset_key), x), jnp.where(done, 0, t)), reward, done

    return start, step


def scanned(start: Callable, step: Callable, num_envs: int, steps: int) -> Callable:
    """`key -> (carry, sum of rewards [E], number of episodes [E])` after `steps` steps."""

    def run(key: jax.Array) -> tuple[Carry, jax.Array, jax.Array]:
        start_key, scan_key = jax.random.split(key)

        def body(carry: Carry, _: None) -> tuple[Carry, None]:
            key, inner, total, episodes = carry
            key, step_key = jax.random.split(key)
            inner, reward, done = step(step_key, inner)
            return (key, inner, total + reward, episodes + done), None

        zeros = jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32)
        (_, inner, total, episodes), _ = jax.lax.scan(body, (scan_key, start(start_key), *zeros), None, steps)
        return inner, total, episodes

    return run


def compiled(start: Callable, step: Callable, num_envs: int, steps: int) -> Callable:
    """`scanned` as one program."""
    return jax.jit(scanned(start, step, num_envs, steps)).lower(jax.random.key(0)).compile()


def measure(env_id: str, num_envs: int, steps: int, repetitions: int) -> Row:
    """Medians of both loops' steps/s for one environment, and what they earned: the same game, by the same rules."""
    env = jaxmarl_envs.make(env_id)
    loops = {
        "ours": compiled(*our_loop(env, num_envs), num_envs, steps),
        "bare": compiled(*bare_loop(env, num_envs), num_envs, steps),
    }
    times: dict[str, list[_common.Spent]] = {name: [] for name in loops}
    result: Row = {"id": env_id, "num_envs": num_envs}
    for repetition in range(repetitions + 1):
        key = jax.random.key(repetition)
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
    # Neighbouring calls are compared with each other: other work on the machine comes and goes more slowly.
    result["ratio"] = statistics.median(o.wall / b.wall for o, b in zip(times["ours"][1:], times["bare"][1:]))
    return result


CORE_MODES = {"one core": 1, "one device": 1, "all cores": None}
"""What is compared, with its number of devices: None for one a core."""


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
    return jax.jit(spread).lower(jax.random.key(0)).compile()


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Row]:
    """Configures this process for a mode; each request is one timed call."""
    from jaxmarl_suite.runner import configure

    if task["mode"] == "one core":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX counts cores and starts threads
    configure(CORE_MODES[task["mode"]])
    loop = spread_loop(task["id"], task["num_envs"], task["steps"])

    def answer(request: dict[str, Any]) -> Row:
        key = jax.random.key(request["repetition"])
        with _common.stopwatch() as spent:
            jax.block_until_ready(loop(key))
        return {"wall": spent.wall, "cpu": spent.cpu, "devices": jax.device_count()}

    return answer


def measure_cores(env_id: str, num_envs: int, steps: int, repetitions: int) -> list[Row]:
    """A row a mode of `CORE_MODES`: medians of steps/s over calls that alternate between processes."""
    times: dict[str, list[Row]] = {mode: [] for mode in CORE_MODES}
    with contextlib.ExitStack() as stack:
        workers = {}
        for mode in CORE_MODES:
            task = {"mode": mode, "id": env_id, "num_envs": num_envs, "steps": steps}
            # Only "one device" is JAX as it is by itself; the others are as the runner configures them.
            environment = _common.child_environment(is_stock=mode == "one device", JAX_PLATFORMS="cpu")
            environment.pop("JAX_NUM_CPU_DEVICES", None)
            if mode != "one device":
                environment["XLA_FLAGS"] = ""
            workers[mode] = stack.enter_context(_common.Worker("benchmarks.env_stepping", task, environment))
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
    """Ours beside bare."""
    columns = (
        Column("environment", plain("id")),
        Column("ours, steps/s", number("ours_steps_per_s")),
        Column("bare, steps/s", number("bare_steps_per_s")),
        Column("time ratio", number("ratio", ".2f")),
        Column("ours, CPU s", number("ours_cpu_seconds", ".3f")),
        Column("bare, CPU s", number("bare_cpu_seconds", ".3f")),
        Column("ours, reward/step", number("ours_reward_per_step", ".4f")),
        Column("bare, reward/step", number("bare_reward_per_step", ".4f")),
    )
    return Table("stepping", rows, columns, ("id", "num_envs"), "ours_steps_per_s")


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
    old = _common.begin("env_stepping", args)
    found = _common.hardware()
    tables, targets = [], []
    if args.floor:
        rows = []
        for env_id in ids:
            print(f"{env_id} ...", file=sys.stderr, flush=True)
            rows.append(measure(env_id, args.num_envs, args.steps, args.repetitions))
        tables.append(floor_table(rows))
    if args.cores and found["platform"] == "cpu" and hasattr(os, "sched_setaffinity") and found["usable_cores"] > 1:
        rows = []
        for env_id in args.cores:
            print(f"{env_id}, one core and all ...", file=sys.stderr, flush=True)
            for num_envs in args.core_envs:
                rows += measure_cores(env_id, num_envs, max(1, args.core_steps // num_envs), args.repetitions)
        tables.append(cores_table(rows))
        targets = [
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
    if _common.is_worker():
        _common.serve(_start_worker)
    else:
        _common.run_script(main, Args)
