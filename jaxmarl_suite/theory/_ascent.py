"""Exact gradient ascent on n-player cooperative matrix games, many games and seeds in one program.

A game is a payoff `R[a_1, ..., a_n]`. A policy is one softmax table an agent, of one of two kinds:

- decentralised: `p_k(a_k)`, logits `[A_k]`; the joint policy is the product;
- sequential: `p_k(a_k | a_1..a_{k-1})`, logits `[A_1, ..., A_k]`; the joint policy is the chain-rule product, which
  is the policy class of the transformed MDP of arXiv 2207.11143 and loses no joint policy.

With `Q_n = R`, `V_k(a_<k) = Σ_{a_k} p_k(a_k | a_<k) Q_k(a_<=k)` and `Q_{k-1} = V_k` the return is `J = V_1`, and

- sequential:     `A_k = Q_k - V_k`,                        `dJ/dlogits_k = P(a_<=k) A_k`;
- decentralised:  `A_k(a_k) = E_{a_-k}[R(a_k, a_-k)] - J`,  `dJ/dlogits_k = p_k(a_k) A_k(a_k)`.

The natural gradient of a softmax table is the advantage itself, without the probability of reaching the prefix and
taking the action: `logits += learning_rate * A` (Kakade's natural policy gradient, exact case).

Every formula takes arrays whose first axes are actions and whose trailing axes, if any, are *lanes* (games times
seeds). Lanes come last because a game is a handful of numbers: with lanes contiguous each operation is one vector loop.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxmarl_envs.core import pytree_dataclass

PolicyKind = Literal["decentralised", "sequential"]
GradientKind = Literal["plain", "natural"]
Tables = tuple[jax.Array, ...]
"""One table an agent: logits, probabilities, advantages or gradients."""

# Sums over at most this many actions are written out as slices and adds, which XLA fuses with what surrounds them;
# a reduction would end the fusion (17 times slower for 3x3 games on a CPU).
_UNROLLED_ACTIONS = 16


def _reduce(combine: Callable[[Any, Any], Any], x: jax.Array, axis: int) -> jax.Array:
    """`combine` (add or maximum) over `axis`, which is kept with length 1."""
    if x.shape[axis] > _UNROLLED_ACTIONS:
        return (jnp.sum if combine is jnp.add else jnp.max)(x, axis=axis, keepdims=True)
    return functools.reduce(combine, (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in range(x.shape[axis])))


def _softmax(logits: jax.Array, axis: int) -> jax.Array:
    unnormalised = jnp.exp(logits - _reduce(jnp.maximum, logits, axis))
    return unnormalised / _reduce(jnp.add, unnormalised, axis)


def _is_sequential(table: jax.Array, agent: int, num_lane_axes: int) -> bool:
    """Whether agent `agent` (from 0) sees its predecessors' actions, told by the table's rank."""
    rank = table.ndim - num_lane_axes
    if rank not in (1, agent + 1):
        raise ValueError(
            f"the table of agent {agent} must have 1 action axis (decentralised) or {agent + 1} (sequential) and "
            f"{num_lane_axes} lane axes, got shape {table.shape}"
        )
    return agent > 0 and rank == agent + 1


def _probabilities(logits: Tables, num_lane_axes: int) -> Tables:
    return tuple(_softmax(x, k if _is_sequential(x, k, num_lane_axes) else 0) for k, x in enumerate(logits))


def _conditionals(policies: Tables, num_lane_axes: int) -> list[jax.Array]:
    """Each policy as `[A_1 or 1, ..., A_{k-1} or 1, A_k, *lanes]`, ready to broadcast over the prefix."""
    return [
        p if _is_sequential(p, k, num_lane_axes) else jnp.expand_dims(p, tuple(range(k)))
        for k, p in enumerate(policies)
    ]


def _backup(payoff: jax.Array, conditionals: Sequence[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
    """`Q_k` `[A_1..A_k, *lanes]` and `V_k` `[A_1..A_{k-1}, 1, *lanes]` for every agent."""
    action_values, values = [], []
    q = payoff
    for k in reversed(range(len(conditionals))):
        v = _reduce(jnp.add, conditionals[k] * q, k)
        action_values.append(q)
        values.append(v)
        q = jnp.squeeze(v, k)
    return action_values[::-1], values[::-1]


def _num_lane_axes(payoff: jax.Array, tables: Tables) -> int:
    if not tables or payoff.ndim < len(tables):
        raise ValueError(
            f"payoff needs one action axis an agent, got shape {payoff.shape} for {len(tables)} agents; "
            "accepted: [A_1, ..., A_n] and, behind it, lane axes"
        )
    return payoff.ndim - len(tables)


def expected_return(payoff: jax.Array, policies: Tables) -> jax.Array:
    """The exact expected payoff `J`, `[*lanes]`.

    Args:
      payoff: [A_1, ..., A_n, *lanes], float.
      policies: for agent k, probabilities [A_k, *lanes] or, given its predecessors, [A_1, ..., A_k, *lanes].
    """
    _, values = _backup(payoff, _conditionals(policies, _num_lane_axes(payoff, policies)))
    return jnp.squeeze(values[0], 0)


def joint_distribution(policies: Tables, *, num_lane_axes: int = 0) -> jax.Array:
    """`P(a_1, ..., a_n)`, [A_1, ..., A_n, *lanes], of decentralised or sequential policies."""
    conditionals = _conditionals(policies, num_lane_axes)
    joint = conditionals[0]
    for k, p in enumerate(conditionals[1:], start=1):
        joint = jnp.expand_dims(joint, k) * p
    return joint


def factorise(joint: jax.Array, *, num_lane_axes: int = 0) -> Tables:
    """The sequential policies whose `joint_distribution` is `joint`: every joint policy has some (the chain rule).

    Args:
      joint: [A_1, ..., A_n, *lanes], non-negative, summing to 1 over the action axes.
      num_lane_axes: how many trailing axes are lanes.

    Returns:
      For agent k `p_k(a_k | a_<k)`, [A_1, ..., A_k, *lanes]; uniform after prefixes of probability zero.
    """
    num_agents = joint.ndim - num_lane_axes
    policies = []
    marginal = joint
    for k in reversed(range(num_agents)):
        total = _reduce(jnp.add, marginal, k)
        uniform = jnp.full_like(marginal, 1.0 / marginal.shape[k])
        # The inner `where` keeps the unused quotient finite, so that gradients are too.
        policies.append(jnp.where(total > 0, marginal / jnp.where(total > 0, total, jnp.ones_like(total)), uniform))
        marginal = jnp.squeeze(total, k)
    return tuple(policies[::-1])


def _directions(payoff: jax.Array, policies: Tables, *, weighted: bool) -> Tables:
    """Advantages or, `weighted` by the probability of the table entry, gradients."""
    num_lane_axes = _num_lane_axes(payoff, policies)
    conditionals = _conditionals(policies, num_lane_axes)
    action_values, values = _backup(payoff, conditionals)
    directions = []
    reach = None  # P(a_<k), [A_1, ..., A_{k-1}, 1, *lanes]; None stands for 1
    for k, (policy, conditional) in enumerate(zip(policies, conditionals)):
        if _is_sequential(policy, k, num_lane_axes):
            direction = action_values[k] - values[k]
            weight = conditional if reach is None else reach * conditional
        else:
            expected = action_values[k] if reach is None else reach * action_values[k]
            for _ in range(k):
                expected = jnp.squeeze(_reduce(jnp.add, expected, 0), 0)
            direction = expected - jnp.squeeze(values[0], 0)[None]
            weight = policy
        directions.append(direction * weight if weighted else direction)
        reach = jnp.expand_dims(conditional if reach is None else reach * conditional, k + 1)
    return tuple(directions)


def advantages(payoff: jax.Array, policies: Tables) -> Tables:
    """Exact advantages, shaped like `policies`: the natural gradient of `J` in the logits.

    Decentralised: `E_{a_-k}[R] - J`, [A_k, *lanes]. Sequential: `Q_k - V_k`, [A_1, ..., A_k, *lanes].
    Arguments as for `expected_return`.
    """
    return _directions(payoff, policies, weighted=False)


def policy_gradient(payoff: jax.Array, policies: Tables) -> Tables:
    """Exact `dJ/dlogits`, shaped like `policies`: advantages times the probability of each table entry.

    Arguments as for `expected_return`.
    """
    return _directions(payoff, policies, weighted=True)


def init_logits(
    keys: jax.Array, num_actions: Sequence[int], *, policy: PolicyKind, sd: jax.Array | float = 1.0
) -> Tables:
    """Independent `N(0, sd²)` logits.

    Args:
      keys: [*batch] typed keys, one a seed; consumed.
      num_actions: (A_1, ..., A_n).
      policy: kind of table.
      sd: standard deviation; 0 gives uniform policies.

    Returns:
      For agent k, float32 [*batch, A_k] (decentralised) or [*batch, A_1, ..., A_k] (sequential).
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
    """`decentralised` (product of independent tables) or `sequential` (each agent sees its predecessors' actions)."""
    gradient: GradientKind
    """`plain` (`dJ/dlogits`) or `natural` (the advantages)."""
    learning_rate: float = 0.1
    steps: int = 20_000
    record_at: tuple[int, ...] = ()
    """Steps after which `J` is recorded: strictly increasing, within 0..steps."""

    def __post_init__(self) -> None:
        """Refuses unknown names and empty runs."""
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
          logits: for agent k [*batch, A_k] (decentralised) or [*batch, A_1, ..., A_k] (sequential); they set
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
        directions = _directions(payoff, _probabilities(logits, 1), weighted=not natural)
        return tuple(x + learning_rate * d for x, d in zip(logits, directions))

    def segment(logits: Tables, length: jax.Array) -> tuple[Tables, jax.Array]:
        logits = jax.lax.fori_loop(0, length, step, logits)
        return logits, expected_return(payoff, _probabilities(logits, 1))

    logits, values = jax.lax.scan(segment, logits, segments)
    policies = _probabilities(logits, 1)
    greedy = tuple(
        jax.nn.one_hot(jnp.argmax(p, axis=axis), p.shape[axis], dtype=p.dtype, axis=axis)
        for p, axis in ((p, k if _is_sequential(p, k, 1) else 0) for k, p in enumerate(policies))
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
                f"payoff must be numeric, got dtype {payoff.dtype}; accepted: real numbers, one a joint action"
            )
        payoff = jnp.asarray(payoff, float)
    least = 1 if num_agents is None else max(1, num_agents)
    if payoff.ndim < least or min(payoff.shape) < 1:
        raise ValueError(
            f"payoff must have at least {least} axes, each of length at least 1 (one axis an agent, one entry an "
            f"action), got shape {payoff.shape}"
        )
    if not isinstance(payoff, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(payoff))):
        raise ValueError(f"payoff must be finite, got {int(jnp.sum(~jnp.isfinite(payoff)))} entries that are not")
    return cast(jax.Array, payoff)


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"unknown {name} {value!r}; accepted: {', '.join(get_args(choices))}")
