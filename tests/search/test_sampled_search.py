"""The compiled search against the one in plain Python, step by step, and what it promises beside that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_search as reference
from toy_model import N, toy_model, toy_roots, toy_step, toy_value

from jaxmarl_suite.search import (
    Model,
    best_action,
    sample_action,
    sampled_search,
    sampled_tree,
    uniform_action,
)

SIMULATIONS, SAMPLES, BATCH = 24, 5, 2


@pytest.fixture(scope="module")
def grown():
    """`(ends, backup) -> compiled (rho, lam, key, roots) -> tree`: ρ and λ are traced, so each is compiled once."""
    programs = {}

    def compiled(ends, backup):
        if (ends, backup) not in programs:
            model = toy_model(ends=ends)

            def grow(rho, lam, key, roots):
                options = {"drop_lowest": rho, "depth_decay": lam, "backup": backup}
                return sampled_tree(model, num_simulations=SIMULATIONS, num_samples=SAMPLES, **options)((), key, roots)

            programs[ends, backup] = jax.jit(grow)
        return programs[ends, backup]

    return compiled


def candidates_of(tree, b, index):
    prior = np.exp(np.asarray(tree.children_prior_logits[b, index], np.float64))
    actions = np.asarray(tree.embeddings.actions[b, index])
    return {slot: (tuple(actions[slot]), prior[slot]) for slot in range(SAMPLES) if prior[slot] > 0}


def check_tree(tree, b, root_state, ends, rho, lam):
    """Grows the tree in Python, with the joint actions that were drawn at each node, and compares every step."""

    def node_at(index, state, raw, reward=0.0, discount=1.0):
        order = list(np.asarray(tree.embeddings.order[b, index]))
        return reference.Node(state, raw, candidates_of(tree, b, index), order, reward, discount)

    def expand(index, state, joint):
        reward, discount, value, state = toy_step(state, joint, ends=ends)
        return node_at(index, state, value, reward, discount)

    state = [float(x) for x in root_state]
    root = node_at(0, state, toy_value(state))
    for index in range(1, SIMULATIONS + 1):
        path, slot = reference.simulate(root, index, expand, rho, lam)
        assert int(tree.parents[b, index]) == path[-2].index, index
        assert int(tree.action_from_parent[b, index]) == slot, index
    nodes = {node.index: node for node in reference.all_nodes(root)}
    values = [reference.node_value(nodes[i], rho, lam) for i in range(SIMULATIONS + 1)]
    np.testing.assert_allclose(tree.node_values[b], values, atol=2e-5)
    for index, node in nodes.items():
        for slot in range(SAMPLES):
            child = node.children.get(slot)
            assert int(tree.children_visits[b, index, slot]) == (child.visits if child else 0)
            if child:
                value = tree.children_values[b, index, slot]
                np.testing.assert_allclose(value, reference.node_value(child, rho, lam), atol=2e-5)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("rho, lam", [(0.0, 1.0), (0.0, 0.8), (0.25, 0.8), (0.75, 0.8), (0.75, 0.0), (1.0, 0.5)])
def test_every_step_is_that_of_the_reference(grown, ends, rho, lam):
    roots = toy_roots(BATCH)
    tree = grown(ends, "optimistic")(rho, lam, jax.random.key(7), roots)
    assert int(np.asarray(tree.children_discounts == 0.0).any()) or not ends
    for b in range(BATCH):
        check_tree(tree, b, roots[b], ends, rho, lam)


def test_mean_backup_is_that_of_the_reference(grown):
    roots = toy_roots(BATCH)
    tree = grown(True, "mean")(0.0, 1.0, jax.random.key(7), roots)
    for b in range(BATCH):
        check_tree(tree, b, roots[b], True, None, None)


def test_nothing_dropped_and_no_decay_is_the_mean(grown):
    arguments = (0.0, 1.0, jax.random.key(3), toy_roots(BATCH))
    means, sums = grown(False, "mean")(*arguments), grown(False, "optimistic")(*arguments)
    np.testing.assert_array_equal(means.parents, sums.parents)
    np.testing.assert_array_equal(means.children_visits, sums.children_visits)
    np.testing.assert_allclose(means.node_values, sums.node_values, atol=1e-5)


def test_dropping_all_keeps_the_best_of_each_depth(grown):
    tree = grown(False, "optimistic")(1.0, 1.0, jax.random.key(3), toy_roots(BATCH))
    seen, depth = np.asarray(tree.extra_data.returns.seen[0, 0]), np.asarray(tree.extra_data.returns.depth[0])
    best = [seen[depth == d].max() for d in range(depth.max() + 1)]
    np.testing.assert_allclose(tree.node_values[0, 0], np.mean(best), atol=1e-5)
    assert int(tree.extra_data.returns.kept[0, 0].sum()) == len(best)


def test_more_optimism_expects_more(grown):
    values = [
        float(grown(False, "optimistic")(rho, 0.8, jax.random.key(5), toy_roots(BATCH)).node_values[:, 0].mean())
        for rho in (0.0, 0.25, 0.75)
    ]
    assert values[0] < values[1] < values[2]


@pytest.fixture(scope="module")
def result():
    legal = np.array([[True, True, False], [True, False, True]])
    model = toy_model(legal=legal)
    search = jax.jit(sampled_search(model, num_simulations=20, num_samples=6, noise_share=0.25))
    return search((), jax.random.key(0), toy_roots(16))


def test_roots_children(result):
    assert (np.asarray(result.visits).sum(-1) == 20).all()
    visits, is_child = np.asarray(result.visits), np.asarray(result.is_child)
    assert ((visits > 0) == is_child).all() and not is_child.all()  # every child once, repetitions never
    np.testing.assert_allclose(result.weights, visits / 20, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(result.prior).sum(-1), 1.0, rtol=1e-5)
    actions = np.asarray(result.actions)
    assert (actions[..., 0] != 2).all() and (actions[..., 1] != 1).all()
    for b in range(16):
        joint = [tuple(a) for a in actions[b][is_child[b]]]
        assert len(set(joint)) == len(joint) == len({tuple(a) for a in actions[b]})


def test_acting(result):
    best = np.asarray(best_action(result))
    for b in range(16):
        np.testing.assert_array_equal(best[b], result.actions[b, int(np.asarray(result.visits[b]).argmax())])
    sharp = sample_action(jax.random.key(1), result, 1e-3)
    is_unique = np.asarray((result.visits == result.visits.max(-1, keepdims=True)).sum(-1) == 1)
    assert is_unique.sum() > 4
    np.testing.assert_array_equal(np.asarray(sharp)[is_unique], best[is_unique])
    keys = jax.random.split(jax.random.key(2), 4000)
    uniform = np.asarray(result.is_child) / np.asarray(result.is_child).sum(-1, keepdims=True)
    for draw, wanted in ((sample_action, np.asarray(result.weights)), (uniform_action, uniform)):
        drawn = np.asarray(jax.vmap(draw, (0, None))(keys, result))[:, 0]  # [4000, N]
        equal = (drawn[:, None] == np.asarray(result.actions[0])[None]).all(-1) & np.asarray(result.is_child[0])
        np.testing.assert_allclose(equal.mean(0), wanted[0], atol=0.04)


def test_it_is_traced_once_and_calls_nothing_on_the_host():
    model, traces = toy_model(), []

    def root(params, key, inputs):
        traces.append(1)
        return model.root(params, key, inputs)

    search = sampled_search(model._replace(root=root), num_simulations=6, num_samples=3)
    program = jax.jit(search)
    for seed in range(3):
        program((), jax.random.key(seed), toy_roots(2, seed))
    assert len(traces) == 1
    assert "callback" not in program.lower((), jax.random.key(0), toy_roots(2)).as_text()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        ({"num_simulations": 0}, "num_simulations must be an integer of at least 1, got 0"),
        ({"num_simulations": 4, "num_samples": 5}, "num_simulations must be at least num_samples.*got 4 and 5"),
        ({"num_samples": 2.5}, "num_samples must be an integer of at least 1, got 2.5"),
        ({"backup": "max"}, "backup must be 'optimistic' or 'mean', got 'max'"),
        ({"drop_lowest": 1.5}, "drop_lowest must lie between 0 and 1, got 1.5"),
        ({"depth_decay": -0.1}, "depth_decay must lie between 0 and 1, got -0.1"),
        ({"noise_share": float("nan")}, "noise_share must lie between 0 and 1, got nan"),
        ({"temperature": 0.0}, "temperature must be finite and positive, got 0.0"),
        ({"noise_concentration": 0.0}, "noise_concentration must be finite and positive"),
    ],
)
def test_settings_that_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sampled_search(toy_model(), **change)


def test_models_that_do_not_fit_are_refused():
    model = toy_model()
    with pytest.raises(ValueError, match="n_agents must be an integer of at least 1, got 0"):
        sampled_search(model._replace(n_agents=0))
    with pytest.raises(ValueError, match=r"root needs logits of shape \(2, 3, 3\), got \(2, 2, 3\)"):
        jax.eval_shape(sampled_search(model._replace(n_agents=N + 1)), (), jax.random.key(0), toy_roots(2))

    def recurrent(params, key, actions, state):
        prediction, state = model.recurrent(params, key, actions, state)
        return prediction._replace(reward=jnp.zeros((2, N))), state

    wrong = Model(model.n_agents, model.num_actions, model.root, recurrent)
    with pytest.raises(ValueError, match=r"recurrent function needs reward of shape \(2,\), got \(2, 2\)"):
        jax.eval_shape(sampled_search(wrong, num_samples=2), (), jax.random.key(0), toy_roots(2))
