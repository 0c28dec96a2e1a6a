"""Scores of children against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from jaxmarl_suite.search._candidates import DUPLICATE
from jaxmarl_suite.search._select import child_scores, choose_children

choose = jax.jit(choose_children)
score = jax.jit(child_scores)


def tree_of(visits, q, prior, raw):
    """One tree of two nodes with three slots: rewards are q, nothing follows."""
    visits, q = jnp.array(visits, jnp.int32)[None], jnp.array(q, jnp.float32)[None]
    empty = jnp.zeros(visits.shape, jnp.float32)
    log_prior = jnp.where(jnp.array(prior)[None] > 0, jnp.log(jnp.array(prior, jnp.float32))[None], DUPLICATE)
    nodes = jnp.zeros(visits.shape[:2], jnp.int32)
    return mctx.Tree(
        node_visits=nodes,
        raw_values=jnp.array(raw, jnp.float32)[None],
        node_values=jnp.array(raw, jnp.float32)[None],
        parents=nodes - 1,
        action_from_parent=nodes - 1,
        children_index=visits - 1,
        children_prior_logits=log_prior,
        children_visits=visits,
        children_rewards=q,
        children_discounts=empty,
        children_values=empty,
        embeddings=(),
        root_invalid_actions=empty[:, 0],
        extra_data=(),
    )


def test_scores_by_hand():
    # Root: advantages 3 - 1 = 2 and 0.5 - 1 = -0.5 (two and one visits); node 1: -2 - (-1) = -1 (one visit).
    tree = tree_of([[2, 1, 0], [1, 0, 0]], [[3.0, 0.5, 0], [-2.0, 0, 0]], [[0.5, 0.5, 0], [0.2, 0.4, 0.4]], [1.0, -1.0])
    scores = np.asarray(score(tree))[0]
    bonus = [np.sqrt(n) * (1.25 + np.log((n + 19653) / 19652)) for n in (3, 1)]
    wanted = [
        [1.0 + 0.5 * bonus[0] / 3, (-0.5 + 1) / 3 + 0.5 * bonus[0] / 2, -np.inf],
        [0.0 + 0.2 * bonus[1] / 2, 1 / 3 + 0.4 * bonus[1], 1 / 3 + 0.4 * bonus[1]],  # without a visit: advantage 0
    ]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    order = jnp.array([[[0.9, 0.1, 0.5], [0.9, 0.1, 0.5]]])
    np.testing.assert_array_equal(choose(tree, order), [[0, 2]])  # equal scores: the order decides
    np.testing.assert_array_equal(choose(tree, order[..., ::-1]), [[0, 2]])
    np.testing.assert_array_equal(choose(tree, order.at[0, 1, 1].set(0.7)), [[0, 1]])


def test_a_small_range_is_not_blown_up():
    tree = tree_of([[1, 1, 0], [0, 0, 0]], [[0.004, 0.0, 0], [0, 0, 0]], [[0.5, 0.5, 0], [1, 0, 0]], [0.0, 0.0])
    scores = np.asarray(score(tree))[0, 0]
    np.testing.assert_allclose(scores[0] - scores[1], 0.4, rtol=1e-5)  # 0.004 / 0.01


def test_without_a_visit_nothing_is_scaled_and_the_first_is_taken():
    tree = tree_of([[0, 0, 0], [0, 0, 0]], [[0.0] * 3] * 2, [[0.2, 0.4, 0.4], [1, 0, 0]], [5.0, 0.0])
    np.testing.assert_array_equal(np.asarray(score(tree))[0], [[0, 0, 0], [0, -np.inf, -np.inf]])
    assert int(choose(tree, jnp.array([[[0.1, 0.9, 0.2], [0.0, 0.5, 0.9]]]))[0, 0]) == 0


def test_the_roots_children_come_first_in_their_order():
    tree = tree_of([[1, 0, 0], [0, 0, 0]], [[100.0, 0, 0]] * 2, [[0.9, 0.05, 0.05], [1, 0, 0]], [0.0, 0.0])
    assert int(choose(tree, jnp.zeros((1, 2, 3)))[0, 0]) == 1


def test_ties_of_a_fresh_node_are_equally_likely():
    tree = tree_of([[1, 0, 0], [0, 0, 0]], [[1.0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0.6, 0.2, 0.2]], [0.0, 0.0])
    orders = jax.random.uniform(jax.random.key(0), (3000, 1, 2, 3))
    chosen = np.asarray(jax.vmap(choose, (None, 0))(tree, orders))[:, 0, 1]
    np.testing.assert_allclose(np.bincount(chosen, minlength=3) / 3000, [1 / 3] * 3, atol=0.04)
