"""Joint actions drawn at a node, their priors, the root's noise, and all joint actions of small games."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_model import toy_model

from jaxmarl_suite.search import ENUMERATION_LIMIT, enumerate_joint_actions, merge_duplicates, sample_candidates
from jaxmarl_suite.search._candidates import joint_logits, noisy_policy
from jaxmarl_suite.search._model import Root

POLICY = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.0, 0.6, 0.3]], np.float32)  # N = 2, A = 4


def test_merging_by_hand():
    actions = jnp.array([[[0, 1], [1, 0], [0, 1], [0, 1], [1, 1]]], jnp.int32)
    count, first = merge_duplicates(actions)
    np.testing.assert_array_equal(count, [[3, 1, 3, 3, 1]])
    np.testing.assert_array_equal(first, [[True, True, False, False, True]])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_priors_are_unbiased(temperature):
    """Σ prior = 1 at temperature 1, and the mean prior of a joint action is its probability at any."""
    seeds, samples = 4000, 6
    drawn = sample_candidates(jax.random.key(0), jnp.broadcast_to(POLICY, (seeds, 2, 4)), samples, temperature)
    actions, prior = np.asarray(drawn.actions), np.exp(np.asarray(drawn.log_prior, np.float64))
    is_child = prior > 0
    proposal = POLICY.astype(np.float64) ** (1 / temperature)
    proposal /= proposal.sum(-1, keepdims=True)
    mean = np.zeros((4, 4))
    np.add.at(mean, (actions[..., 0], actions[..., 1]), prior / seeds)
    np.testing.assert_allclose(mean, np.outer(POLICY[0], POLICY[1]), atol=0.012)
    assert (POLICY[0][actions[..., 0]] > 0).all() and (POLICY[1][actions[..., 1]] > 0).all()
    for b in range(20):  # the formula, joint action by joint action
        joint = [tuple(a) for a in actions[b]]
        for slot, (i, j) in enumerate(joint):
            wanted = joint.count((i, j)) / samples * POLICY[0, i] * POLICY[1, j] / (proposal[0, i] * proposal[1, j])
            np.testing.assert_allclose(prior[b, slot], wanted if joint.index((i, j)) == slot else 0.0, rtol=1e-5)
    if temperature == 1.0:
        np.testing.assert_allclose(prior.sum(-1), 1.0, rtol=1e-5)
    assert (is_child.sum(-1) < samples).any()


def test_what_is_drawn_follows_the_proposal():
    drawn = sample_candidates(jax.random.key(1), jnp.broadcast_to(POLICY, (6000, 2, 4)), 10).actions
    for agent in range(2):
        share = np.bincount(np.asarray(drawn[..., agent]).ravel(), minlength=4) / 60_000
        np.testing.assert_allclose(share, POLICY[agent], atol=0.008)


def test_noise_at_the_root():
    logits = jnp.log(jnp.array([[[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]]]))
    legal = jnp.array([[[True, True, False], [True, True, True]]])
    root = Root(logits, jnp.zeros(1), (), legal)
    plain = np.asarray(noisy_policy(jax.random.key(0), root, 0.0, 0.3))[0]
    np.testing.assert_allclose(plain[0], np.array([0.7001, 0.2001, 0.0]) / 0.9002, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 4000)
    noisy = np.asarray(jax.vmap(noisy_policy, (0, None, None, None))(keys, root, 0.25, 0.3))[:, 0]
    np.testing.assert_allclose(noisy.sum(-1), 1.0, rtol=1e-5)
    assert (noisy[:, 0, 2] == 0).all() and np.isfinite(noisy).all()
    noise = (noisy - 0.75 * plain) / 0.25
    np.testing.assert_allclose(noise.mean(0), [[0.5, 0.5, 0], [1 / 3] * 3], atol=0.03)
    # The variance of an entry of Dir(α, ..., α) with n entries is (n - 1) / (n² (n α + 1)).
    np.testing.assert_allclose(noise[:, 0, 0].var(), 1 / (4 * 1.6), atol=0.01)
    np.testing.assert_allclose(noise[:, 1, 0].var(), 2 / (9 * 1.9), atol=0.01)


def test_all_joint_actions():
    model = toy_model()
    joint = enumerate_joint_actions(model)
    assert [tuple(row) for row in joint] == list(itertools.product(range(3), repeat=2))
    logits = jax.random.normal(jax.random.key(0), (2, 2, 3))
    policy = np.asarray(jax.nn.softmax(logits))
    wanted = [[p[0, i] * p[1, j] for i, j in joint] for p in policy]
    np.testing.assert_allclose(np.exp(joint_logits(logits, joint)), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match=r"6 agents with 6 actions have 46,656 joint actions.* 4,096 .*sampled_search"):
        enumerate_joint_actions(model._replace(n_agents=6, num_actions=6))
    assert ENUMERATION_LIMIT == 4096
