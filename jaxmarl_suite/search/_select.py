"""Selection of children: UCB with advantages normalized by their range in the whole tree.

The selected child of a node depends only on the tree, so it is computed for all nodes at once between simulations; on
its way down, a simulation reads one number per node. Axes: B searches, M nodes, K slots.
"""

import jax
import jax.numpy as jnp
import mctx

from jaxmarl_suite.search._candidates import is_first

_PB_C_INIT = 1.25
_PB_C_BASE = 19652.0
_LEAST_RANGE = 0.01


def child_values(tree: mctx.Tree) -> jax.Array:
    """[B, M, K] q of each node's children: reward plus discounted value; 0 without a visit."""
    return tree.children_rewards + tree.children_discounts * tree.children_values


def child_scores(tree: mctx.Tree) -> jax.Array:
    """[B, M, K] scores of all nodes' children, -inf in slots without one.

    With n = Σ N(c), and x = q(c) minus the model's value of the node, or 0 for a child without a visit:

        (x - low) / max(0.01, high - low), clipped to [0, 1],  +  prior(c) √n / (1 + N(c)) (1.25 + log((n + 19653) /
        19652))

    `low` and `high` are the minimum and maximum of x over all visited nodes of the tree; while there are none, x is
    not normalized.
    """
    visits = tree.children_visits
    is_visited = visits > 0
    advantage = jnp.where(is_visited, child_values(tree) - tree.raw_values[..., None], 0.0)
    low = jnp.where(is_visited, advantage, jnp.inf).min((-2, -1), keepdims=True)
    high = jnp.where(is_visited, advantage, -jnp.inf).max((-2, -1), keepdims=True)
    n = visits.sum(-1, keepdims=True).astype(advantage.dtype)
    exploration = jnp.sqrt(n) * (_PB_C_INIT + jnp.log((n + _PB_C_BASE + 1.0) / _PB_C_BASE))
    # Otherwise XLA's CPU backend recomputes these sums for every element that they are broadcast to.
    low, high, exploration = jax.lax.optimization_barrier((low, high, exploration))
    scaled = jnp.clip((advantage - low) / jnp.maximum(_LEAST_RANGE, high - low), 0.0, 1.0)
    scaled = jnp.where(low <= high, scaled, advantage)
    log_prior = tree.children_prior_logits
    score = scaled + jnp.exp(log_prior) * exploration / (1.0 + visits.astype(advantage.dtype))
    return jnp.where(is_first(log_prior), score, -jnp.inf)


def choose_children(tree: mctx.Tree, order: jax.Array) -> jax.Array:
    """[B, M] int32, the slot that a simulation selects at each node.

    The root's children get one visit each, in the order of their slots; then, and at all other nodes, the best score
    is selected, and among equals the first in the node's random order.

    Args:
      tree: the tree between two simulations.
      order: [B, M, K] float32, uniform in [0, 1), drawn once for each node.
    """
    chosen = _argmax(child_scores(tree), order)
    root = tree.ROOT_INDEX
    is_new = is_first(tree.children_prior_logits[:, root]) & (tree.children_visits[:, root] == 0)
    first = jnp.where(is_new.any(-1), is_new.argmax(-1).astype(jnp.int32), chosen[:, root])
    return chosen.at[:, root].set(first)


def _argmax(score: jax.Array, order: jax.Array) -> jax.Array:
    """[...] int32, index of the largest score on the last axis, and among equals of the one with the largest order."""
    slots = jax.lax.broadcasted_iota(jnp.int32, score.shape, score.ndim - 1)
    least = (jnp.array(-jnp.inf, score.dtype), jnp.array(-1.0, order.dtype), jnp.int32(0))

    def better(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        is_first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] >= b[1]))
        return tuple(jnp.where(is_first, x, y) for x, y in zip(a, b))

    return jax.lax.reduce((score, order, slots), least, better, (score.ndim - 1,))[2]
