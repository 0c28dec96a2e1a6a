"""Exact gradient ascent on n-player cooperative matrix games, many games and seeds in one program.

The formulas are those of `_exact`; all lanes (games times seeds) take their steps together.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxmarl_envs.core import pytree_dataclass

from jaxmarl_suite.theory._exact import Tables, directions, expected_return, is_sequential, probabilities

PolicyKind = Literal["decentralized", "sequential"]
GradientKind = Literal["plain", "natural"]


def init_logits(
    keys: jax.Array, num_actions: Sequence[int], *, policy: PolicyKind, sd: jax.Array | float = 1.0
) -> Tables:
    """Independent `N(0, sd²)` logits.

    Args:
      keys: [*batch] typed keys, one per seed; consumed.
      num_actions: (A_1, ..., A_n).
      policy: kind of table.
      sd: standard deviation; 0 gives uniform policies.

    Returns:
      For agent k, float32 [*batch, A_k] (decentralized) or [*batch, A_1, ..., A_k] (sequential).
    """
    _check_choice("policy", policy, PolicyKind)
    if not np.all(np.asarray(sd) >= 0):
        raise ValueError(f"init sd must not be negative, got {sd}")

    def one_seed(key: jax.Array) -> Tables:
        agent_keys = jax.random.split(key, len(num_actions))
        shapes = [tuple(num_actions[: k + 1]) if policy == "sequential" else (a,) for k, a in enumerate(num_actions)]
        return tuple(sd * jax.random.normal(agent_keys[k], shape) for k, shape in enumerate(shapes))

    flat = jax.vmap(one_seed)(keys.reshape(-1))
    return tuple(x.reshape((*keys.shape, *x.shape[1:])) for x in flat)


@pytree_dataclass
class AscentResult:
    """Where gradient ascent ended, for each lane."""

    logits: Tables  # agent k: [*batch, A_k] or [*batch, A_1, ..., A_k]
    policies: Tables  # the same shapes, probabilities
    value: jax.Array  # [*batch], J of `policies`
    greedy_value: jax.Array  # [*batch], payoff of the joint action of per-agent argmaxes (ties: the first)
    trajectory: jax.Array  # [*batch, T], J after `record_at[t]` steps; T = 0 unless asked for


@dataclasses.dataclass(frozen=True)
class Ascent:
    """Exact gradient ascent on `J` from given logits.

    One program serves all learning rates, step counts and recording times; only shapes, `policy` and `gradient` are
    compiled in.

    Example:
      >>> ascent = Ascent(policy="sequential", gradient="natural", learning_rate=0.1, steps=2000)
      >>> result = ascent.run_seeds([[0.0, 1.0], [1.0, 0.0]], jax.random.split(jax.random.key(0), 8), init_sd=1.0)
      >>> result.greedy_value.shape
      (8,)
    """

    policy: PolicyKind
    """`decentralized` (product of independent tables) or `sequential` (each agent sees its predecessors' actions)."""
    gradient: GradientKind
    """`plain` (`dJ/dlogits`) or `natural` (the advantages)."""
    learning_rate: float = 0.1
    steps: int = 20_000
    record_at: tuple[int, ...] = ()
    """Steps after which `J` is recorded: strictly increasing, within 0..steps."""

    def __post_init__(self) -> None:
        """Rejects unknown names and empty runs."""
        _check_choice("policy", self.policy, PolicyKind)
        _check_choice("gradient", self.gradient, GradientKind)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a positive integer, got {self.steps!r}")
        times = (-1, *self.record_at, self.steps + 1)
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError(f"record_at must increase strictly within 0..{self.steps}, got {self.record_at}")

    def run_seeds(
        self, payoff: Any, keys: jax.Array, *, init_sd: float, devices: Sequence[jax.Device] | None = None
    ) -> AscentResult:
        """Ascent on one game from `N(0, init_sd²)` logits, one lane a key.

        Args:
          payoff: [A_1, ..., A_n].
          keys: [S] typed keys; consumed.
          init_sd: standard deviation of the initial logits.
          devices: as for `run`.
        """
        payoff = check_payoff(payoff)
        logits = init_logits(keys, payoff.shape, policy=self.policy, sd=init_sd)
        return self.run(payoff, logits, devices=devices)

    def run(self, payoff: Any, logits: Tables, *, devices: Sequence[jax.Device] | None = None) -> AscentResult:
        """Ascent in many lanes; leading axes of `payoff` and `logits` broadcast against each other.

        Args:
          payoff: [*batch, A_1, ..., A_n], e.g. [A, A] for one game or [G, 1, A, A] for G games with [S, ...] logits.
          logits: for agent k [*batch, A_k] (decentralized) or [*batch, A_1, ..., A_k] (sequential); they set
            the dtype.
          devices: the lanes are spread over these; all local ones if None. Ignored under an outer `jit`.

        Returns:
          Results with the broadcast batch in front.
        """
        num_agents = len(logits)
        payoff = check_payoff(payoff, num_agents=num_agents)
        num_actions = payoff.shape[payoff.ndim - num_agents :]
        logits = tuple(jnp.asarray(x) for x in logits)
        batch = payoff.shape[: payoff.ndim - num_agents]
        for k, table in enumerate(logits):
            expected = num_actions[: k + 1] if self.policy == "sequential" else (num_actions[k],)
            leading = table.ndim - len(expected)
            if leading < 0 or table.shape[leading:] != expected:
                raise ValueError(
                    f"{self.policy} logits of agent {k} must have the shape [*batch, {', '.join(map(str, expected))}] "
                    f"for action counts {num_actions}, got {table.shape}"
                )
            batch = np.broadcast_shapes(batch, table.shape[:leading])
        num_lanes = math.prod(batch)
        if num_lanes < 1:
            raise ValueError(f"nothing to run: the batch {batch} of payoff and logits has no lanes")

        def to_lanes(x: jax.Array, num_table_axes: int) -> jax.Array:
            table = x.shape[x.ndim - num_table_axes :]
            return jnp.moveaxis(jnp.broadcast_to(x, batch + table).reshape((num_lanes, *table)), 0, -1)

        one_game = math.prod(payoff.shape[: payoff.ndim - num_agents]) == 1
        payoff_lanes = payoff.reshape((*num_actions, 1)) if one_game else to_lanes(payoff, num_agents)
        table_ranks = [k + 1 if self.policy == "sequential" else 1 for k in range(num_agents)]
        dtype = logits[0].dtype
        arrays = (
            payoff_lanes.astype(dtype),
            tuple(to_lanes(x, rank).astype(dtype) for x, rank in zip(logits, table_ranks)),
        )
        if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(arrays)):
            arrays = _spread(arrays, num_lanes, jax.local_devices() if devices is None else devices)
        times = np.asarray((0, *self.record_at, self.steps), np.int32)
        final, policies, value, greedy_value, trajectory = _ascend(
            *arrays,
            jnp.asarray(self.learning_rate, dtype),
            jnp.asarray(np.diff(times)),
            natural=self.gradient == "natural",
        )

        def to_batch(x: jax.Array) -> jax.Array:
            x = jnp.moveaxis(x, -1, 0)[:num_lanes]
            return x.reshape(batch + x.shape[1:])

        return AscentResult(
            logits=tuple(map(to_batch, final)),
            policies=tuple(map(to_batch, policies)),
            value=to_batch(value),
            greedy_value=to_batch(greedy_value),
            trajectory=to_batch(trajectory),
        )


