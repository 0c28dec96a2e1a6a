"""Libraries of behaviors and datasets: gradient steps and labels per second by the number of learners, and MB/s on disk.

N learners of TD3+BC, each with its own intent, run one after another ("map") or as a batch ("vmap"); what a batch gains
is its learners' gradient steps per second over those of a single learner. Labels are those of a measured batch, of all
intents. One process; repetitions of the settings alternate.

    python -m benchmarks.library --json library.json
"""

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

MODES = ("map", "vmap")


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures learners of libraries, labels, and datasets on disk."""

    env: str = "toy/point-mass"
    """Whose sizes the networks have."""
    learners: tuple[int, ...] = (1, 16, 64, 256)
    """Numbers of learners, N."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of learners and intents."""
    batch_size: int = 256
    """Steps per gradient step."""
    gradient_steps: int = 4
    """Of each learner in one timed call."""
    data_steps: int = 100_000
    """Length of the dataset."""
    repetitions: int = 5
    """Timed calls of each setting, alternating."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        sizes = (self.batch_size, self.gradient_steps, self.data_steps, self.repetitions, *self.learners, *self.hidden)
        if not self.learners or not self.hidden or min(sizes) < 1:
            raise ValueError(
                "learners, hidden, batch_size, gradient_steps, data_steps and repetitions must be positive"
            )


def steps_of(env_id: str, size: int) -> dict[str, np.ndarray]:
    """The items of a dataset of random numbers, in episodes of 100 steps."""
    from jaxmarl_suite.replay import REWARD, step_shapes

    env, rng = jaxmarl_envs.make(env_id), np.random.default_rng(0)
    items = {
        name: rng.uniform(-1.0, 1.0, (size, *shape)).astype(dtype)
        for name, (shape, dtype) in step_shapes(env.spec).items()
        if 0 not in shape and dtype == np.float32
    }
    low, high = env.spec.action_bounds
    items["action"] = (low + (items["action"] + 1.0) * 0.5 * (high - low)).astype(np.float32)
    last = np.arange(1, size + 1) % 100 == 0
    last[-1] = True
    for name in ("obs", "state"):
        if name in items:
            inside = ~last[:-1].reshape(-1, *(1,) * (items[name].ndim - 1))
            items[f"next_{name}"][:-1] = np.where(inside, items[name][1:], items[f"next_{name}"][:-1])
    episode = np.concatenate([[0], np.cumsum(last)[:-1]]).astype(np.int32)
    return items | {"terminated": np.zeros(size, bool), "truncated": last, "episode": episode, REWARD: items[REWARD]}


def programs_of(
    env_id: str, num: int, mode: str, data: Any, hidden: tuple[int, ...], batch_size: int, gradient_steps: int
) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    """`(learn, label, bytes per learner)`: both are compiled, and learning goes on from where it was."""
    from jaxmarl_suite.algorithms.core import Context
    from jaxmarl_suite.algorithms.off_policy import uber
    from jaxmarl_suite.algorithms.off_policy._intents import labels
    from jaxmarl_suite.algorithms.off_policy._library import LibraryLearner

    env = jaxmarl_envs.make(env_id)
    config = uber.UberConfig(
        num_intents=num,
        head_mode=mode,
        hidden=hidden,
        intent_hidden=hidden,
        batch_size=batch_size,
        gradient_steps=gradient_steps,
    )
    offline = LibraryLearner(uber.behavior_team(config, env))
    ctx = Context(
        hp=jax.tree.map(jnp.float32, config),
        env_params=env.default_params,
        data=offline.data(data),
        clock=jnp.int32(1),  # after the labels' moments have been measured
        horizon=jnp.int32(10),
    )
    init = jax.jit(lambda key, ctx: offline.init(key, ctx, {}))
    state = [init(seed_key(0), ctx)]
    update = jax.jit(lambda state, ctx: offline.update(state, ctx)[0], donate_argnums=0).lower(state[0], ctx).compile()
    steps = ctx.data
    inputs = offline.inputs(steps.obs[:batch_size], steps.state[:batch_size], steps.action[:batch_size])
    label = jax.jit(partial(labels, offline.network)).lower(state[0].intents, *inputs).compile()

    def learn() -> Any:
        state[0] = update(state[0], ctx)
        return state[0].heads

    size = sum(x.nbytes for x in jax.tree.leaves(state[0].heads)) // num
    return learn, lambda: label(state[0].intents, *inputs), size


def seconds_of(calls: list[Callable[[], Any]], repetitions: int) -> list[float]:
    """Median seconds of each call; a first round is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for repetition in range(repetitions + 1):
        for call, found in zip(calls, times):
            began = time.perf_counter()
            jax.block_until_ready(call())
            if repetition:
                found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in times]


