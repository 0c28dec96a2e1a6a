"""Training throughput: updates/s summed over seeds, compile seconds and memory, through the runner's own programs.

Each algorithm and mode has a process of its own, in which nothing is read from or written to the cache of compiled
programs: compile seconds are those of a first start. Repetitions of the different numbers of seeds alternate.

    python -m benchmarks.training --modes default vmap-one-device map-one-device --json training.json
"""

import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

HORIZON = 1_000_000
"""Updates that schedules believe the training to have; no measurement comes near its end."""
TARGET_SEEDS, TARGET_RATIO = (8, 64), 1.5


class Mode(NamedTuple):
    """How lanes are run."""

    lane_mode: str
    """`TrainOptions.lane_mode`."""
    is_stock: bool
    """One host device whose operations use all cores, as JAX is by itself; otherwise what the runner configures."""


MODES = {
    "default": Mode("auto", False),
    "vmap-one-device": Mode("vmap", True),
    "map-one-device": Mode("map", True),
    "vmap": Mode("vmap", False),
    "envs": Mode("envs", False),
}
ModeName = Literal["default", "vmap-one-device", "map-one-device", "vmap", "envs"]


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures training with several numbers of seeds."""

    algorithms: tuple[str, ...] = ()
    """Algorithms; if empty, all registered ones that can play the environments."""
    envs: tuple[str, ...] = ("matrix/climbing",)
    """Environment ids, for example matrix/climbing hallway/4-4."""
    seeds: tuple[int, ...] = (1, 8, 64)
    """Numbers of seeds that train together; 1 is always measured, as all others are compared with it."""
    modes: tuple[ModeName, ...] = ("default",)
    """How lanes run: the runner's default; naive `vmap` or `map` on one device of plain JAX; `vmap` on all devices;
    environments spread over the devices."""
    set: tuple[str, ...] = ()
    """Settings of the algorithms, as FIELD=VALUE."""
    repetitions: int = 7
    """Timed repetitions."""
    seconds: float = 1.0
    """About how long one repetition lasts."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if not self.envs or not self.modes:
            raise ValueError("envs and modes need at least one value")
        if any(seeds < 1 for seeds in self.seeds) or self.repetitions < 1 or self.seconds <= 0:
            raise ValueError("seeds, repetitions and seconds must be positive")
        if bad := [s for s in self.set if "=" not in s]:
            raise ValueError(f"settings are FIELD=VALUE, got {bad[0]!r}")

    @property
    def settings(self) -> dict[str, str]:
        """Settings by field."""
        return dict(entry.split("=", 1) for entry in self.set)


def config_of(algorithm: str, settings: Mapping[str, str]) -> Any:
    """The config that a training of the algorithm starts from, with settings.

    Raises:
      ValueError: for an unknown algorithm, or a setting that it does not have.
    """
    from jaxmarl_suite.runner import Experiment, coerce

    base = Experiment(algorithm, "").base_config
    return dataclasses.replace(base, **coerce(base, settings))


class Bench:
    """One number of seeds: the runner's programs, and a training to time them on."""

    def __init__(self, algorithm: str, env: str, settings: Mapping[str, str], seeds: int, lane_mode: str) -> None:
        """Compiles everything that the runner compiles before a training."""
        import jax.numpy as jnp

        from jaxmarl_suite.runner import Experiment, TrainOptions, choose_wave
        from jaxmarl_suite.runner._lanes import lane_context, pad_lanes

        config = config_of(algorithm, settings)
        options = TrainOptions(total_steps=10**9, seeds=seeds, lane_mode=lane_mode)
        (group,) = Experiment(algorithm, env, config, options=options).groups()
        with _common.stopwatch() as self.compiling:
            self.lanes, self.programs, placement = choose_wave(group, options)
        padded, _ = pad_lanes(list(group.lanes[: self.lanes]), options, self.programs[0].lanes)
        self.lane_seeds = jnp.asarray([lane.seed for lane in padded], jnp.int32)
        self.context = lane_context(padded, HORIZON)
        self.mode, self.devices = placement.mode, placement.mesh.size
        self.state: Any = None

    def begin(self, phase: int) -> None:
        """Starts a phase from where the one before stands."""
        from jaxmarl_suite.runner._programs import phase_keys

        handed = None if self.state is None else self.program.hand_on(self.state)
        self.program = self.programs[phase]
        self.state = self.program.begin(handed, phase_keys(self.lane_seeds, phase), self.context)
        self.totals = self.program.fresh_totals()
        self.clock = 0

    def run(self, updates: int) -> _common.Spent:
        """Seconds that so many more updates of every lane take."""
        import jax
        import jax.numpy as jnp

        bounds = jnp.asarray(self.clock, jnp.int32), jnp.asarray(self.clock + updates, jnp.int32)
        with _common.stopwatch() as spent:
            self.state, self.totals = jax.block_until_ready(
                self.program.chunk(self.state, self.totals, self.context, *bounds)
            )
        self.clock += updates
        return spent

    def updates_for(self, seconds: float) -> int:
        """Updates that last about `seconds`, after warming up."""
        updates = 1
        self.run(updates)
        while (spent := self.run(updates)).wall < seconds / 8:
            updates *= 2
        return max(1, math.ceil(updates * seconds / max(spent.wall, 1e-9)))

    @property
    def is_finite(self) -> bool:
        """Whether all metrics were finite so far."""
        import jax

        return all(bool((first < 0).all()) for first in jax.device_get(self.totals.first_bad).values())


