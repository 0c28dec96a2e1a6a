"""World models: imagined steps per second beside real ones, for all kinds of models and several sizes of teams.

The task is `toy/linear-team`; models are untrained and have the sizes for CPUs. A row plays whole episodes in a batch.

    python -m benchmarks.world_models --json world_models.json
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
from jaxmarl_envs import VectorEnv, seed_key
from jaxmarl_envs.core import observation_function

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

KINDS = ("single", "cumulative", "joint", "ensemble", "tokens")
HORIZON, HISTORY, STATE = 15, 3, 8


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures play in world models."""

    kinds: tuple[str, ...] = KINDS
    """Diffusion models by what they reveal, and the two other kinds."""
    agents: tuple[int, ...] = (3, 6, 12)
    """Sizes of the team."""
    batch: int = 64
    """Episodes played side by side."""
    repetitions: int = 5
    """Timed calls of each program, alternating."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        for name in ("batch", "repetitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if any(n < 1 for n in self.agents):
            raise ValueError(f"agents must be positive, got {self.agents}")
        for name in self.kinds:
            if name not in KINDS:
                raise ValueError(f"kinds must be among {', '.join(KINDS)}, got {name!r}")


def games_of(kind: str, agents: int, batch: int) -> dict[str, tuple[VectorEnv, Any]]:
    """The task and its model, batched, each with its parameters."""
    from jaxmarl_suite.worldmodels import ModelEnvironment, ModelParams, Starts, make_world_model

    env = jaxmarl_envs.make("toy/linear-team", n_agents=agents, state_size=STATE)
    options: dict[str, Any] = {"kind": kind} if kind in ("ensemble", "tokens") else {"reveal": kind}
    model = make_world_model(env.spec, observe=observation_function(env), history=HISTORY, horizon=HORIZON, **options)
    starts = Starts(
        jnp.zeros((batch, HISTORY, STATE)),
        jnp.zeros((batch, HISTORY - 1, agents, 1)),
        jnp.ones((batch, HISTORY), bool),
    )
    params = ModelParams(jax.jit(model.init)(seed_key(0)), starts)
    imagined = ModelEnvironment(model, HORIZON, params, samples_ends=False)
    return {"real": (VectorEnv(env, batch), env.default_params), "imagined": (VectorEnv(imagined, batch), params)}


def play(games: VectorEnv) -> Callable[[Any, jax.Array], jax.Array]:
    """Episodes with actions of zero: the sum of their rewards."""
    spec = games.spec
    action = jnp.zeros((games.num_envs, spec.n_agents, spec.action_dim))

    def run(params: Any, key: jax.Array) -> jax.Array:
        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            state = games.step(key, state, action, params)
            return state, state.timestep.reward.sum()

        reset_key, key = jax.random.split(key)
        return jax.lax.scan(step, games.reset(reset_key, params), jax.random.split(key, HORIZON))[1].sum()

    return run


def measure(kind: str, agents: int, batch: int, repetitions: int) -> Row:
    """One row: a kind of model and a size of the team."""
    programs, compile_seconds, params = {}, {}, {}
    for name, (games, own) in games_of(kind, agents, batch).items():
        began = time.perf_counter()
        programs[name], params[name] = jax.jit(play(games)).lower(own, seed_key(0)).compile(), own
        compile_seconds[name] = time.perf_counter() - began
    times: dict[str, list[float]] = {name: [] for name in programs}
    for repetition in range(repetitions + 1):
        for name, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(params[name], seed_key(repetition)))
            if repetition:
                times[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    return {
        "kind": kind,
        "agents": agents,
        "batch": batch,
        "imagined_per_s": batch * HORIZON / seconds["imagined"],
        "real_per_s": batch * HORIZON / seconds["real"],
        "ratio": statistics.median(a / b for a, b in zip(times["imagined"], times["real"])),
        "ms_per_step": 1e3 * seconds["imagined"] / HORIZON,
        "compile_seconds": compile_seconds["imagined"],
    }


def _start_worker(_: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()

    def answer(task: dict[str, Any]) -> Any:
        return measure(**task) if task else _common.hardware()

    return answer


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("model", plain("kind")),
        Column("agents", number("agents")),
        Column("episodes", number("batch")),
        Column("imagined steps/s", number("imagined_per_s")),
        Column("real steps/s", number("real_per_s")),
        Column("seconds, imagined over real", number("ratio", ",.1f")),
        Column("ms per imagined step", number("ms_per_step", ",.2f")),
        Column("compile s", number("compile_seconds", ".1f")),
    )
    return Table("world_models", rows, columns, ("kind", "agents", "batch"), "imagined_per_s")


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("world_models", args)
    load, rows = _common.machine(), []
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.world_models", {}, environment) as worker:
        hardware = worker.ask({})
        for kind in args.kinds:
            for agents in args.agents:
                print(f"{kind} {agents} ...", file=sys.stderr, flush=True)
                task = {"kind": kind, "agents": agents, "batch": args.batch, "repetitions": args.repetitions}
                rows.append(worker.ask(task))
    return _common.finish("world_models", args, hardware | load, [table_of(rows)], [], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