def measure(
    env: str,
    learners: tuple[int, ...],
    hidden: tuple[int, ...],
    batch_size: int,
    gradient_steps: int,
    data_steps: int,
    repetitions: int,
) -> dict[str, list[Row]]:
    """Rows by number of learners and mode, and those of the disk."""
    from jaxmarl_suite.replay import KIND, Dataset, describe_spec, read_vault, write_vault

    spec = jaxmarl_envs.make(env).spec
    items = steps_of(env, data_steps)
    about = {"kind": KIND, "env": spec.id, "env_options": {}, "layout": describe_spec(spec), "size": data_steps}
    data = Dataset(Path("data"), items, about)
    kinds = [(num, mode) for num in learners for mode in MODES]
    sizes = {"hidden": hidden, "batch_size": batch_size, "gradient_steps": gradient_steps}
    made = [programs_of(env, num, mode, data, **sizes) for num, mode in kinds]
    learning = seconds_of([learn for learn, _, _ in made], repetitions)
    labeling = seconds_of([label for _, label, _ in made], repetitions)
    rows: list[Row] = []
    for (num, mode), (_, _, size), learned, labeled in zip(kinds, made, learning, labeling):
        steps = num * gradient_steps / learned
        rows.append(
            {
                "learners": num,
                "mode": mode,
                "gradient_steps_per_s": steps,
                "labels_per_s": num * batch_size / labeled,
                "bytes_per_learner": size,
            }
        )
    for row in rows:
        row["gain"] = row["gradient_steps_per_s"] / rows[0]["gradient_steps_per_s"]
    return {"library": rows, "dataset": _disk(items, about, read_vault, write_vault)}


def _disk(
    items: dict[str, np.ndarray], about: dict[str, Any], read: Callable[..., Any], write: Callable[..., Any]
) -> list[Row]:
    size = sum(array.nbytes for array in items.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        rows = []
        for name, call in (("write", lambda: write(path, items, about)), ("read", lambda: read(path))):
            with _common.stopwatch() as spent:
                call()
            rows.append({"operation": name, "bytes": size, "seconds": spent.wall, "bytes_per_s": size / spent.wall})
    return rows


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()
    sizes = {name: tuple(task[name]) for name in ("learners", "hidden")}
    return lambda _: {"hardware": _common.hardware(), "rows": measure(**{**task, **sizes})}


def tables_of(rows: dict[str, list[Row]]) -> list[Table]:
    """How the rows are shown and compared."""
    learners = (
        Column("learners", number("learners")),
        Column("heads", plain("mode")),
        Column("gradient steps/s, all learners", number("gradient_steps_per_s")),
        Column("x one", number("gain", ".1f")),
        Column("labels/s", number("labels_per_s")),
        Column("MiB per learner", number("bytes_per_learner", ".2f", 2**-20)),
    )
    disk = (
        Column("dataset", plain("operation")),
        Column("MB", number("bytes", ",.1f", 1e-6)),
        Column("MB/s", number("bytes_per_s", ",.0f", 1e-6)),
    )
    return [
        Table("library", rows["library"], learners, ("learners", "mode"), "gradient_steps_per_s"),
        Table("dataset", rows["dataset"], disk, ("operation",), "bytes_per_s"),
    ]


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("library", args)
    load = _common.machine()
    print(f"libraries of {', '.join(map(str, args.learners))} learners ...", file=sys.stderr, flush=True)
    names = ("env", "learners", "hidden", "batch_size", "gradient_steps", "data_steps", "repetitions")
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.library", {n: getattr(args, n) for n in names}, environment) as worker:
        answer = worker.ask({})
    return _common.finish("library", args, answer["hardware"] | load, tables_of(answer["rows"]), old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
