"""The compiled programs of one phase: start, chunk of updates, evaluation; each over all lanes of a wave."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxmarl_envs import Environment, TimeStep, VectorState, pytree_dataclass, seed_key

from jaxmarl_suite.algorithms import Algorithm, Average, Context, Metrics, Phase
from jaxmarl_suite.algorithms._base import episode_names

LaneMode = Literal["map", "vmap", "envs"]
_EVAL_STREAM = 1_000_000  # folded into a lane's key before evaluations, far from the indices of phases


@pytree_dataclass
class Totals:
    """Metrics summed over the updates of one log row. [L] in front."""

    total: dict[str, jax.Array]  # [] float32 each
    weight: dict[str, jax.Array]  # [] float32 each
    first_bad: dict[str, jax.Array]  # [] int32 each: update at which the metric was first not finite, -1 for never


@pytree_dataclass
class Best:
    """The policy with the best evaluation so far. [L] in front."""

    policy: Any
    score: jax.Array  # [] float32
    env_steps: jax.Array  # [] int32, environment steps before that evaluation


@pytree_dataclass
class Played:
    """What policies achieve: means over episodes. [L] in front where lanes are evaluated together."""

    metrics: dict[str, jax.Array]  # [] float32 each
    cut: dict[str, jax.Array]  # [] float32 each, by the policy's return: share of episodes that did not end in time


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where lanes run."""

    mesh: Mesh
    mode: LaneMode

    def over_lanes(self, fn: Callable[..., Any], batched: tuple[Any, ...], *, updated: int = 0) -> Callable[..., Any]:
        """`fn` of one lane as a function of all lanes.

        Args:
          fn: of positional pytrees.
          batched: for each argument True (leading lane axis), False (shared), or a pytree prefix of these.
          updated: `fn` returns new values of its first so many arguments, as a tuple; mapped lanes then write them over
            the old ones, so that replay is in memory once, where a second one would be stacked beside it.
        """
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        if self.mode == "envs":
            return jax.vmap(fn, in_axes=axes)

        def lanes(*args: Any) -> Any:  # carries the name of `fn` into profiles and logs
            if self.mode == "vmap":
                return jax.vmap(fn, in_axes=axes)(*args)
            # lax.map maps every leaf: lanes' leaves go through it, shared ones around it.
            flat, structure = jax.tree.flatten(args)
            flags = _broadcast(batched, args)

            def one(mapped: list[Any]) -> Any:
                rest = iter(mapped)
                leaves = [next(rest) if flag else leaf for flag, leaf in zip(flags, flat)]
                return fn(*jax.tree.unflatten(structure, leaves))

            if not updated:
                return jax.lax.map(one, [leaf for flag, leaf in zip(flags, flat) if flag])

            def put(lane: jax.Array, own: tuple[Any, ...]) -> tuple[Any, ...]:
                flat = jax.tree.leaves((*own, *args[updated:]))
                new = one([leaf[lane] for flag, leaf in zip(flags, flat) if flag])
                return jax.tree.map(lambda x, y: x.at[lane].set(y), own, new)

            return jax.lax.fori_loop(0, jax.tree.leaves(args)[0].shape[0], put, args[:updated])

        lanes.__name__ = getattr(getattr(fn, "func", fn), "__name__", "lanes")
        specs = jax.tree.map(lambda b: PartitionSpec("seed") if b else PartitionSpec(), batched)
        return jax.shard_map(lanes, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec("seed"), check_vma=False)

    def sharding(self, tree: Any, batched: bool = True) -> Any:
        """Where the leaves of a pytree with lanes in front live: lanes over `seed`, environments over `env`."""
        if not batched:
            return jax.tree.map(lambda _: NamedSharding(self.mesh, PartitionSpec()), tree)

        def place(node: Any) -> Any:
            spec = PartitionSpec("seed")
            if isinstance(node, VectorState):
                spec, num_envs, devices = (
                    PartitionSpec("seed", "env"),
                    node.timestep.reward.shape[1],
                    self.mesh.shape["env"],
                )
                if num_envs % devices:
                    raise ValueError(
                        f"lane_mode 'envs' spreads the environments over {devices} devices: their number must be a "
                        f"multiple of that, got {num_envs}"
                    )
            return jax.tree.map(lambda _: NamedSharding(self.mesh, spec), node)

        return jax.tree.map(place, tree, is_leaf=lambda x: isinstance(x, VectorState))