def measure(
    algorithm: str,
    env: str,
    seeds: Sequence[int],
    *,
    mode: str = "default",
    settings: Mapping[str, str] | None = None,
    repetitions: int = 7,
    seconds: float = 1.0,
) -> list[Row]:
    """A row per phase and number of seeds, measured in this process."""
    seeds = sorted({1, *seeds})
    benches, rss = [], []
    for count in seeds:
        bench = Bench(algorithm, env, settings or {}, count, MODES[mode].lane_mode)
        bench.begin(0)
        bench.run(1)
        benches.append(bench)
        rss.append(_common.peak_rss())  # before any larger number of seeds
    rows = []
    for index in range(len(benches[0].programs)):
        if index:
            for bench in benches:
                bench.begin(index)
        updates = [bench.updates_for(seconds) for bench in benches]
        times = [[bench.run(n) for bench, n in zip(benches, updates)] for _ in range(repetitions)]
        rates = [[b.lanes * n / spent.wall for b, n, spent in zip(benches, updates, line)] for line in times]
        for i, (count, bench) in enumerate(zip(seeds, benches)):
            phase = bench.program.phase
            rate, steps = [line[i] for line in rates], phase.algorithm.env_steps_per_update
            walls = [line[i].wall for line in times]
            rows.append(
                {
                    "algorithm": algorithm,
                    "env": env,
                    "settings": " ".join(f"{k}={v}" for k, v in (settings or {}).items()),
                    "phase": phase.name,
                    "mode": mode,
                    "seeds": count,
                    "lanes_at_once": bench.lanes,
                    "lane_mode": bench.mode,
                    "devices": bench.devices,
                    "updates_per_s": statistics.median(rate),
                    "best_updates_per_s": max(rate),
                    "env_steps_per_s": statistics.median(rate) * steps,
                    "env_steps_per_update": steps,
                    # Of neighboring repetitions: other work on the machine comes and goes more slowly.
                    "ratio_to_one_seed": statistics.median(line[i] / line[0] for line in rates),
                    "updates_a_repetition": updates[i],
                    "repetitions": repetitions,
                    "wall_seconds": statistics.median(walls),
                    "cpu_seconds": statistics.median(line[i].cpu for line in times),
                    "cores_busy": statistics.median(line[i].cpu / line[i].wall for line in times),
                    "compile_wall_seconds": bench.compiling.wall,
                    "compile_cpu_seconds": bench.compiling.cpu,
                    "chunk_bytes": bench.program.memory["total"] * bench.devices,
                    "peak_rss_bytes": rss[i],
                    "peak_device_bytes": _device_peak(),
                    "is_finite": bench.is_finite,
                }
            )
    return rows


def _device_peak() -> int | None:
    import jax

    stats = [s for device in jax.local_devices() if (s := device.memory_stats()) and "peak_bytes_in_use" in s]
    return sum(s["peak_bytes_in_use"] for s in stats) if stats else None


def _start_worker(task: dict[str, Any]) -> Any:
    """Configures this process, unless JAX is to be as it is, and answers a request with rows and the machine."""
    from jaxmarl_suite.runner import configure

    if not MODES[task["mode"]].is_stock:
        configure()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        found = _common.hardware()
        return {"hardware": found, "rows": measure(**task)}

    return answer


