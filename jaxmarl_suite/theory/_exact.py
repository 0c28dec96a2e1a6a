"""Exact returns, advantages and gradients of softmax policies on n-player cooperative matrix games.

A game is a payoff `R[a_1, ..., a_n]`. A policy is one softmax table per agent, of one of two kinds:

- decentralized: `p_k(a_k)`, logits `[A_k]`; the joint policy is the product;
- sequential: `p_k(a_k | a_1..a_{k-1})`, logits `[A_1, ..., A_k]`; the joint policy is the chain-rule product, which
  is the policy class of the transformed MDP of arXiv 2207.11143 and loses no joint policy.

With `Q_n = R`, `V_k(a_<k) = Σ_{a_k} p_k(a_k | a_<k) Q_k(a_<=k)` and `Q_{k-1} = V_k` the return is `J = V_1`, and

- sequential:     `A_k = Q_k - V_k`,                        `dJ/dlogits_k = P(a_<=k) A_k`;
- decentralized:  `A_k(a_k) = E_{a_-k}[R(a_k, a_-k)] - J`,  `dJ/dlogits_k = p_k(a_k) A_k(a_k)`.

The natural gradient of a softmax table is the advantage itself, without the probability of reaching the prefix and
taking the action: `logits += learning_rate * A` (Kakade's natural policy gradient, exact case).

Every formula takes arrays whose first axes are actions and whose trailing axes, if any, are *lanes* (games times
seeds). Lanes come last because a game is a handful of numbers: with lanes contiguous each operation is one vector loop.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Tables = tuple[jax.Array, ...]
"""One table per agent: logits, probabilities, advantages or gradients."""

# Sums over at most this many actions are written out as slices and adds, which XLA fuses with what surrounds them;
# a reduction would end the fusion (17 times slower for 3x3 games on a CPU).
_UNROLLED_ACTIONS = 16


def _reduce(combine: Callable[[Any, Any], Any], x: jax.Array, axis: int) -> jax.Array:
    """`combine` (add or maximum) over `axis`, which is kept with length 1."""
    if x.shape[axis] > _UNROLLED_ACTIONS:
        return (jnp.sum if combine is jnp.add else jnp.max)(x, axis=axis, keepdims=True)
    return functools.reduce(combine, (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in range(x.shape[axis])))


def _softmax(logits: jax.Array, axis: int) -> jax.Array:
    unnormalized = jnp.exp(logits - _reduce(jnp.maximum, logits, axis))
    return unnormalized / _reduce(jnp.add, unnormalized, axis)


def is_sequential(table: jax.Array, agent: int, num_lane_axes: int) -> bool:
    """Whether agent `agent` (from 0) sees its predecessors' actions, told by the table's rank."""
    rank = table.ndim - num_lane_axes
    if rank not in (1, agent + 1):
        raise ValueError(
            f"the table of agent {agent} must have 1 action axis (decentralized) or {agent + 1} (sequential) and "
            f"{num_lane_axes} lane axes, got shape {table.shape}"
        )
    return agent > 0 and rank == agent + 1


def probabilities(logits: Tables, num_lane_axes: int) -> Tables:
    """The policies of `logits`, each normalized over the actions of its own agent."""
    return tuple(_softmax(x, k if is_sequential(x, k, num_lane_axes) else 0) for k, x in enumerate(logits))


def _conditionals(policies: Tables, num_lane_axes: int) -> list[jax.Array]:
    """Each policy as `[A_1 or 1, ..., A_{k-1} or 1, A_k, *lanes]`, ready to broadcast over the prefix."""
    return [
        p if is_sequential(p, k, num_lane_axes) else jnp.expand_dims(p, tuple(range(k))) for k, p in enumerate(policies)
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
            f"payoff needs one action axis per agent, got shape {payoff.shape} for {len(tables)} agents; "
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
    """`P(a_1, ..., a_n)`, [A_1, ..., A_n, *lanes], of decentralized or sequential policies."""
    conditionals = _conditionals(policies, num_lane_axes)
    joint = conditionals[0]
    for k, p in enumerate(conditionals[1:], start=1):
        joint = jnp.expand_dims(joint, k) * p
    return joint


def factorize(joint: jax.Array, *, num_lane_axes: int = 0) -> Tables:
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


def directions(payoff: jax.Array, policies: Tables, *, weighted: bool) -> Tables:
    """Advantages or, `weighted` by the probability of the table entry, gradients."""
    num_lane_axes = _num_lane_axes(payoff, policies)
    conditionals = _conditionals(policies, num_lane_axes)
    action_values, values = _backup(payoff, conditionals)
    found = []
    reach = None  # P(a_<k), [A_1, ..., A_{k-1}, 1, *lanes]; None stands for 1
    for k, (policy, conditional) in enumerate(zip(policies, conditionals)):
        if is_sequential(policy, k, num_lane_axes):
            direction = action_values[k] - values[k]
            weight = conditional if reach is None else reach * conditional
        else:
            expected = action_values[k] if reach is None else reach * action_values[k]
            for _ in range(k):
                expected = jnp.squeeze(_reduce(jnp.add, expected, 0), 0)
            direction = expected - jnp.squeeze(values[0], 0)[None]
            weight = policy
        found.append(direction * weight if weighted else direction)
        reach = jnp.expand_dims(conditional if reach is None else reach * conditional, k + 1)
    return tuple(found)


def advantages(payoff: jax.Array, policies: Tables) -> Tables:
    """Exact advantages, shaped like `policies`: the natural gradient of `J` in the logits.

    Decentralized: `E_{a_-k}[R] - J`, [A_k, *lanes]. Sequential: `Q_k - V_k`, [A_1, ..., A_k, *lanes].
    Arguments as for `expected_return`.
    """
    return directions(payoff, policies, weighted=False)


def policy_gradient(payoff: jax.Array, policies: Tables) -> Tables:
    """Exact `dJ/dlogits`, shaped like `policies`: advantages times the probability of each table entry.

    Arguments as for `expected_return`.
    """
    return directions(payoff, policies, weighted=True)
