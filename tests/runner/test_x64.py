"""With JAX's 64-bit types switched on, algorithms learn in 32 bits, as they do without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import collections, dataclasses, gc, sys
gc.set_threshold(100_000, 20, 50)
import jax, line_env
from runner_tools import phase_shapes, rows, tiny
from jaxmarl_suite import algorithms, runner
from jaxmarl_suite.runner._play import evaluate_policy

def wide(tree):
    named = jax.tree_util.tree_leaves_with_path(tree)
    return [f"{jax.tree_util.keystr(path)} {x.dtype}" for path, x in named if "64" in str(x.dtype)]

assert jax.numpy.zeros(()).dtype == "float64"
STANDING = ("mappo", "tad-ppo", "qplex", "gem", "mazero", "td3-bc")
with line_env.registered():
    line = {"env": "line/2", "env_options": {"limit": 3}}
    experiments = [tiny(name) for name in STANDING]
    others = () if sys.argv[2] == "standing" else [
        *(tiny(name) for name in algorithms.names() if name not in STANDING),
        *(dataclasses.replace(tiny(name), **line) for name in ("happo", "tad-ppo")),
        tiny("qplex", changes={"transformation": "qatten"}),
        *(tiny("gem", changes=changes) for changes in ({"max_steps": 2}, {"average": True})),
    ]
    for experiment in others or experiments:
        name = experiment.algorithm
        env = experiment.groups()[0].env
        for phase, _, state, ctx in phase_shapes(experiment):
            after, metrics = jax.eval_shape(phase.algorithm.update, state, ctx)
            policy, key = phase.algorithm.policy(state), jax.eval_shape(lambda: jax.random.key(0))
            play = lambda p, c, k: evaluate_policy(phase.algorithm, env, p, c, k, episodes=2, max_steps=3)
            shown = jax.eval_shape(play, policy, ctx, key)
            found = wide((ctx, state, after, metrics, shown))
            assert not found, (name, phase.name, found)
            types = [jax.tree.map(lambda x: str(x.dtype), tree) for tree in (state, after)]
            assert types[0] == types[1], (name, phase.name)
    for name in ("sac", "gem-q") if others else ():
        kinds = collections.Counter(kind for kind, *_ in rows(runner.run(tiny(name), run_dir=f"{sys.argv[1]}/{name}")))
        assert kinds == {"train": 12, "eval": 4, "absolute": 1}, kinds
print("fine")
"""


# By default one method of each core. Runs with 64-bit types are among the tests of `test_ambient.py`, too.
@pytest.mark.parametrize("which", ["standing", pytest.param("others", marks=pytest.mark.slow)])
def test_every_algorithm_keeps_its_types(which, tmp_path):
    """What phases, updates and evaluations take and give; and two runs, whose loops and branches compare types."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *(p for p in sys.path if p)]
    env = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), which], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "fine"