def _broadcast(prefix: Any, tree: Any) -> list[bool]:
    """A prefix of flags as one flag a leaf."""
    flags: list[bool] = []
    jax.tree.map(lambda flag, sub: flags.extend([flag] * len(jax.tree.leaves(sub))), prefix, tree)
    return flags


_BATCHED: Any = True
_SHARED: Any = False
CONTEXT_AXES = Context(
    hp=_BATCHED, env_params=_BATCHED, data=_SHARED, clock=_SHARED, horizon=_SHARED, played_before=_SHARED
)
"""Which parts of a context differ between lanes."""
EVALUATION_AXES = dataclasses.replace(CONTEXT_AXES, clock=_BATCHED)
"""The same where policies are evaluated: the best ones of lanes are of different updates."""


def row_metrics(metrics: Any) -> dict[str, Any]:
    """What an update reports by its names in rows: the environment's are bare, the learner's are `learner/NAME`."""
    episodes, learner = metrics if isinstance(metrics, Metrics) else ({}, metrics)
    return {**episode_names(episodes), **{f"learner/{name}": value for name, value in learner.items()}}


def zero_totals(names: list[str]) -> Totals:
    """Nothing summed yet, for metrics of one lane."""
    return Totals(
        {n: jnp.zeros((), jnp.float32) for n in names},
        {n: jnp.zeros((), jnp.float32) for n in names},
        {n: jnp.full((), -1, jnp.int32) for n in names},
    )


def add_metrics(totals: Totals, metrics: Any, update: jax.Array) -> Totals:
    """`totals` with one more update's metrics."""
    total, weight, first_bad = {}, {}, {}
    for name, metric in metrics.items():
        value, amount = metric if isinstance(metric, Average) else (metric, jnp.ones((), jnp.float32))
        total[name] = totals.total[name] + value
        weight[name] = totals.weight[name] + amount
        is_new = ~jnp.isfinite(value) & (totals.first_bad[name] < 0)
        first_bad[name] = jnp.where(is_new, update, totals.first_bad[name])
    return Totals(total, weight, first_bad)


def run_updates(
    algorithm: Algorithm, state: Any, totals: Totals, ctx: Context, start: jax.Array, stop: jax.Array
) -> tuple[Any, Totals]:
    """Updates `start..stop-1` of one lane. The bounds are traced: any number of updates is one program."""

    def body(update: jax.Array, carry: tuple[Any, Totals]) -> tuple[Any, Totals]:
        state, totals = carry
        state, metrics = algorithm.update(state, dataclasses.replace(ctx, clock=update))
        return state, add_metrics(totals, row_metrics(metrics), update)

    return jax.lax.fori_loop(start, stop, body, (state, totals))


def evaluate_policy(
    algorithm: Algorithm, env: Environment, policy: Any, ctx: Context, key: jax.Array, *, episodes: int, max_steps: int
) -> Played:
    """Mean metrics of `episodes` whole episodes for `act` and, prefixed by their names, the extra policies.

    `return` is undiscounted and averaged over agents. Where the environment has no limit of its own, episodes are cut after
    `max_steps` steps and count as they are then. Consumes `key`.
    """
    results, cut = {}, {}
    acts = {"": algorithm.act, **{f"{name}/": fn for name, fn in algorithm.extra_acts.items()}}
    steps = env.spec.episode_limit or max_steps
    for prefix, act in acts.items():
        reset_key, run_key = jax.random.split(key)  # the same for all, so that they are compared on the same episodes
        state, timestep = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, episodes), ctx.env_params)
        carry = algorithm.init_carry(episodes)

        def step(
            carried: tuple[Any, TimeStep, Any, jax.Array], key: jax.Array, act: Any = act
        ) -> tuple[tuple[Any, TimeStep, Any, jax.Array], None]:
            state, timestep, carry, done = carried
            act_key, step_key = jax.random.split(key)
            action, carry = act(policy, carry, timestep, act_key, ctx)
            new_state, new = jax.vmap(env.step, (0, 0, 0, None))(
                jax.random.split(step_key, episodes), state, action, ctx.env_params
            )

            def freeze(old: jax.Array, new: jax.Array) -> jax.Array:
                return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), old, new)

            # A finished episode stands still, so that its last metrics are those of the whole episode.
            state, timestep = jax.tree.map(freeze, (state, timestep), (new_state, new))
            return (state, timestep, carry, done | timestep.done), None

        start = (state, timestep, carry, jnp.zeros((episodes,), bool))
        (_, timestep, _, done), _ = jax.lax.scan(step, start, jax.random.split(run_key, steps))
        for name, value in episode_names(timestep.metrics).items():
            results[prefix + name] = value.mean()
        cut[f"{prefix}return"] = 1.0 - done.mean(dtype=jnp.float32)
    return Played(results, cut)


