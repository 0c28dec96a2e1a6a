"""Traces are there once for all lanes, and results are those of a copy per lane."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import Family, TimeLimit, pytree_dataclass
from jaxmarl_envs.core import _registry
from runner_tools import assert_same_arrays, final_arrays, rows

from jaxmarl_suite.runner import Experiment, TrainOptions, choose_wave, run
from jaxmarl_suite.runner._environments import Instance, same_program
from jaxmarl_suite.runner._lanes import lane_context, pad_lanes
from jaxmarl_suite.runner._schedule import plan_phases
from jaxmarl_suite.runner._wave import _place_contexts

pytestmark = pytest.mark.usefixtures("toys", "copied")
SIZES: dict[str, Any] = {"sessions": 900, "windows": 64, "n_agents": 2, "capacity": 8, "rounds": 12}


@pytree_dataclass
class CopiedParams:
    """The parameters of the caching tasks with nothing shared."""

    windows: jax.Array
    peer_cost: jax.Array
    token_weight: jax.Array


def make_copied(variant: str, **options: Any) -> TimeLimit:
    """A caching task whose windows every lane has a copy of."""
    env: Any = jaxmarl_envs.make(f"rag/{variant}", **options)
    fields = {field.name: getattr(env.default_params, field.name) for field in dataclasses.fields(CopiedParams)}
    return TimeLimit(dataclasses.replace(env.env, default_params=CopiedParams(**fields)), env.limit)


@pytest.fixture(scope="module")
def copied() -> Iterator[None]:
    """The family `copied`."""
    evaluated = {"split": "validation"}
    jaxmarl_envs.register(Family("copied", make_copied, ("cache-L1",), evaluation_options=evaluated))
    yield
    del _registry._registered["copied"]


def experiment(
    env: str = "rag/cache-L1", grid: Any = None, algorithm: str = "toy-without-floats", **options: Any
) -> Experiment:
    chosen = TrainOptions(
        **{
            "total_steps": 48,
            "evaluations": 2,
            "eval_episodes": 2,
            "absolute_episodes": 2,
            "log_rows": 4,
            "devices": 1,
            **options,
        }
    )
    return Experiment(algorithm, env, env_options=SIZES, grid=grid or {}, options=chosen)


def needed(env: str, lanes: int, mode: str) -> tuple[int, int]:
    """Bytes that a chunk of updates and an evaluation need beside the state; temporaries of mapped lanes count, too."""
    (group,) = experiment(env, seeds=lanes, lane_mode=mode).groups()
    _, (programs,), _ = choose_wave(group, experiment(seeds=lanes, lane_mode=mode).options)
    temporaries = programs.memory["temporaries"] if mode == "map" else 0  # of batched ones each lane has its own
    return programs.memory["arguments"] + temporaries - programs.state_bytes, programs.evaluation_memory["arguments"]


@pytest.mark.parametrize(
    ("mode", "env"),
    [("map", "rag"), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("vmap", "rag"), ("map", "copied")))],
)
def test_memory_does_not_grow_by_the_trace_with_lanes(mode: str, env: str) -> None:
    (group,) = experiment().groups()
    sizes = [params.windows.nbytes for params in (group.lanes[0].env_params, group.lanes[0].eval_params)]
    few, many = needed(f"{env}/cache-L1", 1, mode), needed(f"{env}/cache-L1", 4, mode)
    for size, before, after in zip(sizes, few, many):
        assert size > 150_000 and before > size, "the trace is counted"
        grown = (after - before) / size  # traces for three more lanes
        assert grown < 0.2 if env == "rag" else grown >= 3, grown


@pytest.mark.parametrize(
    "options",
    [{"lane_mode": "map", "devices": 2}, pytest.param({"lane_mode": "vmap"}, marks=pytest.mark.slow)],
    ids=["map", "vmap"],
)
def test_results_are_those_of_a_copy_per_lane(options: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for name in ("rag", "copied"):
        grid = {"env.peer_cost": [0.3, 0.9]}
        run_dir = run(experiment(f"{name}/cache-L1", grid, seeds=2, **options), run_dir=tmp_path / name)
        found.append((rows(run_dir), final_arrays(run_dir)))
    assert found[0][0] == found[1][0]
    assert_same_arrays(found[0][1], found[1][1])
    costs = [row["metrics"]["cost"] for key, row in found[0][0].items() if key[0] == "absolute"]
    assert len(costs) == 4 and len(set(costs)) > 1


def test_a_sweep_over_traces_is_a_group_for_each_with_the_same_programs() -> None:
    grid = {"env.split": ["train", "test"], "env.peer_cost": [0.1, 0.2]}
    swept = experiment(grid=grid)
    swept = dataclasses.replace(swept, eval_env_options={"split": "all"})
    groups = swept.groups()
    assert [[lane.overrides["env.split"] for lane in group.lanes] for group in groups] == [
        ["train", "train"],
        ["test", "test"],
    ]
    for group in groups:
        params = lane_context(list(group.lanes), 1).env_params
        np.testing.assert_array_equal(params.windows, group.lanes[0].env_params.windows)
        np.testing.assert_array_equal(params.peer_cost, np.float32([0.1, 0.2]))
    shapes = [jnp.shape(group.lanes[0].env_params.windows) for group in groups]
    assert shapes[0] == shapes[1], "the test is of equal sizes"
    programs = [choose_wave(group, swept.options)[1] for group in groups]
    assert programs[0] is programs[1]


def test_phases_and_evaluations_have_one_trace_on_the_device() -> None:
    two_phases = experiment(algorithm="toy", seeds=2)
    two_phases = dataclasses.replace(
        two_phases, config={"two_phases": True}, eval_env_options={"split": "train", "peer_cost": 0.9}
    )
    (group,) = two_phases.groups()
    lanes, placement = pad_lanes(list(group.lanes), two_phases.options)
    contexts, acting = _place_contexts(group, lanes, plan_phases(group, two_phases.options), placement)
    assert len(contexts) == 2 and acting.env_params.peer_cost.tolist() == np.float32([0.9, 0.9]).tolist()
    windows = [ctx.env_params.windows for ctx in (*contexts, acting)]
    assert {x.unsafe_buffer_pointer() for x in windows} == {windows[0].unsafe_buffer_pointer()}
    assert windows[0].shape == group.lanes[0].env_params.windows.shape


def test_arrays_on_a_device_are_not_fetched_to_be_compared() -> None:
    (group,) = experiment().groups()
    host = group.lanes[0].env_params

    class OnDevice(np.ndarray):
        """Tells when it is read."""

        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("was read")

    def instance(windows: Any) -> Instance:
        return Instance(group.env, dataclasses.replace(host, windows=windows), None)

    moved = jnp.asarray(host.windows)
    assert same_program(instance(moved), instance(moved))
    assert not same_program(instance(moved), instance(jnp.array(host.windows))), (
        "others, as far as one can see from here"
    )
    assert same_program(instance(host.windows), instance(host.windows.copy()))
    other = host.windows.copy()
    other[0, 0] += 1
    assert not same_program(instance(host.windows), instance(other))
    read = host.windows.view(OnDevice)
    assert same_program(instance(read), instance(read)), "one object is not compared"
