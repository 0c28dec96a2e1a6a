"""The compiled programs of one phase: start, chunk of updates, evaluation; each for all lanes of a wave."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxmarl_envs import Environment, pytree_dataclass, seed_key

from jaxmarl_suite.algorithms import ActContext, Algorithm, Context, Phase
from jaxmarl_suite.runner._placement import Placement, acting_axes, context_axes, take_lane
from jaxmarl_suite.runner._play import evaluation
from jaxmarl_suite.runner._totals import Totals, add_metrics, row_metrics, zero_totals


@pytree_dataclass
class Best:
    """The policy with the best evaluation so far. [L] in front."""

    policy: Any
    score: jax.Array  # [] float32
    step: jax.Array  # [] int32, time of that evaluation: see `PhasePlan.step`


def run_updates(
    algorithm: Algorithm, state: Any, totals: Totals, ctx: Context, start: jax.Array, stop: jax.Array
) -> tuple[Any, Totals]:
    """Runs updates `start..stop-1` of one lane. The bounds are traced, so one program serves any number of updates."""

    def body(update: jax.Array, carry: tuple[Any, Totals]) -> tuple[Any, Totals]:
        state, totals = carry
        state, metrics = algorithm.update(state, dataclasses.replace(ctx, clock=update))
        return state, add_metrics(totals, row_metrics(metrics), update)

    return jax.lax.fori_loop(start, stop, body, (state, totals))


@dataclasses.dataclass
class Programs:
    """One phase's programs for a wave of lanes, compiled ahead of time: they cannot be traced again."""

    phase: Phase
    acting: Algorithm
    """The algorithm for evaluations, whose environment may be a different one."""
    begin: Callable[..., Any]
    """`(handed or None, keys [L], ctx) -> state`, where `handed` comes from the previous phase."""
    hand_on: Callable[[Any], Any]
    """`last state -> what the next phase begins with`: the artifact, or the whole state."""
    chunk: Any
    """`(state, totals, ctx, start, stop) -> (state, totals)`; state and totals are donated."""
    evaluate: Any
    """`(policy, ctx, keys [L]) -> Played [L]`; the context is an `ActContext` [L]."""
    policy: Callable[[Any], Any]
    """`state -> policy`, both with a leading lane axis."""
    fresh_totals: Callable[[], Totals]
    lanes: int
    """L, the number of lanes that the programs are for."""
    state_shape: Any
    handed_shape: Any
    """Shape of the result of `hand_on`."""
    totals_shape: Any
    policy_shape: Any
    compile_seconds: float

    @property
    def state_bytes(self) -> int:
        """Bytes of all lanes' states: learners, replays, environments."""
        return _bytes(self.state_shape)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that the chunk needs per device: arguments, outputs that are not aliased, temporaries."""
        return _memory(self.chunk)

    @property
    def evaluation_memory(self) -> dict[str, int]:
        """Bytes that an evaluation needs per device, not counting the learner's state, which stays in memory."""
        return _memory(self.evaluate)

    @property
    def peak_bytes(self) -> int:
        """Bytes that training needs per device: state and best policies, plus a chunk or an evaluation.

        Not counted: the programs themselves, and the host's copy of everything while a checkpoint is written.
        """
        chunk, evaluation = self.memory, self.evaluation_memory
        best = min(evaluation["arguments"], _bytes(self.policy_shape))  # the remaining arguments are context
        return best + max(chunk["total"], chunk["arguments"] + evaluation["total"])


def _bytes(shapes: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def _memory(compiled: Any) -> dict[str, int]:
    analysis = compiled.memory_analysis()
    aliased = analysis.alias_size_in_bytes
    found = {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes - aliased,
        "temporaries": analysis.temp_size_in_bytes,
    }
    return {**found, "aliased": aliased, "total": sum(found.values())}


def phase_keys(seeds: jax.Array, phase: int) -> jax.Array:
    """[L] keys for the start of a phase; a lane's randomness depends only on its seed."""
    return jax.vmap(lambda seed: jax.random.fold_in(seed_key(seed), phase))(seeds)


@functools.partial(jax.jit, donate_argnums=2)
def keep_best(policy: Any, score: jax.Array, best: Best, step: jax.Array) -> Best:
    """`best`, with the new policy in every lane [L] where its score is at least as high."""
    # Among equals the latest, so that lucky untrained policies do not win.
    better = score >= best.score

    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(better.shape + (1,) * (new.ndim - 1)), new, old)

    return Best(
        jax.tree.map(select, policy, best.policy),
        select(score, best.score),
        jnp.where(better, step, best.step),
    )