def mean_played(batches: list[Played]) -> Played:
    """The means of several evaluations of equally many episodes, as NumPy arrays."""
    return jax.tree.map(lambda *values: np.mean([np.asarray(value) for value in values], axis=0), *batches)


def played_fields(played: Played, lane: int, episodes: int) -> dict[str, Any]:
    """What a lane's row says of its evaluation; of episodes that were cut only where there are some."""
    cut = {name: float(share[lane]) for name, share in played.cut.items() if share[lane] > 0}
    metrics = {name: float(value[lane]) for name, value in played.metrics.items()}
    return {"metrics": metrics, "episodes": episodes, **({"cut": cut} if cut else {})}


@dataclasses.dataclass
class Programs:
    """One phase's programs for a wave of lanes, compiled ahead of time: they cannot be traced twice."""

    phase: Phase
    begin: Callable[..., Any]
    """`(previous state or None, keys [L], ctx) -> state`"""
    chunk: Any
    """`(state, totals, ctx, start, stop) -> (state, totals)`; state and totals are donated."""
    evaluate: Any
    """`(policy, ctx, keys [L]) -> Played [L]`; the context's clock is [L]"""
    policy: Callable[[Any], Any]
    """`state -> policy`, lanes in front of both."""
    fresh_totals: Callable[[], Totals]
    lanes: int
    """L, lanes that the programs are for."""
    state_shape: Any
    totals_shape: Any
    policy_shape: Any
    compile_seconds: float

    @property
    def state_bytes(self) -> int:
        """Bytes of all lanes' states: learners, replays, environments."""
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(self.state_shape))

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that the chunk needs on each device: arguments, outputs that are not arguments, temporaries."""
        return _memory(self.chunk)

    @property
    def evaluation_memory(self) -> dict[str, int]:
        """Bytes that an evaluation needs on each device, without the learner's state, which is held meanwhile."""
        return _memory(self.evaluate)

    @property
    def peak_bytes(self) -> int:
        """Bytes that training needs on each device: best policies, and a chunk or an evaluation beside the state.

        Not counted: the programs themselves, and the host's copy of everything while a checkpoint is written.
        """
        chunk, evaluation = self.memory, self.evaluation_memory
        best = evaluation["arguments"]  # they are policies
        return best + max(chunk["total"], chunk["arguments"] + evaluation["total"])


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
    """[L] keys for the start of a phase; a lane's randomness depends on its seed alone."""
    return jax.vmap(lambda seed: jax.random.fold_in(seed_key(seed), phase))(seeds)


def eval_keys(seeds: jax.Array, index: jax.Array) -> jax.Array:
    """[L] keys of evaluation number `index`."""

    def one(seed: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(seed_key(seed), _EVAL_STREAM), index)

    return jax.vmap(one)(seeds)


@functools.partial(jax.jit, donate_argnums=2)
def keep_best(policy: Any, score: jax.Array, best: Best, env_steps: jax.Array) -> Best:
    """`best`, or the new policy in every lane [L] where its score is at least as high."""
    # Of equals the latest, so that the luck of an untrained policy does not count.
    better = score >= best.score

    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(better.shape + (1,) * (new.ndim - 1)), new, old)

    return Best(
        jax.tree.map(select, policy, best.policy),
        select(score, best.score),
        jnp.where(better, env_steps, best.env_steps),
    )


