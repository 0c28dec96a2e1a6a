"""Kernels: the weight gradient of a dense layer in three forms, against a plain matrix product of the same size.

A gradient x' g contracts the leading axes of both factors. On CPU, XLA's speed there depends on the form; that of
`jaxmarl_suite.networks` copies x first. One process, pinned to one core, as the runner configures it; repetitions of the
forms alternate.

    python -m benchmarks.kernels --json kernels.json
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import seed_key

from benchmarks import _common, _processes
from benchmarks._tables import Column, Row, Table, number, plain


@dataclasses.dataclass(frozen=True)
class Args(_common.Options):
    """Measures matrix products on one core."""

    leading: tuple[int, ...] = (16, 128)
    """Axes in front, over which a weight gradient sums."""
    inputs: int = 64
    """Inputs of the layer."""
    outputs: int = 64
    """Outputs of the layer."""
    repetitions: int = 15
    """Timed repetitions of each form, alternating."""
    calls: int = 200
    """Calls in one repetition."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured."""
        super().__post_init__()
        if not self.leading or min(*self.leading, self.inputs, self.outputs, self.repetitions, self.calls) < 1:
            raise ValueError("leading, inputs, outputs, repetitions and calls must be positive")


def forms(leading: tuple[int, ...], inputs: int, outputs: int) -> dict[str, tuple[Callable, tuple[jax.Array, ...]]]:
    """Functions and what they are applied to; each gives [inputs, outputs], the same numbers."""
    from jaxmarl_suite.networks._linear import linear

    x_key, kernel_key, g_key = jax.random.split(seed_key(0), 3)
    x, g = jax.random.normal(x_key, (*leading, inputs)), jax.random.normal(g_key, (*leading, outputs))
    kernel = jax.random.normal(kernel_key, (inputs, outputs))
    rows, columns = x.reshape(-1, inputs), g.reshape(-1, outputs)

    def gradient(product: Callable) -> Callable:
        return lambda x, kernel, g: jax.vjp(lambda k: product(x, k), kernel)[1](g)[0]

    return {
        "plain product": (jnp.matmul, (jnp.array(rows.T), columns)),
        "leading axes contracted": (lambda x, g: jax.lax.dot_general(x, g, (((0,), (0,)), ((), ()))), (rows, columns)),
        "autodiff of x @ kernel": (gradient(jnp.matmul), (x, kernel, g)),
        "with a copy of x": (gradient(linear), (x, kernel, g)),
    }


def measure(leading: tuple[int, ...], inputs: int, outputs: int, repetitions: int, calls: int) -> list[Row]:
    """One row per form: median seconds of a call, and their ratio to the plain product's."""
    programs = {
        name: (jax.jit(function).lower(*arrays).compile(), arrays)
        for name, (function, arrays) in forms(leading, inputs, outputs).items()
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repetitions + 1):
        for name, (program, arrays) in programs.items():
            began = time.perf_counter()
            for _ in range(calls):
                result = program(*arrays)
            jax.block_until_ready(result)
            times[name].append((time.perf_counter() - began) / calls)
    base = times["plain product"][1:]
    operations = 2 * math.prod(leading) * inputs * outputs
    return [
        {
            "form": name,
            "shape": f"{' x '.join(map(str, leading))} x {inputs}, {outputs}",
            "seconds": statistics.median(warm),
            "ratio": statistics.median(t / b for t, b in zip(warm, base)),
            "operations_per_s": operations / statistics.median(warm),
        }
        for name, (_, *warm) in times.items()
    ]


def _start_worker(task: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from jaxmarl_suite.runner import configure

    _processes.pin()
    configure(1)
    return lambda _: {"hardware": _common.hardware(), "rows": measure(**task)}


def table_of(rows: list[Row]) -> Table:
    """How the rows are shown and compared."""
    columns = (
        Column("form", plain("form")),
        Column("shape", plain("shape")),
        Column("microseconds", number("seconds", ",.0f", 1e6)),
        Column("x plain", number("ratio", ".2f")),
        Column("Gflop/s", number("operations_per_s", ",.0f", 1e-9)),
    )
    return Table("kernels", rows, columns, ("form", "shape"), "seconds", is_time=True)


def main(args: Args) -> dict[str, Any]:
    old = _common.begin("kernels", args)
    load = _common.machine()
    task = {name: getattr(args, name) for name in ("leading", "inputs", "outputs", "repetitions", "calls")}
    environment = _processes.child_environment(keep_flags=False, JAX_PLATFORMS="cpu", JAXMARL_SUITE_CACHE="off")
    with _processes.Worker("benchmarks.kernels", task, environment) as worker:
        answer = worker.ask({})
    found = answer["hardware"] | load  # of the whole machine, not of the one core
    return _common.finish("kernels", args, found, [table_of(answer["rows"])], old=old)


if __name__ == "__main__":
    if _processes.is_worker():
        _processes.serve(_start_worker)
    else:
        _common.run_script(main, Args)
