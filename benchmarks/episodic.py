"""Episodic memory: seconds to refresh every target of a ring, with critics of two sizes, and of the scan alone.

A refresh evaluates four critics on every stored transition, in chunks, and then passes backwards over scalars, either step
by step or by an associative scan. One process; repetitions of the settings alternate.

    python -m benchmarks.episodic --json episodic.json
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass, seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain

METHODS = ("scan", "associative")
NUM_CRITICS = 4


@pytree_dataclass
class Stored:
    """What a refresh reads of a step."""

    action: jax.Array  # [A]
    reward: jax.Array  # []


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures refreshes of episodic targets."""

    transitions: int = 100_000
    """Stored in all environments together."""
    num_envs: tuple[int, ...] = (1, 20)
    """Environments among which they are divided; more make the backward pass shorter."""
    critics: tuple[str, ...] = ("none", "64-64", "400-300")
    """Hidden layers of the critics; "none" for the backward pass alone."""
    obs_size: int = 17
    """Entries of an observation."""
    action_size: int = 6
    """Entries of an action."""
    chunk_size: int = 4096
    """Transitions that the critics see at once."""
    repetitions: int = 5
    """Timed refreshes of each setting, alternating."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        sizes = (self.transitions, self.obs_size, self.action_size, self.chunk_size, self.repetitions, *self.num_envs)
        if not self.num_envs or min(sizes) < 1:
            raise ValueError(
                "transitions, num_envs, obs_size, action_size, chunk_size and repetitions must be positive"
            )
        for envs in self.num_envs:
            if self.transitions % envs:
                raise ValueError(f"transitions must divide among {envs} environments, got {self.transitions}")
        for critics in self.critics:
            widths_of(critics)


def widths_of(critics: str) -> tuple[int, ...]:
    """Widths of hidden layers; none for "none".

    Raises:
      ValueError: for what is no list of widths.
    """
    if critics == "none":
        return ()
    try:
        widths = tuple(int(width) for width in critics.split("-"))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise ValueError(f"critics must be 'none' or widths such as 400-300, got {critics!r}")
    return widths


def refresh_of(
    critics: str, method: str, num_envs: int, transitions: int, obs_size: int, action_size: int, chunk_size: int
) -> tuple[Callable[..., Any], tuple[Any, ...], int]:
    """A refresh, its arguments, and multiply-adds of the critics in it."""
    from jaxmarl_suite.ops import episodic_targets, group_minimum
    from jaxmarl_suite.replay import Block, StoreLayout, Transitions, add_block, new_store, targets_of_store

    steps = transitions // num_envs
    keys = jax.random.split(seed_key(0), 6)
    shape = (num_envs, steps)
    obs = jax.random.normal(keys[2], (*shape, obs_size))
    block = Block(
        steps=Stored(
            action=jax.random.uniform(keys[0], (*shape, action_size), minval=-1.0),
            reward=jax.random.normal(keys[1], shape),
        ),
        observed=obs,
        observed_after=obs[:, 0],
        final=obs,
        terminated=jax.random.uniform(keys[3], shape) < 0.001,
        truncated=jax.random.uniform(keys[4], shape) < 0.001,
        start=(),
    )
    layout = StoreLayout(num_envs, 1, steps, episode_limit=1000)
    store = add_block(layout, new_store(layout, block), block)
    store = dataclasses.replace(store, head=dataclasses.replace(store.head, next_slot=jnp.int32(steps // 3)))
    widths, size, layers = widths_of(critics), obs_size + action_size, []
    for key, width in zip(jax.random.split(keys[5], 9), (*widths, 1) if widths else ()):
        layers.append(jax.random.normal(key, (NUM_CRITICS, size, width)) * size**-0.5)
        size = width

    def bootstrap(layers: list[jax.Array], batch: Transitions, key: jax.Array) -> jax.Array:
        after = batch.next_observed
        if not layers:
            return after[:, :2] if obs_size > 1 else jnp.repeat(after, 2, axis=1)
        x = jnp.concatenate([after, batch.steps.action], axis=1)  # the action stands in for the target policy's

        def value(layers: list[jax.Array]) -> jax.Array:
            hidden = x
            for kernel in layers[:-1]:
                hidden = jax.nn.relu(hidden @ kernel)
            return (hidden @ layers[-1])[:, 0]

        return group_minimum(jax.vmap(value)(layers))

    targets = functools.partial(episodic_targets, gamma=0.99, method=method)

    def refresh(store: Any, layers: list[jax.Array], key: jax.Array) -> jax.Array:
        return targets_of_store(
            layout,
            store.head,
            store.contents,
            functools.partial(bootstrap, layers),
            targets,
            key,
            reward=store.contents.steps.reward,
            chunk_size=chunk_size,
        )

    return refresh, (store, layers, keys[0]), transitions * sum(x.size for x in layers)


def measure(
    transitions: int,
    num_envs: tuple[int, ...],
    critics: tuple[str, ...],
    obs_size: int,
    action_size: int,
    chunk_size: int,
    repetitions: int,
) -> list[Row]:
    """A row a number of environments, size of critics and method."""
    rows: list[Row] = []
    for envs in num_envs:
        programs = []
        for widths in critics:
            for method in METHODS:
                refresh, arguments, products = refresh_of(
                    widths, method, envs, transitions, obs_size, action_size, chunk_size
                )
                compiled = jax.jit(refresh).lower(*arguments).compile()
                memory = compiled.memory_analysis()
                row: Row = {
                    "critics": widths,
                    "method": method,
                    "num_envs": envs,
                    "transitions": transitions,
                    "flop": 2 * products,
                    "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
                }
                programs.append((row, compiled, arguments, list[float]()))
        for repetition in range(repetitions + 1):
            for _, compiled, arguments, times in programs:
                began = time.perf_counter()
                jax.block_until_ready(compiled(*arguments))
                if repetition:
                    times.append(time.perf_counter() - began)
        first = {row["critics"]: times for row, _, _, times in programs if row["method"] == METHODS[0]}
        for row, _, _, times in programs:
            seconds = statistics.median(times)
            ratio = statistics.median(a / b for a, b in zip(times, first[row["critics"]]))
            speed = row["flop"] / seconds if row["flop"] else None
            rows.append(
                row
                | {"seconds": seconds, "ratio": ratio, "transitions_per_s": transitions / seconds, "flop_per_s": speed}
            )
    return rows


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    configure()
    sizes = {name: tuple(task[name]) for name in ("num_envs", "critics")}
    return lambda _: {"hardware": _common.hardware(), "rows": measure(**{**task, **sizes})}


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("critics", plain("critics")),
        Column("environments", plain("num_envs")),
        Column("backward pass", plain("method")),
        Column("ms", number("seconds", ",.2f", 1e3)),
        Column("x scan", number("ratio", ".2f")),
        Column("transitions/s", number("transitions_per_s")),
        Column("critics' Gflop/s", number("flop_per_s", ",.1f", 1e-9)),
        Column("temporaries MiB", number("temporary_bytes", ",.1f", 2**-20)),
    )
    return Table("episodic", rows, columns, ("critics", "num_envs", "transitions", "method"), "seconds", is_time=True)


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("episodic", args)
    load = _common.machine()
    print(f"rings of {args.transitions:,} transitions ...", file=sys.stderr, flush=True)
    names = ("transitions", "num_envs", "critics", "obs_size", "action_size", "chunk_size", "repetitions")
    environment = _processes.child_environment(keep_flags=True, JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.episodic", {n: getattr(args, n) for n in names}, environment) as worker:
        answer = worker.ask({})
    return _common.finish("episodic", args, answer["hardware"] | load, [table_of(answer["rows"])], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
