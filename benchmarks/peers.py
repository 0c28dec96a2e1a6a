"""Training throughput beside JaxMARL's own scripts: one seed of theirs, one and several of ours, with the same sizes.

Each contestant has a process of its own, in which nothing is read from or written to the cache of compiled programs. They
train in turns. Theirs runs in JAX as it is by itself, ours as the runner configures it. Without a checkout only ours runs:

    git clone https://github.com/FLAIROx/JaxMARL && pip install hydra-core omegaconf distrax
    python -m benchmarks.peers --checkout JaxMARL --json peers.json
"""

import contextlib
import dataclasses
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks import _common, _processes
from benchmarks._peer import check_checkout
from benchmarks._tables import Column, Row, Table, number, plain

ENV = "mpe/simple-spread"
PEER, OURS = "JaxMARL", "ours"


class Contest(NamedTuple):
    """One method with the same sizes on both sides."""

    algorithm: str
    sizes: Mapping[str, Any]
    """Settings of the script."""
    settings: Mapping[str, str]
    """Ours."""
    start: int
    """Updates before the timed ones: until learning has begun."""
    updates: int
    """Timed updates of one repetition."""
    target: float
    """What one seed of ours should reach over one of theirs."""


_PPO_SIZES = {
    "NUM_ENVS": 16,
    "NUM_STEPS": 128,
    "UPDATE_EPOCHS": 4,
    "NUM_MINIBATCHES": 4,
    "ENV_NAME": "MPE_simple_spread_v3",
}
_PPO = {"num_envs": "16", "rollout_length": "128", "epochs": "4", "minibatches": "4", "anneal_learning_rate": "true"}
_GRU = {"recurrent": "true", "memory_size": "128", "hidden": "(128,128)"}
CONTESTS = {
    "ippo": Contest("ippo", _PPO_SIZES, {**_PPO, "hidden": "(64,64)"}, 1, 30, 1.5),
    # Theirs goes back through all 128 steps of the rollout.
    "mappo": Contest(
        "mappo",
        {**_PPO_SIZES, "FC_DIM_SIZE": 128, "GRU_HIDDEN_DIM": 128},
        {**_PPO, **_GRU, "chunk_length": "128"},
        1,
        4,
        2.0,
    ),
    "qmix": Contest(
        "qmix",
        {
            **{"NUM_ENVS": 8, "NUM_STEPS": 26, "BUFFER_SIZE": 5000, "BUFFER_BATCH_SIZE": 32, "NUM_EPOCHS": 1},
            **{"HIDDEN_SIZE": 64, "MIXER_EMBEDDING_DIM": 32, "MIXER_HYPERNET_HIDDEN_DIM": 128},
            **{"TARGET_UPDATE_INTERVAL": 200, "ENV_NAME": "MPE_simple_spread_v3"},
        },
        {
            **{"num_envs": "8", "rollout_length": "26", "capacity": "5000", "batch_size": "32", "gradient_steps": "1"},
            **{"width": "64", "embed": "32", "hyper_hidden": "128", "target_period": "200", "optimizer": "adam"},
            **{"learning_starts": "32"},
        },
        40,  # theirs waits for 32 sequences of each environment
        200,
        1.5,
    ),
}
ContestName = Literal["ippo", "mappo", "qmix"]
TARGET_SEVERAL = 3.0


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures training of the same sizes, ours and JaxMARL's."""

    checkout: Path | None = None
    """A checkout of JaxMARL. Its scripts need hydra-core, omegaconf, distrax and flashbax, and wandb not."""
    contests: tuple[ContestName, ...] = ("ippo", "mappo", "qmix")
    """What is measured."""
    seeds: tuple[int, ...] = (1, 4)
    """Numbers of our seeds that train together."""
    set: tuple[str, ...] = ()
    """Other settings of ours, as FIELD=VALUE."""
    updates: int | None = None
    """Timed updates of one repetition; by default each contest's own, two to three seconds."""
    repetitions: int = 7
    """Timed repetitions."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if self.checkout:
            check_checkout(self.checkout)
        if not self.contests or not self.seeds:
            raise ValueError("contests and seeds need at least one value")
        if any(n < 1 for n in self.seeds) or self.repetitions < 1 or (self.updates is not None and self.updates < 1):
            raise ValueError("seeds, repetitions and updates must be positive")
        if bad := [s for s in self.set if "=" not in s]:
            raise ValueError(f"settings are FIELD=VALUE, got {bad[0]!r}")


def _peer_worker(task: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answers requests with the seconds of a training of the script, or once with what it costs to compile it."""
    import jax
    from jaxmarl_envs import seed_key

    from benchmarks._peer import Peer

    try:
        peer = Peer(Path(task["checkout"]), task["contest"], task["sizes"])
    except ImportError as error:
        reason = f"{type(error).__name__}: {error}"
        return lambda request: {"skipped": reason}
    keys = jax.random.key_data(jax.random.split(seed_key(0), 1))  # its environments take raw keys
    start, stop = task["start"], task["start"] + task["updates"]
    with _common.stopwatch() as compiling:
        programs = {stop: jax.jit(peer.train(stop)).lower(keys).compile()}
    programs[start] = jax.jit(peer.train(start)).lower(keys).compile()

    def run(updates: int) -> dict[str, float]:
        with _common.stopwatch() as spent:
            jax.block_until_ready(programs[updates](keys))
        return dataclasses.asdict(spent)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        # A program starts a training and runs it to its end: what a short one takes is subtracted.
        short, long = run(start), run(stop)
        if request["do"] == "run":
            spent = {name: long[name] - short[name] for name in long}
            return {**spent, "env_steps": task["updates"] * peer.steps_per_update}
        seconds = {f"compile_{name}_seconds": s for name, s in dataclasses.asdict(compiling).items()}
        return {**seconds, "version": peer.version, "peak_rss_bytes": _common.peak_rss()}

    return answer


