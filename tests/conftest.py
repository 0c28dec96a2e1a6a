"""A strict floor for every test: two CPU devices, no silent dtype or rank promotion, compiled programs kept on disk.

Most of what the tests cost is tracing and compilation. So programs are compiled with few optimizations, except in tests
marked `optimized`, which compute for long. With `COMPILER=users` in the environment, as in `make test-slow`, all are
compiled as in a user's run.
"""

import gc
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One cache for all tests of this user and every process that they start; a second run compiles little.
os.environ.setdefault("JAXMARL_SUITE_CACHE", str(Path(tempfile.gettempdir()) / "jaxmarl-suite-test-cache"))
if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    if os.environ.get("COMPILER") != "users":
        # Fusions of matrix products by YNNPACK are slow to compile, and so are all fusions by the new emitters: without
        # them, and without splitting programs for threads, compilation takes a third of the CPU time.
        os.environ["XLA_FLAGS"] += (
            " --xla_cpu_experimental_ynn_fusion_type= --xla_cpu_use_fusion_emitters=false"
            " --xla_cpu_parallel_codegen_split_count=1"
        )

import jax
import pytest

from jaxmarl_suite.runner import configure

configure()
# Tracing makes many objects and little garbage: at Python's own threshold the collector takes a fifth of the CPU time.
gc.set_threshold(100_000, 20, 50)
# Small programs as well: most are operations outside `jit`, of which every file compiles hundreds, the same ones as others.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

LONG = (
    "test_contracts",
    "test_processes",
    "test_devices",
    "test_ppo_update",
    "test_mabrax",
    "test_benchmarks",
)


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that no worker is left with one at the end."""
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(Path(item.path).stem, len(LONG)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before the fixtures of `item`, of whatever scope."""
    quick = os.environ.get("COMPILER") != "users" and item.get_closest_marker("optimized") is None
    jax.config.update("jax_disable_most_optimizations", quick)


def pytest_runtest_teardown(item, nextitem):
    """Programs of one file are of little use to the next, and would fill gigabytes."""
    if nextitem is None or nextitem.path != item.path:
        jax.clear_caches()
