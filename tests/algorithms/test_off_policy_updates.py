"""What an off-policy update does: warm-up, play, blocks of gradient steps, delayed actors, targets."""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from line_env import EDGE, PUSH, Line
from off_policy_tools import Learner, assert_unequal, count_of, parts_of, stored_transitions
from toy_envs import context


@pytest.fixture(scope="module")
def delayed():
    """Two gradient steps per update, an actor step after every third, in five updates of ten steps."""
    learner = Learner("td3", policy_delay=3, warmup_steps=21, capacity=200)
    return learner, *learner.course(6, target_rate=0.25, exploration_noise=0.0)


def test_learning_starts_after_the_warm_up(delayed):
    _, states, metrics = delayed
    for k, (before, after) in enumerate(pairwise(states)):
        is_learning = k >= 2  # 30 steps stored
        assert count_of(after.learners.critic) == 2 * max(k - 1, 0)
        assert metrics[k].learner["critic_loss"].weight == is_learning
        if is_learning:
            assert_unequal(before.learners.critic.params, after.learners.critic.params)
        else:
            jax.tree.map(np.testing.assert_array_equal, before.learners, after.learners)


def test_actors_and_targets_wait_for_their_turn(delayed):
    """Gradient steps 1..12 of the run's clock; 4 are not taken, and steps 6, 9 and 12 improve the actors."""
    _, states, metrics = delayed
    due = [0, 0, 1, 0, 1, 1]
    assert [count_of(b.learners.actor) - count_of(a.learners.actor) for a, b in pairwise(states)] == due
    for k, (before, after) in enumerate(pairwise(states)):
        assert metrics[k].learner["actor_loss"].weight == due[k]
        if not due[k]:
            jax.tree.map(np.testing.assert_array_equal, before.learners.targets, after.learners.targets)


def test_targets_move_a_share_of_the_way(delayed):
    """The last of an update's steps moves them (updates 2 and 5), so that what they move to is what the update leaves."""
    _, states, _ = delayed
    for k in (2, 5):
        old, new, params = states[k].learners.targets, states[k + 1].learners.targets, states[k + 1].learners.params
        assert set(new) == {"actor", "critic"}
        for name in new:
            jax.tree.map(
                lambda a, b, c: np.testing.assert_allclose(b, a + 0.25 * (c - a), rtol=1e-5, atol=1e-7),
                old[name],
                new[name],
                params[name],
            )


def test_play_is_random_first_and_the_actors_later(delayed):
    learner, states, _ = delayed
    stored = stored_transitions(learner.layout, states[-1].replay)
    obs, after = stored.observed.obs, stored.next_observed.obs[..., 0, 0]
    x, action = obs[..., 0, 0], stored.steps.action[..., 0, 0]
    assert x.shape == (2, 30)
    # The environment got the action in its own bounds, the replay in [-1, 1]. Terminated steps have no use for what follows.
    goes_on = ~stored.terminated
    np.testing.assert_allclose(after[goes_on], (x + 2 * PUSH * action)[goes_on], atol=1e-5)
    for k in range(3, 6):
        own = slice(5 * k, 5 * k + 5)
        played = learner.method.greedy(states[k].learners.params["actor"], obs[:, own].reshape(10, 1, 1), None)
        np.testing.assert_allclose(np.asarray(played).reshape(2, 5), action[:, own], atol=1e-6)
    assert stored.observed.state.shape[-1] == 0, "a critic of observations stores no global state"


def test_warm_up_is_uniform_and_ends_are_kept_apart():
    learner = Learner("td3", warmup_steps=10**6, num_envs=64, rollout_length=40, capacity=64 * 40)
    state = learner.course(1, reward_scale=0.5)[0][-1]
    stored = stored_transitions(learner.layout, state.replay)
    action = np.sort(stored.steps.action.ravel())
    expected = np.linspace(-1, 1, len(action))
    assert np.abs(action - expected).max() < 2 * 1.95 / np.sqrt(len(action)), "Kolmogorov-Smirnov, p = 0.001"
    force = 2 * stored.steps.action[..., 0, 0]
    after = stored.observed.obs[..., 0, 0] + PUSH * force
    fell = np.abs(after) > EDGE
    np.testing.assert_array_equal(stored.terminated, fell)
    np.testing.assert_allclose(stored.next_observed.obs[..., 0, 0][~fell], after[~fell], rtol=1e-5, atol=1e-6)
    assert fell.any() and (stored.truncated & ~fell).any()
    cost = stored.observed.obs[..., 0, 0] ** 2 + 0.1 * force**2 + 20.0 * fell
    np.testing.assert_allclose(stored.steps.reward, -0.5 * cost, rtol=1e-4, atol=1e-5)


def test_exploration_noise_is_added_and_clipped():
    config, _, method = parts_of("td3")
    actor = method.init(jax.random.key(0))["actor"]
    obs, key = jnp.linspace(-2, 2, 8).reshape(8, 1, 1), jax.random.key(3)
    for noise in (0.1, 3.0):
        ctx = context(dataclasses.replace(config, exploration_noise=noise), Line())
        found = method.explore(actor, obs, None, key, ctx)
        expected = np.clip(method.greedy(actor, obs, None) + noise * jax.random.normal(key, (8, 1, 1)), -1, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (np.abs(found) == 1).any()


def test_a_method_prepares_each_block_and_decides_when_targets_follow():
    """What GEM needs: targets that jump once a block, and numbers beside the replay that batches bring along."""
    learner = Learner("td3", gradient_steps=3, capacity=20)

    def prepare(params, targets, layout, store, key, ctx):
        return params, 2.0 * store.contents.steps.reward

    def critic_loss(critic, actor, targets, batch, key, ctx):
        loss, metrics = learner.method.critic_loss(critic, actor, targets, batch, key, ctx)
        return loss, metrics | {"gap": jnp.abs(batch.prepared - 2.0 * batch.reward).max(), "some": batch.prepared.std()}

    learner.with_method(prepare=prepare, critic_loss=critic_loss, update_targets=lambda targets, params, ctx: targets)
    states, metrics = learner.course(3)
    for (before, after), found in zip(pairwise(states), metrics):
        assert found.learner["gap"].total == 0 and found.learner["some"].total > 0
        jax.tree.map(np.testing.assert_array_equal, after.learners.targets, before.learners.params)
        assert_unequal(after.learners.targets, after.learners.params)


@pytest.mark.parametrize("one, team", [pytest.param("td3", "matd3", marks=pytest.mark.slow), ("sac", "masac")])
def test_a_team_of_one_is_the_single_agent(one, team):
    single, of_one = Learner(one), Learner(team)
    ours, theirs = (learner.course(2)[0][-1] for learner in (of_one, single))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours.learners, theirs.learners)


def test_deployed_actions_are_within_the_bounds_of_the_environment():
    learner = Learner("masac", 2)
    state = learner.init(jax.random.key(0), context(learner.config, learner.env))
    timestep = learner.env.reset(jax.random.key(1), ())[1]
    timestep = jax.tree.map(lambda x: x[None], timestep.replace(obs=timestep.obs * 1e6))
    policy = jax.tree.map(lambda x: 50.0 * x, learner.algorithm.policy(state))
    action, _ = learner.algorithm.act(policy, None, timestep, jax.random.key(2), None)
    low, high = learner.env.spec.action_bounds
    assert action.shape == (1, 2, 1)
    assert ((np.asarray(action) >= low) & (np.asarray(action) <= high)).all()
    assert np.isin(np.asarray(action), [low, high]).all(), "saturated"