def compile_phase(
    phase: Phase,
    env: Environment,
    placement: Placement,
    ctx: Context,
    previous: "Programs | None",
    *,
    lanes: int,
    eval_episodes: int,
    eval_max_steps: int,
) -> Programs:
    """The programs of `phase` for the L `lanes` of `ctx` (leaves [L], or shapes), compiled.

    A phase whose policies are those of the phase before takes over its evaluation.
    """
    started = time.perf_counter()
    algorithm = phase.algorithm
    keys = jax.eval_shape(jax.vmap(seed_key), jax.ShapeDtypeStruct((lanes,), jnp.int32))

    if phase.begin is None:
        start_fn, flags = (lambda _, key, ctx: algorithm.init(key, ctx)), (False, True, CONTEXT_AXES)
    else:
        start_fn, flags = phase.begin, (True, True, CONTEXT_AXES)
    # Lanes start one after another in every mode, so that LAPACK calls are not batched (see networks.per_agent).
    one_by_one = dataclasses.replace(placement, mode="map")
    begin = jax.jit(one_by_one.over_lanes(start_fn, flags))
    state_shape = jax.eval_shape(begin, previous.state_shape if previous and phase.begin else None, keys, ctx)
    # Begin's result lies where the chunk wants it: this matters where environments are spread over devices.
    state_place = placement.sharding(state_shape)
    begin = jax.jit(one_by_one.over_lanes(start_fn, flags), out_shardings=state_place)

    one_state = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), state_shape)
    one_ctx = jax.tree.map(
        lambda batched, sub: jax.tree.map(lambda s: _shape_of(s, drop_lane=batched), sub), CONTEXT_AXES, ctx
    )
    _, metrics_shape = jax.eval_shape(algorithm.update, one_state, one_ctx)
    names = list(row_metrics(metrics_shape))

    def fresh_totals() -> Totals:
        one = zero_totals(names)
        return jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), one)

    totals_shape = jax.eval_shape(fresh_totals)
    totals_place = placement.sharding(totals_shape)
    chunk_fn = placement.over_lanes(
        functools.partial(run_updates, algorithm), (True, True, CONTEXT_AXES, False, False), updated=2
    )
    ctx_place = _context_sharding(placement, ctx, CONTEXT_AXES)
    shared = placement.sharding(jnp.int32(0), batched=False)
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    chunk = (
        jax.jit(
            chunk_fn,
            donate_argnums=(0, 1),
            in_shardings=(state_place, totals_place, ctx_place, shared, shared),
            out_shardings=(state_place, totals_place),
        )
        .lower(state_shape, totals_shape, ctx, bound, bound)
        .compile()
    )

    policy_shape = jax.eval_shape(algorithm.policy, one_state)
    policy_shape = jax.tree.map(lambda s: jax.ShapeDtypeStruct((lanes, *s.shape), s.dtype), policy_shape)
    if previous is not None and _same_policies(previous.phase.algorithm, algorithm):
        evaluate = previous.evaluate
    else:
        evaluate_fn = functools.partial(
            evaluate_policy, algorithm, env, episodes=eval_episodes, max_steps=eval_max_steps
        )
        clock: Any = jax.ShapeDtypeStruct((lanes,), jnp.int32)
        evaluated = dataclasses.replace(ctx, clock=clock)
        evaluated_place = _context_sharding(placement, evaluated, EVALUATION_AXES)
        evaluate = (
            jax.jit(
                placement.over_lanes(evaluate_fn, (True, EVALUATION_AXES, True)),
                in_shardings=(placement.sharding(policy_shape), evaluated_place, placement.sharding(keys)),
                out_shardings=NamedSharding(placement.mesh, PartitionSpec("seed")),
            )
            .lower(policy_shape, evaluated, keys)
            .compile()
        )
    return Programs(
        phase=phase,
        begin=begin,
        chunk=chunk,
        evaluate=evaluate,
        policy=jax.jit(algorithm.policy),
        fresh_totals=jax.jit(fresh_totals, out_shardings=totals_place),
        lanes=lanes,
        state_shape=state_shape,
        totals_shape=totals_shape,
        policy_shape=policy_shape,
        compile_seconds=time.perf_counter() - started,
    )


def _same_policies(a: Algorithm, b: Algorithm) -> bool:
    return a.act is b.act and a.extra_acts == b.extra_acts and a.init_carry is b.init_carry


def _context_sharding(placement: Placement, ctx: Context, axes: Context) -> Context:
    return jax.tree.map(
        lambda batched, sub: jax.tree.map(
            lambda _: NamedSharding(placement.mesh, PartitionSpec("seed") if batched else PartitionSpec()), sub
        ),
        axes,
        ctx,
    )


def _shape_of(x: Any, *, drop_lane: bool) -> jax.ShapeDtypeStruct:
    x = jnp.asarray(x) if not hasattr(x, "dtype") else x
    return jax.ShapeDtypeStruct(x.shape[1:] if drop_lane else x.shape, x.dtype)