def compile_phase(
    phase: Phase,
    placement: Placement,
    ctx: Context,
    previous: "Programs | None",
    *,
    handed: Any,
    lanes: int,
    evaluate: "Evaluated",
) -> Programs:
    """Compiles the programs of `phase` for the L `lanes` of `ctx` (leaves [L], or their shapes).

    If its policies are those of the previous phase, it reuses the evaluation of that phase. `handed` has the shapes
    [L] of what the phase begins with; None for nothing.
    """
    started = time.perf_counter()
    algorithm, axes = phase.algorithm, context_axes(ctx.env_params)
    begin, state_shape = _make_begin(phase, placement, ctx, handed, lanes)
    hand_on = _all
    if phase.artifact is not None:
        hand_on = jax.jit(dataclasses.replace(placement, mode="map").over_lanes(phase.artifact, (True,)))
    one_state = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), state_shape)
    one_ctx = jax.eval_shape(lambda ctx: take_lane(ctx, axes, 0), ctx)
    _, metrics_shape = jax.eval_shape(algorithm.update, one_state, one_ctx)
    names = list(row_metrics(metrics_shape))

    def fresh_totals() -> Totals:
        one = zero_totals(names)
        return jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), one)

    totals_shape = jax.eval_shape(fresh_totals)
    chunk = _compile_chunk(algorithm, placement, state_shape, totals_shape, ctx)
    policy_shape = jax.eval_shape(algorithm.policy, one_state)
    policy_shape = jax.tree.map(lambda s: jax.ShapeDtypeStruct((lanes, *s.shape), s.dtype), policy_shape)
    if previous is not None and _same_policies(previous.acting, evaluate.acting):
        evaluation_program = previous.evaluate
    else:
        evaluation_program = _compile_evaluation(evaluate, placement, policy_shape, lanes)
    return Programs(
        phase=phase,
        acting=evaluate.acting,
        begin=begin,
        hand_on=hand_on,
        chunk=chunk,
        evaluate=evaluation_program,
        policy=jax.jit(algorithm.policy),
        fresh_totals=jax.jit(fresh_totals, out_shardings=placement.sharding(totals_shape)),
        lanes=lanes,
        state_shape=state_shape,
        handed_shape=jax.eval_shape(hand_on, state_shape),
        totals_shape=totals_shape,
        policy_shape=policy_shape,
        compile_seconds=time.perf_counter() - started,
    )


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """How the policies of a phase are evaluated."""

    acting: Algorithm
    """The algorithm, built for `env`."""
    env: Environment
    ctx: ActContext
    """The context of lanes [L], or its shapes."""
    episodes: int
    max_steps: int


def _make_begin(
    phase: Phase, placement: Placement, ctx: Context, handed: Any, lanes: int
) -> tuple[Callable[..., Any], Any]:
    """The program that starts a phase, and the shapes of all lanes' states."""
    axes = context_axes(ctx.env_params)
    keys = _key_shapes(lanes)
    if phase.begin is None:
        start_fn, flags = (lambda _, key, ctx: phase.algorithm.init(key, ctx)), (False, True, axes)
    else:
        start_fn, flags = phase.begin, (True, True, axes)
    # Lanes are initialized one after another in every mode, so that LAPACK calls are not batched (see networks.per_agent).
    fn = dataclasses.replace(placement, mode="map").over_lanes(start_fn, flags)
    state_shape = jax.eval_shape(jax.jit(fn), handed if phase.begin else None, keys, ctx)
    # The result is placed where the chunk expects it: this matters if environments are divided among devices.
    return jax.jit(fn, out_shardings=placement.sharding(state_shape)), state_shape


def _compile_chunk(
    algorithm: Algorithm, placement: Placement, state_shape: Any, totals_shape: Totals, ctx: Context
) -> Any:
    axes = context_axes(ctx.env_params)
    places = placement.sharding(state_shape), placement.sharding(totals_shape)
    shared = placement.sharding(jnp.int32(0), batched=False)
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    fn = placement.over_lanes(functools.partial(run_updates, algorithm), (True, True, axes, False, False), updated=2)
    program = jax.jit(
        fn,
        donate_argnums=(0, 1),
        in_shardings=(*places, placement.argument_shardings(axes, ctx), shared, shared),
        out_shardings=places,
    )
    return program.lower(state_shape, totals_shape, ctx, bound, bound).compile()


def _compile_evaluation(evaluated: Evaluated, placement: Placement, policy_shape: Any, lanes: int) -> Any:
    axes, keys = acting_axes(evaluated.ctx.env_params), _key_shapes(lanes)
    fn = evaluation(
        placement,
        evaluated.acting,
        evaluated.env,
        axes,
        episodes=evaluated.episodes,
        max_steps=evaluated.max_steps,
    )
    places = (
        placement.sharding(policy_shape),
        placement.argument_shardings(axes, evaluated.ctx),
        placement.sharding(keys),
    )
    program = jax.jit(fn, in_shardings=places, out_shardings=NamedSharding(placement.mesh, PartitionSpec("seed")))
    return program.lower(policy_shape, evaluated.ctx, keys).compile()


def _key_shapes(lanes: int) -> Any:
    return jax.eval_shape(jax.vmap(seed_key), jax.ShapeDtypeStruct((lanes,), jnp.int32))


def _all(state: Any) -> Any:
    return state


def _same_policies(a: Algorithm, b: Algorithm) -> bool:
    return a.act is b.act and a.extra_acts == b.extra_acts and a.init_carry is b.init_carry