def _in_process(args: Args, algorithm: str, env: str, mode: ModeName) -> dict[str, Any]:
    task = {
        "algorithm": algorithm,
        "env": env,
        "seeds": args.seeds,
        "mode": mode,
        "settings": args.settings,
        "repetitions": args.repetitions,
        "seconds": args.seconds,
    }
    environment = _processes.child_environment(keep_flags=not MODES[mode].is_stock, JAXMARL_SUITE_CACHE="off")
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    with _processes.Worker("benchmarks.training", task, environment) as worker:
        return worker.ask({})


def _relate_modes(rows: list[Row]) -> None:
    """Adds each row's speed relative to the default mode with as many seeds."""
    key = ("algorithm", "env", "phase", "seeds")
    defaults = {tuple(r[k] for k in key): r["updates_per_s"] for r in rows if r["mode"] == "default"}
    for row in rows:
        base = defaults.get(tuple(row[k] for k in key))
        row["ratio_to_default"] = row["updates_per_s"] / base if base else None


def table_of(rows: list[Row], name: str = "training") -> Table:
    """How the rows are shown and compared, in the page's section of that name."""
    has_settings = any(row["settings"] for row in rows)
    has_phases = len({(row["algorithm"], row["phase"]) for row in rows}) > len({row["algorithm"] for row in rows})
    columns = [
        Column("algorithm", plain("algorithm")),
        Column("environment", plain("env")),
        *([Column("settings", plain("settings"))] if has_settings else []),
        *([Column("phase", plain("phase"))] if has_phases else []),
        Column("mode", plain("mode")),
        Column("seeds", plain("seeds")),
        Column("updates/s", number("updates_per_s", ",.1f")),
        Column("env steps/s", number("env_steps_per_s")),
        Column("x one seed", number("ratio_to_one_seed", ".2f")),
        Column("x default", number("ratio_to_default", ".2f")),
        Column("cores busy", number("cores_busy", ".2f")),
        Column("compile s", number("compile_wall_seconds", ".1f")),
        Column("compile CPU s", number("compile_cpu_seconds", ".1f")),
        Column("chunk MiB", number("chunk_bytes", ",.1f", 2**-20)),
        Column("peak RSS MiB", number("peak_rss_bytes", ",.0f", 2**-20)),
    ]
    if any(row["peak_device_bytes"] is not None for row in rows):
        columns.append(Column("peak device MiB", number("peak_device_bytes", ",.0f", 2**-20)))
    return Table(
        name, rows, tuple(columns), ("algorithm", "env", "settings", "phase", "mode", "seeds"), "updates_per_s"
    )


def targets_of(rows: list[Row], platform: str) -> list[Row]:
    """More seeds must pay on CPU: MAPPO on climbing, in the default mode."""
    return [
        _common.target(f"mappo on matrix/climbing, {r['seeds']} seeds over one", r["ratio_to_one_seed"], TARGET_RATIO)
        for r in rows
        if (r["algorithm"], r["env"], r["mode"]) == ("mappo", "matrix/climbing", "default")
        and r["seeds"] in TARGET_SEEDS
        and platform == "cpu"
    ]


def main(args: Args) -> dict[str, Any]:
    import jaxmarl_envs

    from jaxmarl_suite import algorithms

    played = [jaxmarl_envs.make(env) for env in args.envs]
    names = []
    for name in args.algorithms or algorithms.names():  # a mistake is told at once
        config = config_of(name, args.settings)
        try:
            for env in played:
                algorithms.get(name).build(config, env)
        except ValueError:
            if args.algorithms:
                raise
        else:
            names.append(name)
    old = _common.begin("training", args)
    rows: list[Row] = []
    load, found = _common.machine()["load_average"], {}
    for env_id in args.envs:
        for name in names:
            for mode in args.modes:
                print(f"{name} on {env_id}, {mode} ...", file=sys.stderr, flush=True)
                answer = _in_process(args, name, env_id, mode)
                rows += answer["rows"]
                if not found or mode == "default":
                    found = answer["hardware"] | {"load_average": load}
    _relate_modes(rows)
    targets = targets_of(rows, found["platform"])
    section = "training" if any(env.spec.is_discrete for env in played) else "training-continuous"
    return _common.finish("training", args, found, [table_of(rows, section)], targets, old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