def _our_worker(task: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answers requests with the seconds of so many updates, or with what it cost to compile them."""
    from benchmarks.training import Bench

    bench = Bench(task["algorithm"], ENV, task["settings"], task["seeds"], "auto")
    bench.begin(0)
    bench.run(task["start"])
    steps = bench.program.phase.algorithm.env_steps_per_update * bench.lanes * task["updates"]
    compiling = {f"compile_{name}_seconds": s for name, s in dataclasses.asdict(bench.compiling).items()}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "run":
            return {**dataclasses.asdict(bench.run(task["updates"])), "env_steps": steps}
        rss, found = _common.peak_rss(), _common.hardware()
        return {**compiling, "peak_rss_bytes": rss, "hardware": found, "is_finite": bench.is_finite}

    return answer


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A process of one contestant."""
    if task["who"] == OURS:
        from jaxmarl_suite.runner import configure

        configure()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    return _our_worker(task) if task["who"] == OURS else _peer_worker(task)


def _worker(task: Mapping[str, Any]) -> _processes.Worker:
    environment = _processes.child_environment(keep_flags=False, JAXMARL_SUITE_CACHE="off")
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return _processes.Worker("benchmarks.peers", task, environment)


def measure(
    contest: Contest,
    seeds: Sequence[int],
    *,
    name: str = "",
    checkout: Path | None = None,
    settings: Mapping[str, str] | None = None,
    updates: int | None = None,
    repetitions: int = 7,
) -> tuple[list[Row], dict[str, Any], str]:
    """`(rows, hardware, why the peer's row is missing or "")`, the peer's row first.

    Args:
      contest: what is measured.
      seeds: numbers of ours that train together.
      name: of the peer's script.
      checkout: of the peer; none for ours alone.
      settings: of ours, in place of the contest's.
      updates: timed in one repetition, in place of the contest's.
      repetitions: timed, all contestants in turns.
    """
    timed = {"start": contest.start, "updates": updates or contest.updates}
    tasks: list[dict[str, Any]] = [
        {
            **timed,
            "who": OURS,
            "algorithm": contest.algorithm,
            "settings": {**contest.settings, **(settings or {})},
            "seeds": count,
        }
        for count in seeds
    ]
    skipped = "" if checkout else "no checkout given"
    if checkout:
        peer = {"who": PEER, "seeds": 1, "contest": name, "checkout": str(checkout.resolve()), "sizes": contest.sizes}
        tasks.insert(0, timed | peer)
    with contextlib.ExitStack() as stack:
        workers, starts = [], []
        for task in list(tasks):
            worker = stack.enter_context(_worker(task))
            start = worker.ask({"do": "start"})  # one after another: each compiles with all cores
            if "skipped" in start:
                skipped = start["skipped"]
                tasks.remove(task)
            else:
                workers.append(worker)
                starts.append(start)
        runs = [[worker.ask({"do": "run"}) for worker in workers] for _ in range(repetitions)]
    found = next(start.pop("hardware") for start in starts[::-1])
    rows = [
        _row(contest, task, start, [line[i] for line in runs]) for i, (task, start) in enumerate(zip(tasks, starts))
    ]
    if checkout and not skipped:
        for i, row in enumerate(rows):
            # Of neighboring repetitions: other work on the machine comes and goes more slowly.
            row["ratio"] = statistics.median(_rate(line[i]) / _rate(line[0]) for line in runs)
            row["cpu_ratio"] = statistics.median(_rate(line[i], "cpu") / _rate(line[0], "cpu") for line in runs)
    return rows, found, skipped


def _rate(run: Mapping[str, float], clock: str = "wall") -> float:
    return run["env_steps"] / max(run[clock], 1e-9)


def _row(contest: Contest, task: Mapping[str, Any], start: Mapping[str, Any], runs: list[dict[str, float]]) -> Row:
    rates = [_rate(run) for run in runs]
    return {
        "algorithm": contest.algorithm,
        "who": task["who"],
        "seeds": task["seeds"],
        "settings": " ".join(f"{k}={v}" for k, v in task.get("settings", task.get("sizes", {})).items()),
        "version": start.get("version"),
        "env_steps_per_s": statistics.median(rates),
        "best_env_steps_per_s": max(rates),
        "env_steps_per_cpu_s": statistics.median(_rate(run, "cpu") for run in runs),
        "cores_busy": statistics.median(run["cpu"] / max(run["wall"], 1e-9) for run in runs),
        "ratio": None,
        "cpu_ratio": None,
        "repetitions": len(runs),
        "is_finite": start.get("is_finite"),
        **{name: start[name] for name in ("compile_wall_seconds", "compile_cpu_seconds", "peak_rss_bytes")},
    }


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("method", plain("algorithm")),
        Column("whose", plain("who")),
        Column("seeds", plain("seeds")),
        Column("env steps/s", number("env_steps_per_s")),
        Column("x JaxMARL", number("ratio", ".2f")),
        Column("env steps/CPU s", number("env_steps_per_cpu_s")),
        Column("x JaxMARL", number("cpu_ratio", ".2f")),
        Column("cores busy", number("cores_busy", ".2f")),
        Column("compile s", number("compile_wall_seconds", ".1f")),
        Column("compile CPU s", number("compile_cpu_seconds", ".1f")),
        Column("peak RSS MiB", number("peak_rss_bytes", ",.0f", 2**-20)),
    )
    return Table("peers", rows, columns, ("algorithm", "who", "seeds", "settings"), "env_steps_per_s")


