"""Lanes as batches: where they run, their contexts as stacked arrays, the shapes of their states."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import seed_key
from jaxmarl_envs.core import shared_leaves

from jaxmarl_suite.algorithms import ActContext, Context, Phase
from jaxmarl_suite.runner._devices import env_mesh, lane_mesh
from jaxmarl_suite.runner._experiment import Lane
from jaxmarl_suite.runner._options import TrainOptions
from jaxmarl_suite.runner._placement import LaneMode, Placement, context_axes, take_lane
from jaxmarl_suite.runner._schedule import PhasePlan


def place(num_lanes: int, options: TrainOptions) -> Placement:
    """Where `num_lanes` lanes run: on CPU one after another on each core, on accelerators as a batch."""
    mode: LaneMode
    if options.lane_mode == "auto":
        mode = "map" if jax.default_backend() == "cpu" else "vmap"
    else:
        mode = options.lane_mode
    mesh = env_mesh(options.devices) if mode == "envs" else lane_mesh(num_lanes, options.devices)
    return Placement(mesh, mode)


def lane_context(lanes: list[Lane], horizon: int, data: Any = None) -> Context:
    """The context of some lanes, with per-lane numbers stacked to [L]; `data` and shared parameters have no lane axis."""
    return Context(
        hp=jax.tree.map(_stack, *[lane.config for lane in lanes]),
        env_params=_stack_params([lane.env_params for lane in lanes]),
        data=data,
        clock=jnp.zeros((), jnp.int32),
        horizon=jnp.asarray(horizon, jnp.int32),
    )


def lane_shapes(lane: Lane, data: Any = None) -> Context:
    """Shapes of the context of one lane."""

    def one() -> Context:
        ctx = lane_context([lane], 1, data)
        return take_lane(ctx, context_axes(ctx.env_params), 0)

    return jax.eval_shape(one)


def acting_context(lanes: list[Lane]) -> ActContext:
    """What acting reads in evaluations of lanes [L] with untrained policies; see `made_by`."""
    zeros = np.zeros(len(lanes), np.int32)
    return ActContext(
        hp=jax.tree.map(_stack, *[lane.config for lane in lanes]),
        env_params=_stack_params([lane.eval_params for lane in lanes]),
        clock=jnp.asarray(zeros),
        horizon=jnp.asarray(zeros + 1),
        played_before=jnp.asarray(zeros),
    )


def made_by(ctx: ActContext, plans: Sequence[PhasePlan], step: np.ndarray | int) -> ActContext:
    """`ctx` for policies [L] trained up to a step of the run: with the clocks of their updates."""
    steps = np.broadcast_to(step, ctx.clock.shape)
    phases = np.maximum(np.searchsorted([plan.first_step for plan in plans], steps) - 1, 0)
    numbers = [(plans[i].clock(at), plans[i].updates, plans[i].played_before) for i, at in zip(phases, steps)]
    clock, horizon, played_before = (jnp.asarray(column, jnp.int32) for column in np.array(numbers, np.int32).T)
    return dataclasses.replace(ctx, clock=clock, horizon=horizon, played_before=played_before)


def _stack_params(values: list[Any]) -> Any:
    """Parameters of an environment, with [L] in front of the leaves that lanes do not share."""

    def place(is_shared: bool, *leaves: Any) -> jax.Array:
        if not is_shared:
            return _stack(*leaves)
        if isinstance(leaves[0], jax.Array):
            return leaves[0]
        return _on_device(np.asarray(leaves[0]))

    return jax.tree.map(place, shared_leaves(values[0]), *values)


def _stack(*values: Any) -> jax.Array:
    """[L, ...] from one value per lane, in one transfer: stacking in XLA takes time quadratic in L."""
    first = values[0]
    if isinstance(first, jax.Array) and jax.dtypes.issubdtype(first.dtype, jax.dtypes.prng_key):
        with jax.ensure_compile_time_eval():  # shapes of contexts are also computed under a trace
            data = {id(key): jax.random.key_data(key) for key in values}
        return jax.random.wrap_key_data(_stack(*[data[id(key)] for key in values]), impl=jax.random.key_impl(first))
    made: dict[int, np.ndarray] = {}  # many lanes share their values
    for value in values:
        if id(value) not in made:
            made[id(value)] = np.asarray(value, np.float32 if isinstance(value, float) else None)
    return _on_device(np.stack([made[id(value)] for value in values]))


def _on_device(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype))


def pad_lanes(lanes: list[Lane], options: TrainOptions, size: int | None = None) -> tuple[list[Lane], Placement]:
    """The lanes, padded with copies of the last one so that all devices have equally many (at least `size`), and their
    placement.
    """
    wanted = max(len(lanes), size or 0)
    placement = place(wanted, options)
    multiple = placement.mesh.shape["seed"]
    wanted = math.ceil(wanted / multiple) * multiple
    return lanes + [lanes[-1]] * (wanted - len(lanes)), placement


def phase_context(lanes: list[Lane], plan: PhasePlan, data: Any = None) -> Context:
    """The `lane_context` of a phase of the run."""
    ctx = lane_context(lanes, plan.updates, data)
    return dataclasses.replace(ctx, played_before=jnp.asarray(plan.played_before, jnp.int32))


def state_shapes(phases: Sequence[Phase], lane: Lane) -> list[Any]:
    """Shapes of a lane's state in each phase of a method."""
    return [state for state, _ in _shapes(phases, lane)]


def handed_shape(phases: Sequence[Phase], lane: Lane) -> Any:
    """Shapes of what a lane's next phase begins with after `phases`; None if there are none."""
    return _shapes(phases, lane)[-1][1] if phases else None


def _shapes(phases: Sequence[Phase], lane: Lane) -> list[tuple[Any, Any]]:
    """`(state, what the next phase begins with)` of each phase."""
    ctx = lane_shapes(lane)
    key = jax.eval_shape(lambda: seed_key(0))
    found: list[tuple[Any, Any]] = []
    for phase in phases:
        if phase.begin is None:
            state = jax.eval_shape(phase.algorithm.init, key, ctx)
        else:
            state = jax.eval_shape(phase.begin, found[-1][1], key, ctx)
        found.append((state, state if phase.artifact is None else jax.eval_shape(phase.artifact, state)))
    return found
