"""Small runs, and what is left of them."""

import atexit
import dataclasses
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dataset_tools import LINE, random_data, write_random

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import Phase
from jaxmarl_suite.runner import Experiment, TrainOptions, plan_phases
from jaxmarl_suite.runner._checkpoint import Checkpoints
from jaxmarl_suite.runner._lanes import lane_shapes

UPDATES = 12
UPDATE_STEPS = 32
LONG_UPDATES = 40
_SMALL: dict[str, Any] = {"num_envs": 8, "rollout_length": 4, "epochs": 2, "hidden": (16,)}
_Q_SMALL: dict[str, Any] = {
    "num_envs": 8,
    "capacity": 16,
    "batch_size": 4,
    "gradient_steps": 1,
    "learning_starts": 24,
    "target_period": 3,
    "recurrent": False,
    "width": 4,
    "embed": 4,
    "hyper_hidden": 4,
    "heads": 2,
    "depth": 1,
    "central_hidden": 4,
    "joint_hidden": 4,
}
_OFF_POLICY_SMALL: dict[str, Any] = {
    "num_envs": 8,
    "rollout_length": 4,
    "capacity": 128,
    "batch_size": 8,
    "gradient_steps": 2,
    "warmup_steps": 64,
    "hidden": (4,),
}
_OFFLINE_SMALL: dict[str, Any] = {
    "gradient_steps": 2,
    "total_gradient_steps": 2 * UPDATES,
    "batch_size": 8,
    "hidden": (32,),  # without a replay, networks are all that a state consists of
    "num_intents": 3,
    "intent_hidden": (4,),
}
_PLANNING_SMALL: dict[str, Any] = {
    "unroll_steps": 2,
    "n_step": 2,
    "num_simulations": 4,
    "num_samples": 2,
    "target_period": 3,
    "num_bins": 9,
    "width": 4,
    "head_hidden": (4,),
    "predictor_hidden": 4,
    "communication_layers": 1,
    "num_heads": 2,
}
_IMAGINATION_SMALL: dict[str, Any] = {
    "num_envs": 8,
    "rollout_length": 4,
    "horizon": 3,
    "history": 1,
    "windows": 2,
    "imagined_envs": 4,
    "imagined_rollouts": 2,
    "warmup_steps": 32,
    "warmup_rounds": 1,
    "capacity": 128,
    "model_updates": 2,
    "state_batch": 4,
    "outcome_batch": 4,
    "observation_batch": 4,
    "model_size": "tiny",
    "model_hidden": (4,),
    "members": 2,
    "token_layers": 1,
    "token_width": 8,
    "epochs": 2,
    "hidden": (4,),
}
_OWN: dict[str, dict[str, Any]] = {
    "ippo": {"recurrent": True, "memory_size": 8, "chunk_length": 2},
    "iql": {"recurrent": True},
    "vdn": {"prioritized": True},
    "mcts": {"simulations": (2, 4), "num_samples": 2},
}


def tiny_config(name: str, **changes: Any) -> Any:
    """A config of algorithm `name` that compiles and runs in little time."""
    spec = algorithms.get(name)
    base = spec.default_config
    fields = {field.name for field in dataclasses.fields(base)}
    if "imagined_envs" in fields:
        sizes = _IMAGINATION_SMALL
    elif {"total_gradient_steps", "warmup_steps"} & fields:
        sizes = (_OFF_POLICY_SMALL if "warmup_steps" in fields else {}) | (_OFFLINE_SMALL if is_offline(name) else {})
        sizes |= _PLANNING_SMALL if "unroll_steps" in fields else {}
    else:
        sizes = {**_SMALL, **(_Q_SMALL if "capacity" in fields else {})}
    small = {k: v for k, v in sizes.items() if k in fields}
    return dataclasses.replace(base, **{**small, **_OWN.get(name, {}), **changes})


def is_offline(name: str) -> bool:
    """Whether algorithm `name` learns from stored data, in its first or only phase."""
    return hasattr(algorithms.get(name).default_config, "total_gradient_steps")


def run_steps(experiment: Experiment) -> int:
    """Steps of a run: environment steps, and updates of phases that take none."""
    plan = plan_phases(experiment.groups()[0], experiment.options)[-1]
    return plan.step(plan.updates)


