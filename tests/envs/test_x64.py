"""With JAX's 64-bit types switched on, environments show what they show without."""

import json
import os
import subprocess
import sys

import jax
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import AgentId, Clock, DelayReward, EpisodeMetrics, EpisodeStatistics, LastAction, ShowOwed, adapters
from jaxmarl_envs.core import uniform_index

from tests.envs.adapter_tools import play

KEY = jax.random.key(2)
OWN = [
    "matrix/climbing", "matrix/M1", "matrix/two-step", "matrix/mmdp", "matrix/multitask-2x3", "hallway/2-3", "toy/pendulum",
    "toy/inverted-pendulum", "toy/point-mass-2", "toy/linear-team", "toy/puck", "toy/handover", "toy/chain",
    "toy/chain-continuous", "micro/zerg_2_vs_3", "football/3_vs_1_with_keeper",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("micro/MMM", "micro/2m_vs_1z")),
]  # fmt: skip
OTHERS = {
    "jaxmarl": ["smax/3m", "mpe/simple-spread", "mpe/simple-speaker-listener", "hanabi/very-small-2p",
                "overcooked/cramped_room"],
    "gymnax": ["gymnax/space-invaders", "gymnax/breakout", "gymnax/cartpole", "gymnax/catch"],
    "jumanji": ["jumanji/rware-tiny-2ag", "jumanji/lbf-5x5-2p-1f", "jumanji/connector-5x5-3ag", "jumanji/cleaner-4x4-2ag"],
    "brax": ["mabrax/reacher-2x1", "mabrax/ant-4x2"],
}  # fmt: skip
WRAPPED = {
    "all": lambda: EpisodeStatistics(AgentId(LastAction(Clock(jaxmarl_envs.make("hallway/2-3"))))),
    "owed": lambda: ShowOwed(DelayReward(jaxmarl_envs.make("toy/puck"), 3)),
    "metrics": lambda: EpisodeMetrics(jaxmarl_envs.make("toy/chain"), sums=("success",)),
}


@pytest.mark.parametrize("env_id", [*OWN, *WRAPPED])
def test_own_environments_are_the_same(env_id):
    """States and TimeSteps in type and value: random numbers are not drawn in another type either."""
    found = []
    for switched_on in (False, True):
        with jax.enable_x64(switched_on):
            env = WRAPPED[env_id]() if env_id in WRAPPED else jaxmarl_envs.make(env_id)
            state = jax.eval_shape(env.reset, KEY, env.default_params)[0]
            found.append((jax.tree.map(lambda x: str(x.dtype), state), play(env, KEY, 12)))
    (states, shown), (states_x64, shown_x64) = found
    assert states == states_x64
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), shown, shown_x64)
    jax.tree.map(lambda a, b: a.dtype == b.dtype or pytest.fail(f"{a.dtype} and {b.dtype}"), shown, shown_x64)


def test_drawn_indices_are_the_same():
    with jax.enable_x64(True):
        found = np.asarray(uniform_index(KEY, 7, (100,)))
    np.testing.assert_array_equal(found, uniform_index(KEY, 7, (100,)))
    assert found.dtype == np.int32 and set(found.tolist()) == set(range(7))


SCRIPT = """
import json, sys
import jax, jaxmarl_envs
from jaxmarl_envs.core._check_traces import check_structure
found = {}
for env_id in sys.argv[1:]:
    env = jaxmarl_envs.make(env_id)
    try:
        found[env_id] = check_structure(env, env.spec, jax.random.key(0), env.default_params)
    except Exception as error:
        found[env_id] = [repr(error)]
assert jax.numpy.zeros(()).dtype == "float64"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def problems():
    """By id, in a process of their own, where the packages are imported and their constants made under the flag as well."""
    ids = [env_id for package, own in OTHERS.items() if adapters.is_installed(package) for env_id in own]
    env = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *ids], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("package", OTHERS)
def test_adapted_environments_keep_their_types(package, problems):
    if not adapters.is_installed(package):
        pytest.skip(f"needs {package}")
    assert {env_id: problems[env_id] for env_id in OTHERS[package]} == {env_id: [] for env_id in OTHERS[package]}
