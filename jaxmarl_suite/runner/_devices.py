"""Devices: one host device per core on CPU, the mesh over which lanes are divided, the compilation cache."""

import functools
import gc
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxmarl_suite.runner._cache import use_cache
from jaxmarl_suite.runner._machine import available_memory, usable_cores

_P = ParamSpec("_P")
_R = TypeVar("_R")
# In JAX before 0.8 it is in `experimental`.
_enable_x64: Any = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # type: ignore[attr-defined]
# Loops without matrix products whose carried arrays stay below this become one function of machine code. Above it, every
# operation of every iteration passes through XLA's scheduler, which costs more than a small environment's whole step.
_SMALL_LOOP_BYTES = 2**18
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def configure(cpu_devices: int | None = None) -> None:
    """Prepares JAX for training. Call it before the first computation of the process; later calls are harmless.

    On CPU: one host device per core, each running its operations on one thread, and small loops compiled as one
    function. A single device wastes most of several cores on dispatching small operations (benchmarks/README.md has
    the measurements), and several devices that share one thread pool inside operations can deadlock.
    Everywhere: compiled programs are kept on disk.

    Args:
      cpu_devices: host devices; None for `JAX_NUM_CPU_DEVICES`, an XLA flag already set, or the usable cores.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags and "JAX_NUM_CPU_DEVICES" not in os.environ:
        flags += f" --xla_force_host_platform_device_count={cpu_devices or usable_cores()}"
    if "xla_cpu_multi_thread_eigen" not in flags:
        flags += " --xla_cpu_multi_thread_eigen=false"
    if "xla_backend_extra_options" not in flags:
        flags += f" --xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold={_SMALL_LOOP_BYTES}"
    os.environ["XLA_FLAGS"] = flags.strip()
    use_cache()


def in_32_bits(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """`fn` with JAX's 64-bit types disabled while it runs: programs and checkpoints use 32 bits everywhere."""

    @functools.wraps(fn)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _enable_x64(False):
            return fn(*args, **kwargs)

    return run


def seldom_collecting(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """`fn` with Python's garbage collector at work a hundredth as often while it runs.

    Tracing makes hundreds of thousands of small objects and hardly any garbage: collecting at Python's own threshold takes
    a sixth of the CPU time from the command to the first row.
    """

    @functools.wraps(fn)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        before = gc.get_threshold()
        gc.set_threshold(max(before[0], _OBJECTS_BETWEEN_COLLECTIONS) if before[0] else 0, *before[1:])
        try:
            return fn(*args, **kwargs)
        finally:
            gc.set_threshold(*before)

    return run


def lane_mesh(num_lanes: int, max_devices: int | None = None) -> Mesh:
    """A mesh with the axes `seed` and `env`: as many devices along `seed` as there are lanes for; the rest are unused."""
    devices = jax.devices()[: max_devices or None]
    count = min(num_lanes, len(devices))
    return Mesh(np.array(devices[:count]).reshape(count, 1), ("seed", "env"), axis_types=(AxisType.Auto,) * 2)


def env_mesh(max_devices: int | None = None) -> Mesh:
    """A mesh with all devices along `env`, for few lanes with many environments."""
    devices = jax.devices()[: max_devices or None]
    return Mesh(np.array(devices).reshape(1, len(devices)), ("seed", "env"), axis_types=(AxisType.Auto,) * 2)


def memory_budget() -> int:
    """Bytes that a run may use: 80 % of the accelerators' memory, or on CPU of the memory available to the host or
    container.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        limits = [stats["bytes_limit"] for d in devices if (stats := d.memory_stats()) and "bytes_limit" in stats]
        if limits:
            return int(0.8 * sum(limits))
    available = available_memory()
    if available is not None:
        return int(0.8 * available)
    return int(0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
