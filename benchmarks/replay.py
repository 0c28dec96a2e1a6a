"""Replay: Q-learning updates/s, environment steps/s and memory for several capacities and numbers of seeds.

Replay lies in the learner's state, inside the compiled program. If it is written in place, an update takes as long with a
large one as with a small one, and the chunk needs what its arguments hold plus one lane's copy a device. One process;
repetitions of the settings alternate. A second table says what a stored step takes: whole transitions against the store.

    python -m benchmarks.replay --json replay.json
"""

import dataclasses
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures Q-learning with replays of several sizes."""

    algorithm: str = "qmix"
    """A method with replay."""
    env: str = "hallway/4-4"
    """What it plays."""
    capacities: tuple[int, ...] = (500, 5_000, 50_000)
    """Sequences in a replay."""
    seeds: tuple[int, ...] = (1, 8)
    """Seeds that train together."""
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further settings of the algorithm, as pairs FIELD VALUE."""
    repetitions: int = 5
    """Timed chunks of each setting, alternating."""
    seconds: float = 1.0
    """About how long a chunk lasts."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(*self.capacities, *self.seeds, self.repetitions) < 1 or self.seconds <= 0:
            raise ValueError("capacities, seeds, repetitions and seconds must be positive")


def measure(
    algorithm: str,
    env: str,
    capacities: tuple[int, ...],
    seeds: tuple[int, ...],
    settings: dict[str, str],
    repetitions: int,
    seconds: float,
) -> list[Row]:
    """A row a capacity and number of seeds."""
    import jax

    from benchmarks.training import Bench

    rows: list[Row] = []
    for count in seeds:
        benches: list[tuple[Row, Bench, int]] = []
        for capacity in capacities:
            bench = Bench(algorithm, env, {**settings, "capacity": str(capacity)}, count, "auto")
            if bench.lanes < count:
                raise ValueError(f"{count} seeds with a capacity of {capacity:,} do not fit into memory at once")
            bench.begin(0)
            bench.run(200)  # past the first sequences, with which nothing is learned yet
            memory = bench.program.memory
            size = sum(x.nbytes for x in jax.tree.leaves(bench.state.replay))
            row: Row = {
                "algorithm": algorithm,
                "env": env,
                "capacity": capacity,
                "seeds": count,
                "replay_bytes": size,
                "chunk_bytes": memory["total"] * bench.devices,
                "aliased_bytes": memory["aliased"] * bench.devices,
                "temporary_bytes": memory["temporaries"] * bench.devices,
            }
            benches.append((row, bench, bench.updates_for(seconds)))
        times: list[list[float]] = [[] for _ in benches]
        for _ in range(repetitions):
            for own, (_, bench, updates) in zip(times, benches):
                own.append(bench.run(updates).wall / updates)
        for own, (row, bench, _) in zip(times, benches):
            per_update = bench.program.phase.algorithm.env_steps_per_update
            speed = count / statistics.median(own)
            small = statistics.median(a / b for a, b in zip(times[0], own))
            rows.append(row | {"updates_per_s": speed, "env_steps_per_s": speed * per_update, "ratio": small})
    return rows


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a method stores of one environment's steps."""

    algorithm: str
    like: str
    """The environment whose sizes these are."""
    agents: int
    obs: int
    state: int
    """Entries of the global state; 0 where none is stored."""
    actions: int
    """Discrete actions, each with a mask; 0 where actions are continuous."""
    action_entries: int
    num_envs: int
    block_length: int
    steps: int
    """Capacity of one environment."""
    episode_limit: int
    memory: int = 0
    """Entries of an agent's recurrent memory."""


SIZES = (
    Sizes("vdn", "smax/3m", 3, 75, 72, 8, 0, 16, 32, 4000, 101, memory=64),
    Sizes("td3", "mabrax/halfcheetah", 1, 17, 0, 0, 6, 1, 50, 100_000, 1000),
)


