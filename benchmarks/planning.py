"""A training iteration of planning in a learned model, in parts: acting, targets that are searched anew, gradient steps.

One process and one seed. The parts are the functions that an update calls, each compiled by itself; `update` is the whole
one. Their times need not add up exactly, since the update fuses across them.

    python -m benchmarks.planning --json planning.json
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EpisodeStatistics, VectorEnv, seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

PARTS = ("act", "draw", "reanalyze", "learn")
HORIZON = 1_000


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures the parts of an update of `mazero`."""

    envs: tuple[str, ...] = ("matrix/M1", "hallway/4-4", "micro/3m")
    """Environment ids."""
    set: tuple[str, ...] = ()
    """Settings of the algorithm, as FIELD=VALUE."""
    repetitions: int = 5
    """Timed calls of each part, alternating."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if not self.envs:
            raise ValueError("envs needs at least one value")
        if self.repetitions < 1:
            raise ValueError(f"repetitions must be positive, got {self.repetitions}")
        if bad := [s for s in self.set if "=" not in s]:
            raise ValueError(f"settings are FIELD=VALUE, got {bad[0]!r}")


def programs_of(config: Any, env: Any) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The parts and the update, each with its arguments: all start from an update after the warm-up."""
    from jaxmarl_suite.algorithms import Context
    from jaxmarl_suite.algorithms.planning import Planning
    from jaxmarl_suite.algorithms.planning._core import init_state, play, update_state
    from jaxmarl_suite.algorithms.planning.mazero import mazero_method
    from jaxmarl_suite.replay import add_block, read_windows

    learner, vector = Planning(config, mazero_method(config, env.spec)), VectorEnv(env, config.num_envs)
    layout = learner.layout(env)
    clock = jnp.int32(-(-config.warmup_steps // learner.steps_per_update) + 1)
    hp = jax.tree.map(jnp.float32, config)
    ctx = Context(hp, env.default_params, clock, jnp.int32(HORIZON))
    state = jax.jit(lambda key: init_state(learner, vector, layout, key, ctx))(seed_key(0))

    @jax.jit
    def fill(state: Any, key: jax.Array) -> Any:
        env_state, block, _ = play(learner, vector, state.models.online.params, state.env, key, ctx)
        return dataclasses.replace(state, env=env_state, replay=add_block(layout, state.replay, block))

    for number_of in range(-(-config.batch_size // learner.steps_per_update) + 2):
        state = fill(state, seed_key(number_of))
    store, models = state.replay, state.models

    def draw(store: Any, key: jax.Array) -> Any:
        places = learner.draw(layout, store.head, key, ctx)
        return read_windows(layout, store.head, store.contents, places, config.window), places

    def reanalyze(target: Any, windows: Any, places: Any, key: jax.Array) -> Any:
        return learner.to_batch(target, windows, places, jnp.zeros(config.batch_size), key, ctx)

    windows, places = jax.jit(draw)(store, seed_key(1))
    batch = jax.jit(reanalyze)(models.target, windows, places, seed_key(2))
    return {
        "act": (lambda s, key: play(learner, vector, s.models.online.params, s.env, key, ctx), (state, seed_key(3))),
        "draw": (draw, (store, seed_key(1))),
        "reanalyze": (reanalyze, (models.target, windows, places, seed_key(2))),
        "learn": (lambda m, b, key: learner.learn(m, b, key, ctx), (models, batch, seed_key(4))),
        "update": (lambda s: update_state(learner, vector, layout, s, ctx), (state,)),
    }


def measure(env_id: str, settings: dict[str, str], repetitions: int) -> Row:
    """One row: an environment."""
    import jaxmarl_envs

    from jaxmarl_suite.runner import Experiment, coerce

    base = Experiment("mazero", "").base_config
    config = dataclasses.replace(base, **coerce(base, settings))
    found = programs_of(config, EpisodeStatistics(jaxmarl_envs.make(env_id)))
    compiled, compile_seconds = {}, 0.0
    for name, (run, arguments) in found.items():
        began = time.perf_counter()
        compiled[name] = jax.jit(run).lower(*arguments).compile()
        if name == "update":
            compile_seconds = time.perf_counter() - began
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for repetition in range(repetitions + 1):
        for name, program in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(program(*found[name][1]))
            if repetition:
                times[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    calls = {name: 1 if name in ("act", "update") else config.gradient_steps for name in seconds}
    row: Row = {
        "env": env_id,
        "steps": config.num_envs * config.rollout_length,
        "gradient_steps": config.gradient_steps,
    }
    row |= {f"{name}_seconds": calls[name] * seconds[name] for name in seconds}
    row |= {f"{name}_share": row[f"{name}_seconds"] / sum(row[f"{part}_seconds"] for part in PARTS) for name in PARTS}
    temporary = getattr(compiled["update"].memory_analysis(), "temp_size_in_bytes", None)
    return row | {
        "steps_per_s": row["steps"] / row["update_seconds"],
        "compile_seconds": compile_seconds,
        "update_bytes": temporary,
    }


def _start_worker(_: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()

    def answer(task: dict[str, Any]) -> Any:
        if not task:
            return _common.hardware()
        return measure(task["env"], task["settings"], task["repetitions"])

    return answer


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("environment", plain("env")),
        Column("env steps", number("steps")),
        Column("gradient steps", number("gradient_steps")),
        *(Column(f"{name} ms", number(f"{name}_seconds", ",.1f", 1e3)) for name in PARTS),
        *(Column(f"{name} %", number(f"{name}_share", ".0f", 100)) for name in PARTS),
        Column("update ms", number("update_seconds", ",.1f", 1e3)),
        Column("env steps/s", number("steps_per_s", ",.1f")),
        Column("compile s", number("compile_seconds", ".1f")),
        Column("temporaries MiB", number("update_bytes", ",.1f", 2**-20)),
    )
    return Table("planning", rows, columns, ("env", "steps", "gradient_steps"), "steps_per_s")


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("planning", args)
    load = _common.machine()
    settings = dict(entry.split("=", 1) for entry in args.set)
    rows = []
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.planning", {}, environment) as worker:
        hardware = worker.ask({})
        for env in args.envs:
            print(f"{env} ...", file=sys.stderr, flush=True)
            rows.append(worker.ask({"env": env, "settings": settings, "repetitions": args.repetitions}))
    return _common.finish("planning", args, hardware | load, [table_of(rows)], [], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
