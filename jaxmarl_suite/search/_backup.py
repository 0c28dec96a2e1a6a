"""Values of a tree's nodes: means of the returns below them, or OS(λ), weighted means of the best returns at each
depth.

MAZero (Liu et al. 2024, arXiv 2405.11778), equations 5 to 8. Axes: B searches, M nodes, K slots.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
from jaxmarl_envs.core import pytree_dataclass

_ROUNDING = 1e-6


@pytree_dataclass
class Returns:
    """Every return that a node of a tree has seen, for OS(λ)."""

    seen: jax.Array  # [B, M, M] float32: [node, w], the return from the node to its descendant w; -inf elsewhere
    kept: jax.Array  # [B, M, M] bool: whether it is among the best of its node and depth
    depth: jax.Array  # [B, M] int32, of nodes; -1 for nodes that do not exist yet
    total: jax.Array  # [B, M] float32, weighted sum of the kept returns
    weight: jax.Array  # [B, M] float32, sum of its weights


def root_returns(value: jax.Array, num_simulations: int) -> Returns:
    """The root's own value, which is the only return of a tree without children.

    Args:
      value: [B], the model's value of the root.
      num_simulations: M - 1.
    """
    batch, nodes = value.shape[0], num_simulations + 1

    def at_root(fill: Any, root: jax.Array | float | bool | int, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.full(shape, fill, dtype).at[(slice(None), *(0,) * (len(shape) - 1))].set(root)

    return Returns(
        seen=at_root(-jnp.inf, value, (batch, nodes, nodes), value.dtype),
        kept=at_root(False, True, (batch, nodes, nodes), bool),
        depth=at_root(-1, 0, (batch, nodes), jnp.int32),
        total=at_root(0.0, value, (batch, nodes), value.dtype),
        weight=at_root(0.0, 1.0, (batch, nodes), value.dtype),
    )


def num_kept(count: jax.Array, drop_lowest: jax.Array | float) -> jax.Array:
    """max(1, ⌈count (1 - drop_lowest)⌉) as int32; values that rounding puts just above an integer count as that
    integer.
    """
    share = count.astype(jnp.float32) * (1.0 - drop_lowest)
    return jnp.maximum(1, jnp.ceil(share - _ROUNDING).astype(jnp.int32))


class _Climb(NamedTuple):
    """State of the loop from a new leaf up to the root."""

    node: jax.Array  # [B] int32, where the next return is added; -1 above the root
    distance: jax.Array  # [] int32, from `node` down to the leaf
    value: jax.Array  # [B], the return from `node` to the leaf
    returns: Returns
    node_values: jax.Array  # [B, M]
    children_values: jax.Array  # [B, M, K]


class _Entry(NamedTuple):
    """How a new return changes those that a node keeps at its distance."""

    grows: jax.Array  # [B] bool: whether one more is kept
    is_kept: jax.Array  # [B] bool: whether the new one is kept
    rival: jax.Array  # [B] int32: the descendant whose return is compared with the new one
    rival_kept: jax.Array  # [B] bool: whether that one is kept from now on
    gain: jax.Array  # [B], change of the sum of kept returns


def _enter(
    value: jax.Array, seen: jax.Array, kept: jax.Array, level: jax.Array, drop_lowest: jax.Array | float
) -> _Entry:
    """Adds a return: it replaces the smallest kept one, or fills a new place, or leaves the new place to the best of
    the others.

    Args:
      value: [B], the new return.
      seen: [B, M], the other returns of the node.
      kept: [B, M] bool, which of them are kept.
      level: [B, M] bool, which of them are at the same distance.
      drop_lowest: ρ.
    """
    best = level & kept
    grows = best.sum(-1, dtype=jnp.int32) < num_kept(level.sum(-1, dtype=jnp.int32) + 1, drop_lowest)
    # For a new place the rival is the best of the others, for an existing one the smallest of the kept ones.
    height = jnp.where(jnp.where(grows[:, None], level & ~kept, best), jnp.where(grows[:, None], -seen, seen), jnp.inf)
    rival = height.argmin(-1).astype(jnp.int32)
    height = jnp.take_along_axis(height, rival[:, None], axis=-1)[:, 0]
    has_rival = height < jnp.inf
    rival_value = jnp.where(has_rival, jnp.where(grows, -height, height), 0.0)
    is_kept = ~has_rival | (value > rival_value)
    gain = jnp.where(is_kept, value, rival_value) - jnp.where(grows, 0.0, rival_value)
    was_kept = jnp.take_along_axis(kept, rival[:, None], axis=-1)[:, 0]
    return _Entry(grows, is_kept, rival, jnp.where(has_rival, ~is_kept, was_kept), gain)


def add_leaf(
    tree: mctx.Tree,
    returns: Returns,
    leaf: jax.Array,
    drop_lowest: jax.Array | float,
    depth_decay: jax.Array | float,
) -> tuple[mctx.Tree, Returns]:
    """Adds the leaf of a simulation: the tree with OS(λ) values at the leaf and all nodes above it, and the new
    returns.

    With U_d(u) the returns Σ_{k<d} γ^k r_k + γ^d v(w) from u to its descendants w at distance d, and the best
    m_d = `num_kept(|U_d|)` of them kept,

        V(u) = Σ_d λ^d Σ_kept x / Σ_d λ^d m_d.

    A simulation adds one leaf, hence one return to each node above it, and m_d grows by 0 or 1; each takes a pass over
    the M returns of the node. The result of mctx's own backup, which writes only to these nodes, is overwritten.

    Args:
      tree: the tree after mctx's simulation.
      returns: the returns before it.
      leaf: [] int32, the index of the new node, the same in all searches (there is no depth limit).
      drop_lowest: ρ in [0, 1], the share of a depth's returns that is dropped.
      depth_decay: λ in [0, 1], the weight of a depth relative to the one above.
    """
    rows = jnp.arange(tree.parents.shape[0])
    leaf_depth = returns.depth[rows, tree.parents[:, leaf]] + 1
    depth = returns.depth.at[:, leaf].set(leaf_depth)
    is_level = depth == leaf_depth[:, None]  # what is at the leaf's depth and below a node is at the same distance

    def climb(at: _Climb) -> _Climb:
        old, is_on = at.returns, at.node >= 0
        node = jnp.maximum(at.node, 0)  # searches that are past their root rewrite its current values
        seen, kept = old.seen[rows, node], old.kept[rows, node]  # [B, M]
        entry = _enter(at.value, seen, kept, is_level & (seen > -jnp.inf), drop_lowest)
        decay = jnp.where(is_on, jnp.asarray(depth_decay, at.value.dtype) ** at.distance, 0.0)
        total = old.total[rows, node] + decay * entry.gain
        weight = old.weight[rows, node] + jnp.where(entry.grows, decay, 0.0)
        rival_kept = jnp.where(is_on, entry.rival_kept, kept[rows, entry.rival])
        new = Returns(
            seen=old.seen.at[rows, node, leaf].set(jnp.where(is_on, at.value, seen[:, leaf])),
            kept=old.kept.at[rows, node, entry.rival]
            .set(rival_kept)
            .at[rows, node, leaf]
            .set(jnp.where(is_on, entry.is_kept, kept[:, leaf])),
            depth=depth,
            total=old.total.at[rows, node].set(total),
            weight=old.weight.at[rows, node].set(weight),
        )
        above = jnp.where(is_on, tree.parents[rows, node], -1)
        edge = rows, jnp.maximum(above, 0), jnp.maximum(tree.action_from_parent[rows, node], 0)
        value = total / weight
        return _Climb(
            node=above,
            distance=at.distance + 1,
            value=tree.children_rewards[edge] + tree.children_discounts[edge] * at.value,
            returns=new,
            node_values=at.node_values.at[rows, node].set(value),
            children_values=at.children_values.at[edge].set(jnp.where(above >= 0, value, at.children_values[edge])),
        )

    start = _Climb(
        node=jnp.broadcast_to(leaf, rows.shape).astype(jnp.int32),
        distance=jnp.zeros((), jnp.int32),
        value=tree.raw_values[:, leaf],
        returns=Returns(returns.seen, returns.kept, depth, returns.total, returns.weight),
        node_values=tree.node_values,
        children_values=tree.children_values,
    )
    end = jax.lax.while_loop(lambda at: (at.node >= 0).any(), climb, start)
    return tree.replace(node_values=end.node_values, children_values=end.children_values), end.returns
