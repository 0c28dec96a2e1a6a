"""The rag tasks: compiled stepping with restarts, against the plain Python simulators of the tests.

Random legal play in both. One process pinned to one core, as the runner configures it; the simulators are the ones that
the tests compare with, step by step: they show no observations, and are written to be read.

    python -m benchmarks.rag --json rag.json
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures stepping of the caching and serving tasks on one core."""

    ids: tuple[str, ...] = ("rag/cache-L1", "rag/serve-L2", "rag/serve-L3")
    """Environment ids."""
    num_envs: tuple[int, ...] = (64, 256)
    """E, environments stepped together."""
    steps: int = 64
    """Steps of every environment in one timed call."""
    repetitions: int = 5
    """Timed calls."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if min(self.steps, self.repetitions, *self.num_envs) < 1:
            raise ValueError("num_envs, steps and repetitions must be positive")
        if wrong := [i for i in self.ids if not i.startswith("rag/")]:
            raise ValueError(f"ids must be rag/..., got {wrong[0]!r}")


def measure(env_id: str, num_envs: int, steps: int, repetitions: int, options: dict[str, Any] | None = None) -> Row:
    """Environment steps and requests (references, in the caching tasks) per second."""
    import jax
    import jax.numpy as jnp
    import jaxmarl_envs
    from jaxmarl_envs.core import random_action

    env = jaxmarl_envs.make(env_id, **(options or {}))
    vector, params = jaxmarl_envs.VectorEnv(env, num_envs), env.default_params
    is_serving = hasattr(env.unwrapped, "requests")

    def served(state: Any) -> jax.Array:
        """[E] int32: how much has been served in the episodes at hand."""
        inner = state.inner.inner
        return (inner.replica >= 0).sum(axis=1) if is_serving else inner.t * env.spec.n_agents

    def body(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        action_key, step_key = jax.random.split(key)
        action = random_action(env.spec, action_key, state.timestep.action_mask)
        after = vector.step(step_key, state, action, params)
        return after, jnp.maximum(served(after) - served(state), 0).sum()  # restarts aside

    def play(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        state, counts = jax.lax.scan(body, state, jax.random.split(key, steps))
        return state, counts.sum()

    program = jax.jit(play, donate_argnums=0)
    state = jax.jit(vector.reset)(seed_key(0), params)
    times, counts = [], []
    for i in range(repetitions + 1):
        began = time.perf_counter()
        state, count = jax.block_until_ready(program(state, seed_key(i)))
        times.append(time.perf_counter() - began)
        counts.append(int(count))
    seconds = statistics.median(times[1:])
    python_steps, python_served = simulate(env, min(env.spec.episode_limit or 200, 200))
    return {
        "id": env_id,
        "num_envs": num_envs,
        "steps_per_s": num_envs * steps / seconds,
        "served_per_s": statistics.mean(counts[1:]) / seconds,
        "python_steps_per_s": python_steps,
        "python_served_per_s": python_served,
        "ratio": num_envs * steps / seconds / python_steps,
    }


def simulate(env: Any, steps: int) -> tuple[float, float]:
    """Steps and requests (references) per second of the plain simulator, drawing actions included."""
    from tests.envs.rag_reference import PlainCacheTask
    from tests.envs.rag_serve_reference import PlainServeTask

    inner, rng = env.unwrapped, np.random.default_rng(0)
    window = inner.layout.unpack(inner.default_params.windows[0])
    is_serving = hasattr(inner, "requests")
    task: Any = PlainServeTask(inner, window) if is_serving else PlainCacheTask(window, 0.3, 0.0)
    began = time.perf_counter()
    for _ in range(steps):
        mask = np.asarray(task.mask())
        task.step(np.where(mask, rng.random(mask.shape), -1).argmax(axis=1).tolist())
    seconds = time.perf_counter() - began
    served = sum(owner is not None for owner in task.owner) if is_serving else steps * inner.n_agents
    return steps / seconds, served / seconds


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    _processes.pin()
    configure(1)
    return lambda request: {"hardware": _common.hardware(), "row": measure(**request, **task)}


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("environment", plain("id")),
        Column("instances", number("num_envs")),
        Column("steps/s", number("steps_per_s")),
        Column("requests or references/s", number("served_per_s")),
        Column("Python steps/s", number("python_steps_per_s")),
        Column("Python requests or references/s", number("python_served_per_s")),
        Column("x Python", number("ratio", ".1f")),
    )
    return Table("rag", rows, columns, ("id", "num_envs"), "steps_per_s")


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("rag", args)
    load = _common.machine()
    environment = _processes.child_environment(keep_flags=False, JAX_PLATFORMS="cpu", JAXMARL_SUITE_CACHE="off")
    task = {"steps": args.steps, "repetitions": args.repetitions}
    with _processes.Worker("benchmarks.rag", task, environment) as worker:
        answers = [worker.ask({"env_id": i, "num_envs": n}) for i in args.ids for n in args.num_envs]
    found = answers[0]["hardware"] | load
    return _common.finish("rag", args, found, [table_of([answer["row"] for answer in answers])], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
