"""Advantage estimators against plain loops over (micro-)steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.ops import generalized_advantage, n_step_return, sequential_advantage

GAMMA, LAMBDA = 0.9, 0.7


def random_rollout(seed, steps, batch, n=None):
    """Rewards, values, next values, terminated, truncated; ends of both kinds, now and then both at once."""
    rng = np.random.default_rng(seed)
    value_shape = (steps, batch) if n is None else (steps, batch, n)
    return (
        rng.normal(size=(steps, batch)).astype(np.float32),
        rng.normal(size=value_shape).astype(np.float32),
        rng.normal(size=(steps, batch)).astype(np.float32),
        rng.random((steps, batch)) < 0.25,
        rng.random((steps, batch)) < 0.25,
    )


def loop_advantage(reward, value, next_value, terminated, truncated, gamma, lambda_):
    """One environment, as a sum over the rest of the episode: A_t = Σ_l (γλ)^l δ_{t+l}."""
    steps = len(reward)
    delta = [reward[t] + (0.0 if terminated[t] else gamma * next_value[t]) - value[t] for t in range(steps)]
    result = []
    for t in range(steps):
        total, weight = 0.0, 1.0
        for later in range(t, steps):
            total += weight * delta[later]
            weight *= gamma * lambda_
            if terminated[later] or truncated[later]:
                break
        result.append(total)
    return np.array(result)


def micro_step_advantage(reward, value, next_value, terminated, truncated, gamma, lambda_):
    """One environment on Γ(M), step for step: rewards 0, ..., 0, r; discounts and decays 1, ..., 1, γ and λ."""
    steps, n = value.shape
    advantage = np.zeros((steps, n))
    following = 0.0
    for t in reversed(range(steps)):
        for k in reversed(range(n)):
            if k == n - 1:
                ended = terminated[t] or truncated[t]
                delta = reward[t] + gamma * (0.0 if terminated[t] else next_value[t]) - value[t, k]
                following = delta + gamma * lambda_ * (0.0 if ended else following)
            else:
                following = 0.0 + 1.0 * value[t, k + 1] - value[t, k] + 1.0 * 1.0 * following
            advantage[t, k] = following
    return advantage


@pytest.mark.parametrize("seed", range(3))
def test_generalized_advantage_is_the_discounted_sum_of_errors(seed):
    rollout = random_rollout(seed, steps=9, batch=4)
    found = generalized_advantage(*map(jnp.asarray, rollout), gamma=GAMMA, lambda_=LAMBDA)
    for e in range(4):
        expected = loop_advantage(*(a[:, e] for a in rollout), GAMMA, LAMBDA)
        np.testing.assert_allclose(found[:, e], expected, rtol=1e-5, atol=1e-5)


def test_generalized_advantage_broadcasts_ends_over_agents():
    reward, value, next_value, terminated, truncated = random_rollout(3, steps=9, batch=4)
    per_agent = [jnp.stack([jnp.asarray(a), 2 * jnp.asarray(a)], axis=-1) for a in (reward, value, next_value)]
    ends = [jnp.asarray(a)[..., None] for a in (terminated, truncated)]
    found = generalized_advantage(*per_agent, *ends, gamma=GAMMA, lambda_=LAMBDA)
    single = generalized_advantage(
        *map(jnp.asarray, (reward, value, next_value, terminated, truncated)), gamma=GAMMA, lambda_=LAMBDA
    )
    np.testing.assert_allclose(found, jnp.stack([single, 2 * single], axis=-1), rtol=1e-5, atol=1e-5)


def test_what_follows_an_end_does_not_leak_into_the_episode():
    reward, value, next_value, _, _ = random_rollout(4, steps=6, batch=1)
    never = np.zeros((6, 1), bool)
    cut = never.copy()
    cut[2] = True
    changed = [a.copy() for a in (reward, value, next_value)]
    for a in changed:
        a[3:] += 100.0
    for ends in ((cut, never), (never, cut)):
        before = generalized_advantage(*map(jnp.asarray, (reward, value, next_value, *ends)), gamma=0.9, lambda_=0.7)
        after = generalized_advantage(*map(jnp.asarray, (*changed, *ends)), gamma=0.9, lambda_=0.7)
        np.testing.assert_array_equal(before[:3], after[:3])
        assert np.abs(before[3:] - after[3:]).min() > 1


def test_only_termination_stops_the_bootstrap():
    """One step, by hand: r = 1, v = 2, v' = 10, γ = 0.9."""
    one = [jnp.full((1,), x) for x in (1.0, 2.0, 10.0)]
    yes, no = jnp.ones(1, bool), jnp.zeros(1, bool)
    targets = {
        ends: float(
            generalized_advantage(*one, *(yes if e else no for e in ends), gamma=0.9, lambda_=0.95)[0] + one[1][0]
        )
        for ends in ((False, False), (False, True), (True, False), (True, True))
    }
    assert targets == pytest.approx({(False, False): 10.0, (False, True): 10.0, (True, False): 1.0, (True, True): 1.0})