@functools.cache
def line_data() -> str:
    """Stored data of `line/1`, of random play; in a folder of this process."""
    folder = tempfile.mkdtemp(prefix="line-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(write_random(Path(folder) / "data", LINE, random_data(LINE, 4, 12).items, limit=3))


def tiny(name: str, *, changes: dict[str, Any] | None = None, grid: Any = None, **options: Any) -> Experiment:
    """Twelve updates of algorithm `name` on episodes of three steps, which end within its rollouts of four.

    On `matrix/climbing`, on a line (`line_env.registered`) for methods that need continuous actions, or on a chain for those
    of a single agent with discrete ones.
    """
    env, env_options = "matrix/climbing", {"horizon": 3}
    if "discrete" not in algorithms.get(name).actions:
        env, env_options = ("line/2" if name.startswith("ma") else "line/1"), {"limit": 3}
    if name in ("gem-q", "gem-meta"):
        env, env_options = "toy/chain", {"length": 2, "limit": 3}
    chosen: dict[str, Any] = {
        "data": line_data() if is_offline(name) else None,
        # Offline phases have twelve updates of their own; what follows them is short.
        "total_steps": (4 if is_offline(name) else UPDATES) * UPDATE_STEPS,
        "evaluations": 4,
        "eval_episodes": 4,
        "absolute_episodes": 8,
        "log_rows": UPDATES,
        "checkpoint_seconds": 1e6,
    }
    return Experiment(
        name,
        env,
        tiny_config(name, **(changes or {})),
        env_options,
        grid or {},
        TrainOptions(**{**chosen, **options}),
    )


def phase_shapes(experiment: Experiment) -> Iterator[tuple[Phase, Callable[..., Any], Any, Any]]:
    """`(phase, start, state, ctx)` of one lane: `start(key, ctx)` begins the phase; state and context are shapes."""
    (group,) = experiment.groups()
    key = jax.eval_shape(lambda: jax.random.key(0))
    handed: Any = None
    for phase, data in zip(group.phases, group.data):
        ctx = lane_shapes(group.lanes[0], data)
        start: Callable[..., Any] = phase.algorithm.init
        if phase.begin is not None:
            start = functools.partial(phase.begin, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), handed))
        state = jax.eval_shape(start, key, ctx)
        yield phase, start, state, ctx
        handed = state if phase.artifact is None else jax.eval_shape(phase.artifact, state)


def toy(
    *, changes: dict[str, Any] | None = None, grid: Any = None, env: str = "countdown", **options: Any
) -> Experiment:
    """Twelve updates of the toy algorithm."""
    chosen: dict[str, Any] = {
        "total_steps": UPDATES * 4,
        "evaluations": 4,
        "eval_episodes": 8,
        "absolute_episodes": 8,
        "log_rows": UPDATES,
        "checkpoint_seconds": 1e6,
    }
    config = dataclasses.replace(algorithms.get("toy").config(), **(changes or {}))
    return Experiment("toy", f"counting/{env}", config, {}, grid or {}, TrainOptions(**{**chosen, **options}))


def rows(run_dir: Path, kind: str | None = None, lane: int | None = None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by (kind, lane, phase, update), the last of each, without the wall clock."""
    found = {}
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        del row["wall"]
        if kind in (None, row["kind"]) and lane in (None, row["lane"]):
            found[row["kind"], row["lane"], row["phase"], row["update"]] = row
    return found


def metrics(run_dir: Path, kind: str, lane: int = 0) -> list[dict[str, Any]]:
    """Metrics of a lane's rows, in order."""
    return [row["metrics"] for row in rows(run_dir, kind, lane).values()]


def lane_rows(run_dir: Path, lane: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of a lane under names that do not tell which lane of how many it is."""
    return {
        (row["kind"], row["phase"], row["update"]): {k: v for k, v in row.items() if k not in ("lane", "point")}
        for row in rows(run_dir, lane=lane).values()
    }


def final_arrays(run_dir: Path, wave: str = "000-00000") -> list[np.ndarray]:
    """What the newest checkpoint holds: every array [lanes, ...] of the learner, its best policy, its totals."""
    checkpoints = Checkpoints(run_dir / "checkpoints" / wave)
    try:
        arrays, _, problems = checkpoints.restore()
    finally:
        checkpoints.close()
    assert arrays is not None and not problems
    return arrays


def assert_same_arrays(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    """Bit by bit."""
    assert len(a) == len(b)
    for one, other in zip(a, b):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def assert_close_rows(a: Any, b: Any, tolerance: float = 1e-5) -> None:
    """The same rows, with metrics that agree within `tolerance`."""
    assert a.keys() == b.keys() and a
    for name in a:
        ours, theirs = a[name]["metrics"], b[name]["metrics"]
        assert ours.keys() == theirs.keys()
        for metric in ours:
            value, other = ours[metric], theirs[metric]
            assert (value is None) == (other is None), (name, metric)
            if value is not None:
                assert abs(value - other) <= tolerance * (1 + abs(other)), (name, metric, value, other)


class Recorder:
    """A listener that keeps what it is told, and calls `on_rows(number of calls)` at every sign of life."""

    def __init__(self, on_rows: Callable[[int], None] = lambda calls: None) -> None:
        self.said: list[str] = []
        self.calls = 0
        self.env_steps = 0
        self._on_rows = on_rows

    def announce(self, text: str) -> None:
        """Keeps the line."""
        self.said.append(text)

    def rows(self, rows: list[dict[str, Any]], env_steps: int) -> None:
        """Counts."""
        self.calls += 1
        self.env_steps += env_steps
        self._on_rows(self.calls)


def long(name: str) -> Experiment:
    """A run of the programs of `tiny`, or of the toy, that lasts some seconds, as it saves after every update."""
    if name == "toy":
        return toy(
            total_steps=LONG_UPDATES * 4, evaluations=LONG_UPDATES, log_rows=LONG_UPDATES, checkpoint_seconds=0.0
        )
    return tiny(name, first_seed=3, total_steps=LONG_UPDATES * UPDATE_STEPS, evaluations=LONG_UPDATES,
                log_rows=LONG_UPDATES, checkpoint_seconds=0.0)  # fmt: skip