def stored_bytes(sizes: Sizes) -> Row:
    """Bytes per stored step: whole transitions with next observations of their own, and the store of experience."""
    import jax
    import jax.numpy as jnp

    from jaxmarl_suite.replay import Block, StoreLayout, bytes_per_step, new_store

    n, lead = sizes.agents, (sizes.num_envs, sizes.block_length)
    real, whole = jnp.float32, jnp.int32

    def of(*shape: int, dtype: Any = real, lead: tuple[int, ...] = lead) -> Any:
        return jax.ShapeDtypeStruct((*lead, *shape), dtype)

    def observed(lead: tuple[int, ...] = lead) -> dict[str, Any]:
        found = {"obs": of(n, sizes.obs, lead=lead), "state": of(sizes.state, lead=lead)}
        return found | {"mask": of(n, sizes.actions, dtype=bool, lead=lead)}

    steps = {"action": of(n, dtype=whole), "reward": of(n), "start": of(dtype=bool), "weight": of()}
    if not sizes.actions:
        steps = {"action": of(n, sizes.action_entries), "reward": of()}
    ends = {"terminated": of(dtype=bool), "truncated": of(dtype=bool)}
    by_env = lead[:1]
    start: Any = ()
    if sizes.memory:
        start = {"hidden": of(n, sizes.memory, lead=by_env), "last_action": of(n, dtype=whole, lead=by_env)}
    before = (steps, observed(), observed(), ends["terminated"], () if sizes.actions else ends["truncated"], start)
    transitions = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(before)) / (lead[0] * lead[1])
    layout = StoreLayout(
        num_envs=sizes.num_envs,
        num_blocks=sizes.steps // sizes.block_length,
        block_length=sizes.block_length,
        episode_limit=sizes.episode_limit,
    )
    block = Block(steps, observed(), observed(by_env), observed(), **ends, start=start)
    stored = bytes_per_step(layout, jax.eval_shape(lambda: new_store(layout, block)))
    return {
        "algorithm": sizes.algorithm,
        "env": sizes.like,
        "block_length": sizes.block_length,
        "capacity": layout.num_envs * layout.capacity,
        "transition_bytes": transitions,
        "stored_bytes": stored,
        "share": stored / transitions,
        "steps_per_gib": 2**30 / stored,
    }


def bytes_table_of(rows: list[Row]) -> Table:
    """How the bytes are shown; steps per GiB are compared."""
    columns = (
        Column("algorithm", plain("algorithm")),
        Column("sizes of", plain("env")),
        Column("block", number("block_length")),
        Column("steps", number("capacity")),
        Column("bytes/step as transitions", number("transition_bytes")),
        Column("bytes/step in the store", number("stored_bytes")),
        Column("share", number("share", ".2f")),
    )
    return Table("replay-bytes", rows, columns, ("algorithm", "env", "block_length"), "steps_per_gib")


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()
    return lambda _: {
        "hardware": _common.hardware(),
        "rows": measure(**task),
        "bytes": [stored_bytes(sizes) for sizes in SIZES],
    }


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("algorithm", plain("algorithm")),
        Column("environment", plain("env")),
        Column("seeds", plain("seeds")),
        Column("capacity", number("capacity")),
        Column("updates/s", number("updates_per_s", ",.1f")),
        Column("env steps/s", number("env_steps_per_s")),
        Column("x smallest", number("ratio", ".2f")),
        Column("replay MiB", number("replay_bytes", ",.1f", 2**-20)),
        Column("chunk MiB", number("chunk_bytes", ",.1f", 2**-20)),
        Column("in place MiB", number("aliased_bytes", ",.1f", 2**-20)),
        Column("temporaries MiB", number("temporary_bytes", ",.1f", 2**-20)),
    )
    return Table("replay", rows, columns, ("algorithm", "env", "seeds", "capacity"), "updates_per_s")


def main(args: Args) -> dict[str, Any]:
    import jaxmarl_envs

    from benchmarks.training import config_of

    jaxmarl_envs.make(args.env)
    for capacity in args.capacities:
        config_of(args.algorithm, {**args.settings, "capacity": str(capacity)})
    old = _common.begin("replay", args)
    load = _common.machine()
    print(f"{args.algorithm} on {args.env} ...", file=sys.stderr, flush=True)
    names = ("algorithm", "env", "capacities", "seeds", "settings", "repetitions", "seconds")
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.replay", {name: getattr(args, name) for name in names}, environment) as worker:
        answer = worker.ask({})
    tables = [table_of(answer["rows"]), bytes_table_of(answer["bytes"])]
    return _common.finish("replay", args, answer["hardware"] | load, tables, old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