@functools.partial(jax.jit, static_argnames=("natural",))
def _ascend(
    payoff: jax.Array, logits: Tables, learning_rate: jax.Array, segments: jax.Array, *, natural: bool
) -> tuple[Tables, Tables, jax.Array, jax.Array, jax.Array]:
    """Logits, policies, `J`, greedy `J` and `J` after each segment but the last; lanes trailing.

    Args:
      payoff: [A_1, ..., A_n, L] or, the same in all lanes, [A_1, ..., A_n, 1].
      logits: agent k: [A_k, L] or [A_1, ..., A_k, L].
      learning_rate: [].
      segments: [T + 1] int32, steps before each recording and after the last one.
      natural: advantages instead of gradients.
    """

    def step(_: jax.Array, logits: Tables) -> Tables:
        towards = directions(payoff, probabilities(logits, 1), weighted=not natural)
        return tuple(x + learning_rate * d for x, d in zip(logits, towards))

    def segment(logits: Tables, length: jax.Array) -> tuple[Tables, jax.Array]:
        logits = jax.lax.fori_loop(0, length, step, logits)
        return logits, expected_return(payoff, probabilities(logits, 1))

    logits, values = jax.lax.scan(segment, logits, segments)
    policies = probabilities(logits, 1)
    greedy = tuple(
        jax.nn.one_hot(jnp.argmax(p, axis=axis), p.shape[axis], dtype=p.dtype, axis=axis)
        for p, axis in ((p, k if is_sequential(p, k, 1) else 0) for k, p in enumerate(policies))
    )
    return logits, policies, values[-1], expected_return(payoff, greedy), values[:-1]


def _spread(arrays: Any, num_lanes: int, devices: Sequence[jax.Device]) -> Any:
    """`arrays` with their lanes (the last axis) over `devices`, the last lane repeated to fill them evenly."""
    num_devices = max(1, min(len(devices), num_lanes))
    padding = -num_lanes % num_devices
    mesh = Mesh(np.asarray(devices[:num_devices]), ("seed",))

    def place(x: jax.Array) -> jax.Array:
        if x.shape[-1] == 1:
            return jax.device_put(x, NamedSharding(mesh, PartitionSpec()))
        x = jnp.concatenate([x, jnp.repeat(x[..., -1:], padding, axis=-1)], axis=-1) if padding else x
        return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*(None,) * (x.ndim - 1), "seed")))

    return jax.tree.map(place, arrays)


def check_payoff(payoff: Any, *, num_agents: int | None = None) -> jax.Array:
    """`payoff` as a floating-point array, or ValueError.

    Args:
      payoff: [*batch, A_1, ..., A_n]; without `num_agents`, [A_1, ..., A_n].
      num_agents: n, if there may be batch axes in front.
    """
    if not isinstance(payoff, jax.Array):
        payoff = np.asarray(payoff)
        if payoff.dtype.kind not in "fiub":
            raise ValueError(
                f"payoff must be numeric, got dtype {payoff.dtype}; accepted: real numbers, one per joint action"
            )
        payoff = jnp.asarray(payoff, float)
    least = 1 if num_agents is None else max(1, num_agents)
    if payoff.ndim < least or min(payoff.shape) < 1:
        raise ValueError(
            f"payoff must have at least {least} axes, each of length at least 1 (one axis per agent, one entry "
            f"per action), got shape {payoff.shape}"
        )
    if not isinstance(payoff, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(payoff))):
        raise ValueError(f"payoff must be finite, got {int(jnp.sum(~jnp.isfinite(payoff)))} entries that are not")
    return cast(jax.Array, payoff)


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"unknown {name} {value!r}; accepted: {', '.join(get_args(choices))}")
