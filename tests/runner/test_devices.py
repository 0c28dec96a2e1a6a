"""Devices: what `configure` sets up, in processes of their own."""

import os
import subprocess
import sys

_BATCHED_LAPACK = """
from jaxmarl_suite.runner import configure
configure(2)
import jax, numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec
mesh = Mesh(np.array(jax.devices()), ("seed",), axis_types=(AxisType.Auto,))
def lanes(keys):
    return jax.lax.map(lambda key: jax.numpy.linalg.qr(jax.random.normal(key, (4, 64, 64)))[0].sum(), keys)
spec = PartitionSpec("seed")
program = jax.jit(jax.shard_map(lanes, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
for _ in range(100):
    program(jax.random.split(jax.random.key(0), 16)).block_until_ready()
print("devices", jax.device_count())
"""


def test_batched_lapack_calls_on_two_devices_do_not_wait_for_each_other() -> None:
    """Without `configure`'s larger pool this hangs within a few calls on a machine of two cores."""
    env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", _BATCHED_LAPACK], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["devices", "2"]
