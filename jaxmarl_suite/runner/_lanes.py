"""Lanes side by side: where they run, and their numbers as arrays."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.algorithms import Context
from jaxmarl_suite.runner._devices import env_mesh, lane_mesh
from jaxmarl_suite.runner._experiment import Lane, TrainOptions
from jaxmarl_suite.runner._programs import LaneMode, Placement
from jaxmarl_suite.runner._schedule import PhasePlan


def place(num_lanes: int, options: TrainOptions) -> Placement:
    """Where `num_lanes` lanes run: on CPU one after another on each core, on accelerators batched."""
    mode: LaneMode
    if options.lane_mode == "auto":
        mode = "map" if jax.default_backend() == "cpu" else "vmap"
    else:
        mode = options.lane_mode
    mesh = env_mesh(options.devices) if mode == "envs" else lane_mesh(num_lanes, options.devices)
    return Placement(mesh, mode)


def lane_context(lanes: list[Lane], horizon: int, data: Any = None) -> Context:
    """The context of some lanes, their numbers stacked to [L]; `data` is theirs together."""
    return Context(
        hp=jax.tree.map(_stack, *[lane.config for lane in lanes]),
        env_params=jax.tree.map(_stack, *[lane.env_params for lane in lanes]),
        data=data,
        clock=jnp.zeros((), jnp.int32),
        horizon=jnp.asarray(horizon, jnp.int32),
    )


def _stack(*values: Any) -> jax.Array:
    """[L, ...] from a value of each lane, in one transfer: as operands of XLA, values take time by the square of L."""
    first = values[0]
    if isinstance(first, jax.Array) and jax.dtypes.issubdtype(first.dtype, jax.dtypes.prng_key):
        with jax.ensure_compile_time_eval():  # shapes of contexts are asked for under a trace
            data = {id(key): jax.random.key_data(key) for key in values}
        return jax.random.wrap_key_data(_stack(*[data[id(key)] for key in values]), impl=jax.random.key_impl(first))
    made: dict[int, np.ndarray] = {}  # many lanes share their values
    for value in values:
        if id(value) not in made:
            made[id(value)] = np.asarray(value, np.float32 if isinstance(value, float) else None)
    array = np.stack([made[id(value)] for value in values])
    return jnp.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype))


def pad_lanes(lanes: list[Lane], options: TrainOptions, size: int | None = None) -> tuple[list[Lane], Placement]:
    """The lanes, the last one repeated until all devices have equally many (and there are `size`), and their placement."""
    wanted = max(len(lanes), size or 0)
    placement = place(wanted, options)
    multiple = placement.mesh.shape["seed"]
    wanted = math.ceil(wanted / multiple) * multiple
    return lanes + [lanes[-1]] * (wanted - len(lanes)), placement


def phase_context(lanes: list[Lane], plan: PhasePlan, data: Any = None) -> Context:
    """`lane_context` of a run's phase."""
    ctx = lane_context(lanes, plan.updates, data)
    return dataclasses.replace(ctx, played_before=jnp.asarray(plan.played_before, jnp.int32))
