"""Replay is in memory once: it is donated, written in place, and copied by neither branches nor lanes."""

import dataclasses
import math
from typing import Any

import jax
import pytest
from runner_tools import tiny

from jaxmarl_suite.runner import choose_wave

CAPACITY = 2000


def bytes_of(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def needs():
    """`(capacity, lanes) -> (bytes that the chunk needs, bytes of all lanes' replay, bytes of all lanes' state)`."""
    made: dict[tuple[int, int], Any] = {}

    def get(capacity: int, lanes: int) -> Any:
        if (capacity, lanes) not in made:
            changes = {"capacity": capacity, "prioritized": False}
            experiment = tiny("vdn", changes=changes, seeds=lanes, devices=1, lane_mode="map")
            # Observations have three entries here. XLA does copy arrays whose last axis has length 1.
            experiment = dataclasses.replace(experiment, env="matrix/two-step", env_options={})
            (group,) = experiment.groups()
            _, (phase,), _ = choose_wave(group, experiment.options)
            state = phase.state_shape
            made[capacity, lanes] = phase.memory, bytes_of(state.replay), bytes_of(state)
        return made[capacity, lanes]

    return get


def test_replay_is_donated_and_written_in_place(needs) -> None:
    (small, replay, _), (large, large_replay, _) = needs(CAPACITY, 1), needs(2 * CAPACITY, 1)
    assert large_replay > 1.9 * replay > 100_000
    assert small["aliased"] >= replay and large["aliased"] >= large_replay
    assert large["temporaries"] <= small["temporaries"] + 1000


@pytest.mark.parametrize("lanes", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_lanes_are_updated_in_place(needs, lanes: int) -> None:
    """One lane's state is taken out of the others while it learns, however many there are."""
    one, _, state = needs(CAPACITY, 1)
    many, replays, _ = needs(CAPACITY, lanes)
    assert many["aliased"] >= replays
    assert many["temporaries"] <= one["temporaries"] + 1.1 * state
