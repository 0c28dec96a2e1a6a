"""Tree search: searches and simulations per second beside the model's evaluations alone, and optimistic beside mean backup.

One process; the programs of a size alternate. The model is either `trivial`, a small layer, so that the search itself takes
the time, or `team`, the networks of MAZero for SMAC. Memory is what XLA says of the compiled program.

    python -m benchmarks.search --json search.json
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

MODELS = ("trivial", "team")
NUM_ACTIONS, STATE, BINS = 9, 8, 11
FLOOR_SIZE, FLOOR_TARGET, BACKUP_TARGET = (128, 50, 10, 3), 2.0, 2.5


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures searches over sampled joint actions."""

    models: tuple[str, ...] = MODELS
    """`trivial` and `team`."""
    sizes: tuple[str, ...] = ("128-50-10-3", "32-50-10-3", "128-25-5-3", "128-50-10-8")
    """Searches side by side, simulations, samples and agents, joined by hyphens."""
    repetitions: int = 5
    """Timed calls of each program, alternating."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if self.repetitions < 1:
            raise ValueError(f"repetitions must be positive, got {self.repetitions}")
        for name in self.models:
            if name not in MODELS:
                raise ValueError(f"models must be among {', '.join(MODELS)}, got {name!r}")
        for size in self.sizes:
            size_of(size)


def size_of(size: str) -> tuple[int, int, int, int]:
    """Searches, simulations, samples and agents.

    Raises:
      ValueError: for what is no size.
    """
    try:
        batch, simulations, samples, agents = (int(part) for part in size.split("-"))
    except ValueError:
        batch = simulations = samples = agents = 0
    if not (batch >= 1 and agents >= 1 and simulations >= samples >= 1):
        raise ValueError(f"sizes must be SEARCHES-SIMULATIONS-SAMPLES-AGENTS such as 128-50-10-3, got {size!r}")
    return batch, simulations, samples, agents


def model_of(name: str, batch: int, agents: int) -> tuple[Any, Any, Any]:
    """A model, its parameters and its inputs."""
    from jaxmarl_suite import search
    from jaxmarl_suite.networks import make_team_model
    from jaxmarl_suite.ops import ScalarBins

    keys = jax.random.split(seed_key(0), 4)
    if name == "team":
        networks = make_team_model(48, agents, NUM_ACTIONS, num_bins=BINS)
        model = search.learned_model(networks, agents, NUM_ACTIONS, ScalarBins(num=BINS), 0.99)
        params = networks.init(keys[0])
        leaves, tree = jax.tree.flatten(params)  # away from zero, so that trees are not all alike
        noise = [
            0.1 * jax.random.normal(key, x.shape) for key, x in zip(jax.random.split(keys[1], len(leaves)), leaves)
        ]
        params = jax.tree.unflatten(tree, [x + n for x, n in zip(leaves, noise)])
        mask = jnp.ones((batch, agents, NUM_ACTIONS), bool)
        return model, params, search.Observed(jax.random.normal(keys[2], (batch, agents, 48)), mask)

    width = agents * NUM_ACTIONS
    params = 0.5 * jax.random.normal(keys[0], (STATE + width, STATE + width + 2))

    def read(y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        return y[:, :width].reshape(-1, agents, NUM_ACTIONS), y[:, width], y[:, width + 1], jnp.tanh(y[:, width + 2 :])

    def advance(params: jax.Array, actions: jax.Array, state: jax.Array) -> tuple[jax.Array, ...]:
        chosen = jax.nn.one_hot(actions, NUM_ACTIONS, dtype=state.dtype).reshape(-1, width)
        return read(jnp.concatenate([state, chosen], -1) @ params)

    def root(params: jax.Array, key: jax.Array, inputs: jax.Array) -> Any:
        logits, value, _, state = advance(params, jnp.zeros((inputs.shape[0], agents), jnp.int32), inputs)
        return search.Root(logits, value, state, jnp.ones(logits.shape, bool))

    def recurrent(params: jax.Array, key: jax.Array, actions: jax.Array, state: jax.Array) -> Any:
        logits, value, reward, state = advance(params, actions, state)
        return search.Prediction(reward, jnp.full_like(value, 0.99), logits, value), state

    inputs = jax.random.normal(keys[2], (batch, STATE))
    return search.Model(agents, NUM_ACTIONS, root, recurrent), params, inputs


def evaluations_of(model: Any, simulations: int) -> Callable[..., Any]:
    """The root, and as many steps of the model as a search takes, one after another: what a search cannot go below."""

    def run(params: Any, key: jax.Array, inputs: Any) -> Any:
        root = model.root(params, key, inputs)

        def step(index: jax.Array, carry: tuple[Any, jax.Array, jax.Array]) -> tuple[Any, jax.Array, jax.Array]:
            embedding, actions, total = carry
            found, embedding = model.recurrent(params, key, actions, embedding)
            return embedding, found.logits.argmax(-1).astype(jnp.int32), total + found.reward + found.value

        start = (root.embedding, root.logits.argmax(-1).astype(jnp.int32), root.value)
        return jax.lax.fori_loop(0, simulations, step, start)[2]

    return run


def tree_bytes(simulations: int, samples: int, agents: int, embedding: int) -> int:
    """Bytes of one tree by formula, of S + 1 nodes.

    For each pair of nodes a return and whether it is kept; for each node nine numbers, and for each of its K slots seven
    and the N actions; the model's embedding.
    """
    nodes = simulations + 1
    return 5 * nodes**2 + nodes * (4 * samples * (7 + agents) + 36 + embedding)


def measure(name: str, size: str, repetitions: int) -> Row:
    """One row: a model and a size."""
    from jaxmarl_suite.search import sampled_search

    batch, simulations, samples, agents = size_of(size)
    model, params, inputs = model_of(name, batch, agents)
    sizes = {"num_simulations": simulations, "num_samples": samples}
    runs: dict[str, Any] = {
        "optimistic": sampled_search(model, **sizes),
        "mean": sampled_search(model, **sizes, backup="mean"),
        "model": evaluations_of(model, simulations),
    }
    programs, compile_seconds = {}, {}
    for kind, run in runs.items():
        began = time.perf_counter()
        programs[kind] = jax.jit(run).lower(params, seed_key(0), inputs).compile()
        compile_seconds[kind] = time.perf_counter() - began
    times: dict[str, list[float]] = {kind: [] for kind in programs}
    for repetition in range(repetitions + 1):
        for kind, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(params, seed_key(repetition), inputs))
            if repetition:
                times[kind].append(time.perf_counter() - began)

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(times[a], times[b]))

    seconds = statistics.median(times["optimistic"])
    embedding = jax.eval_shape(model.root, params, seed_key(0), inputs).embedding
    embedding_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(embedding)) // batch
    temporary = getattr(programs["optimistic"].memory_analysis(), "temp_size_in_bytes", None)
    return {
        "model": name,
        "batch": batch,
        "simulations": simulations,
        "samples": samples,
        "agents": agents,
        "seconds": seconds,
        "searches_per_s": batch / seconds,
        "simulations_per_s": batch * simulations / seconds,
        "model_ratio": ratio("optimistic", "model"),
        "mean_ratio": ratio("optimistic", "mean"),
        "compile_seconds": compile_seconds["optimistic"],
        "mean_compile_seconds": compile_seconds["mean"],
        "tree_bytes": None if temporary is None else temporary / batch,
        "formula_bytes": tree_bytes(simulations, samples, agents, embedding_bytes),
    }


def _start_worker(_: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()

    def answer(task: dict[str, Any]) -> Any:
        if not task:
            return _common.hardware()
        return measure(task["model"], task["size"], task["repetitions"])

    return answer


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("model", plain("model")),
        Column("searches", number("batch")),
        Column("simulations", number("simulations")),
        Column("samples", number("samples")),
        Column("agents", number("agents")),
        Column("ms", number("seconds", ",.1f", 1e3)),
        Column("searches/s", number("searches_per_s")),
        Column("simulations/s", number("simulations_per_s")),
        Column("x model alone", number("model_ratio", ".2f")),
        Column("x mean backup", number("mean_ratio", ".2f")),
        Column("compile s", number("compile_seconds", ".1f")),
        Column("mean, compile s", number("mean_compile_seconds", ".1f")),
        Column("KiB per tree", number("tree_bytes", ",.1f", 2**-10)),
        Column("by formula", number("formula_bytes", ",.1f", 2**-10)),
    )
    return Table("search", rows, columns, ("model", "batch", "simulations", "samples", "agents"), "simulations_per_s")


def targets_of(rows: list[Row]) -> list[Row]:
    """The search beside its model, and the optimistic backup beside the mean, at one size."""
    found = []
    for row in rows:
        if (row["batch"], row["simulations"], row["samples"], row["agents"]) != FLOOR_SIZE:
            continue
        if row["model"] == "team":
            found.append(_common.target("search over model alone", row["model_ratio"], FLOOR_TARGET, at_most=True))
        else:
            found.append(_common.target("optimistic over mean", row["mean_ratio"], BACKUP_TARGET, at_most=True))
    return found


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("search", args)
    load = _common.machine()
    rows = []
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.search", {}, environment) as worker:
        hardware = worker.ask({})
        for name in args.models:
            for size in args.sizes:
                print(f"{name} {size} ...", file=sys.stderr, flush=True)
                rows.append(worker.ask({"model": name, "size": size, "repetitions": args.repetitions}))
    return _common.finish("search", args, hardware | load, [table_of(rows)], targets_of(rows), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