def targets_of(rows: list[Row], contests: Mapping[str, Contest] = CONTESTS) -> list[Row]:
    """How far ahead ours should be, and that it compiles no longer; nothing where the peer was not measured."""
    bounds = {contest.algorithm: contest.target for contest in contests.values()}
    theirs = {row["algorithm"]: row for row in rows if row["who"] == PEER}
    found = []
    for row in rows:
        peer = theirs.get(row["algorithm"])
        if row["who"] == PEER or peer is None or row["seeds"] not in (1, 4):
            continue
        what = f"{row['algorithm']}, {row['seeds']} of our seeds over one of JaxMARL's"
        found.append(
            _common.target(what, row["ratio"], bounds[row["algorithm"]] if row["seeds"] == 1 else TARGET_SEVERAL)
        )
        if row["seeds"] == 1:
            compiling = row["compile_wall_seconds"] / peer["compile_wall_seconds"]
            found.append(
                _common.target(f"{row['algorithm']}, compilation over JaxMARL's", compiling, 1.0, at_most=True)
            )
    return found


def main(args: Args) -> dict[str, Any]:
    import jaxmarl_envs

    from benchmarks.training import config_of

    settings = dict(entry.split("=", 1) for entry in args.set)
    jaxmarl_envs.make(ENV)  # a mistake is told at once
    for name in args.contests:
        config_of(CONTESTS[name].algorithm, {**CONTESTS[name].settings, **settings})
    old = _common.begin("peers", args)
    rows: list[Row] = []
    load, found = _common.machine()["load_average"], {}
    for name in args.contests:
        print(f"{name} ...", file=sys.stderr, flush=True)
        more, found, skipped = measure(
            CONTESTS[name],
            args.seeds,
            name=name,
            checkout=args.checkout,
            settings=settings,
            updates=args.updates,
            repetitions=args.repetitions,
        )
        rows += more
        if skipped:
            print(f"without JaxMARL's {name}: {skipped}", file=sys.stderr)
    found = {**found, "load_average": load}
    return _common.finish("peers", args, found, [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