@pytest.mark.parametrize("n", [1, 2, 4])
def test_sequential_advantage_is_the_recursion_over_micro_steps(n):
    rollout = random_rollout(10 + n, steps=8, batch=3, n=n)
    found = sequential_advantage(*map(jnp.asarray, rollout), gamma=GAMMA, lambda_=LAMBDA)
    assert found.shape == (8, 3, n)
    for e in range(3):
        expected = micro_step_advantage(*(a[:, e] for a in rollout), GAMMA, LAMBDA)
        np.testing.assert_allclose(found[:, e], expected, rtol=1e-5, atol=1e-5)


def test_sequential_advantage_of_one_agent_is_the_ordinary_one():
    reward, value, next_value, terminated, truncated = map(jnp.asarray, random_rollout(5, steps=8, batch=3))
    ordinary = generalized_advantage(reward, value, next_value, terminated, truncated, gamma=GAMMA, lambda_=LAMBDA)
    sequential = sequential_advantage(
        reward, value[..., None], next_value, terminated, truncated, gamma=GAMMA, lambda_=LAMBDA
    )
    np.testing.assert_allclose(sequential[..., 0], ordinary, rtol=1e-6, atol=1e-6)


def test_value_targets_are_equal_for_all_agents():
    rollout = list(map(jnp.asarray, random_rollout(6, steps=8, batch=3, n=4)))
    targets = sequential_advantage(*rollout, gamma=GAMMA, lambda_=LAMBDA) + rollout[1]
    np.testing.assert_allclose(targets, jnp.broadcast_to(targets[..., :1], targets.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_with_exact_values_the_mean_micro_advantage_is_q_minus_v(lambda_):
    """A two-player game with a random joint policy and an exact continuation value, all joint actions enumerated.

    The last state continues to a state whose value is known, so that Q_2(a) = R(a) + γ V', Q_1(a_1) = E[Q_2 | a_1],
    V_2(a_1) = Q_1(a_1) and V_1 = E[Q_1]: E[A_1 | a_1] = Q_1(a_1) - V_1 and A_2 = Q_2(a) - V_2(a_1).
    """
    rng = np.random.default_rng(7)
    payoff = rng.normal(size=(3, 3))
    first = rng.dirichlet(np.ones(3))
    second = rng.dirichlet(np.ones(3), size=3)  # given a_1
    continuation = 1.7
    q2 = payoff + GAMMA * continuation
    q1 = (second * q2).sum(axis=1)
    v1 = first @ q1
    ones = np.ones((3, 3))
    value = np.stack([v1 * ones, q1[:, None] * ones], axis=-1)
    no = np.zeros((1, 9), bool)
    found = sequential_advantage(
        jnp.asarray(payoff.reshape(1, 9), jnp.float32),
        jnp.asarray(value.reshape(1, 9, 2), jnp.float32),
        jnp.full((1, 9), continuation),
        jnp.asarray(no),
        jnp.asarray(no),
        gamma=GAMMA,
        lambda_=lambda_,
    ).reshape(3, 3, 2)
    np.testing.assert_allclose((second * found[..., 0]).sum(axis=1), q1 - v1, atol=1e-5)
    np.testing.assert_allclose(found[..., 1], q2 - q1[:, None], atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_n_step_returns_stop_with_the_episode(n):
    rng = np.random.default_rng(n)
    reward = rng.normal(size=(n, 64)).astype(np.float32)
    terminated, cut = rng.random((2, n, 64)) < 0.2
    found = n_step_return(*map(jnp.asarray, (reward, terminated, cut)), gamma=GAMMA)
    for b in range(64):
        total, discount = 0.0, 1.0
        for k in range(n):
            total, discount = total + discount * reward[k, b], discount * GAMMA
            if terminated[k, b] or cut[k, b]:
                break
        np.testing.assert_allclose(found.rewards[b], total, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.discount[b], 0.0 if terminated[k, b] else discount, rtol=1e-5)
        assert found.last[b] == k
