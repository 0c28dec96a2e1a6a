"""The transformation to a sequential MDP keeps optimal values and policies (tables of random MMDPs)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.theory import (
    FiniteMDP,
    FiniteMMDP,
    advantages,
    evaluate,
    expected_gae,
    factorize,
    greedy,
    sequentialize,
    value_iteration,
)

CASES = [
    # S, action counts, gamma, terminal states
    (1, (2, 2), 0.9, 0),
    (3, (3,), 0.9, 0),
    (4, (2, 3), 0.95, 1),
    (5, (3, 3), 0.9, 0),
    (5, (2, 3, 3), 0.9, 2),
    (5, (3, 3, 3), 0.97, 1),
    (2, (1, 3, 2), 0.5, 0),
]


def random_mmdp(case, seed=0):
    num_states, num_actions, gamma, num_terminal = case
    return FiniteMMDP.random(
        np.random.default_rng(seed),
        num_states=num_states,
        num_actions=num_actions,
        gamma=gamma,
        num_terminal=num_terminal,
    )


def loop_value_iteration(mmdp, sweeps=2000):
    """Joint Bellman sweeps, one state and joint action at a time in effect: the oracle."""
    value = np.zeros(mmdp.num_states)
    for _ in range(sweeps):
        q = mmdp.reward + mmdp.gamma * np.tensordot(mmdp.transition, np.where(mmdp.terminal, 0.0, value), axes=1)
        value = np.where(mmdp.terminal, 0.0, q.reshape(mmdp.num_states, -1).max(axis=1))
    return value


def value_of(mmdp, joint_actions):
    """V of a deterministic joint policy [S, n], by evaluating it in the original."""
    flat = np.ravel_multi_index(tuple(joint_actions.T), mmdp.num_actions)
    return evaluate(mmdp.joint(), flat)[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_depth_discount_keeps_values_and_greedy_policies(case, seed):
    mmdp = random_mmdp(case, seed)
    sequential = sequentialize(mmdp)
    original, transformed = value_iteration(mmdp.joint()), value_iteration(sequential.mdp)
    np.testing.assert_allclose(original.value, loop_value_iteration(mmdp), atol=1e-9)
    np.testing.assert_allclose(transformed.value[: mmdp.num_states], original.value, atol=1e-6)
    joint_actions = sequential.joint_actions(greedy(sequential.mdp, transformed.action_value))
    np.testing.assert_allclose(value_of(mmdp, joint_actions), original.value, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_root_discount_rescales_values_and_keeps_greedy_policies(case, seed):
    mmdp = random_mmdp(case, seed)
    sequential = sequentialize(mmdp, discount="root")
    original, transformed = value_iteration(mmdp.joint()), value_iteration(sequential.mdp)
    n = mmdp.num_agents
    scale = mmdp.gamma ** ((n - 1) / n)
    np.testing.assert_allclose(transformed.value[: mmdp.num_states], scale * original.value, atol=1e-6)
    joint_actions = sequential.joint_actions(greedy(sequential.mdp, transformed.action_value))
    np.testing.assert_allclose(value_of(mmdp, joint_actions), original.value, atol=1e-6)


def test_a_discount_at_every_agent_would_be_wrong():
    """The trap the two options avoid: gamma at each of n decisions shrinks the horizon, and can change the policy."""
    mmdp = random_mmdp((5, (3, 3), 0.9, 0))
    sequential = sequentialize(mmdp)
    naive = dataclasses.replace(sequential.mdp, discount=np.full(len(sequential.depth), mmdp.gamma))
    difference = value_iteration(naive).value[:5] - value_iteration(mmdp.joint()).value
    assert np.abs(difference).max() > 0.1


def test_bellman_equations_of_the_transformed_mdp():
    """Q_k(s, a_<=k) = max_{a_{k+1}} Q_{k+1}; Q_n = r + gamma E max Q_1."""
    mmdp = random_mmdp((4, (2, 3, 2), 0.9, 1))
    sequential = sequentialize(mmdp)
    solution = value_iteration(sequential.mdp)
    for s in range(3):
        for a in range(2):
            after_one = solution.action_value[sequential.state(s, (a,)), :3].max()
            np.testing.assert_allclose(solution.action_value[sequential.state(s), a], after_one, atol=1e-9)
            for b in range(3):
                for c in range(2):
                    q = mmdp.reward[s, a, b, c] + mmdp.gamma * mmdp.transition[s, a, b, c] @ solution.value[:4]
                    np.testing.assert_allclose(solution.action_value[sequential.state(s, (a, b)), c], q, atol=1e-9)


def test_size_and_numbering():
    mmdp = random_mmdp((3, (2, 4, 3), 0.9, 0))
    sequential = sequentialize(mmdp)
    assert len(sequential.depth) == 3 * (1 + 2 + 2 * 4)
    indices = [sequential.state(s) for s in range(3)]
    indices += [sequential.state(s, (a,)) for s in range(3) for a in range(2)]
    indices += [sequential.state(s, (a, b)) for s in range(3) for a in range(2) for b in range(4)]
    assert indices == list(range(33))
    assert sequential.mdp.action_mask.sum() == 3 * 2 + 6 * 4 + 24 * 3
    with pytest.raises(ValueError, match="prefix holds fewer actions"):
        sequential.state(0, (0, 0, 0))


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("discount", ["depth", "root"])
def test_expected_gae_is_the_advantage_when_values_are_exact(discount, decay):
    mmdp = random_mmdp((4, (2, 3, 2), 0.9, 1))
    sequential = sequentialize(mmdp, discount=discount)
    mdp = sequential.mdp
    policy = np.random.default_rng(5).random(mdp.reward.shape) * mdp.action_mask
    policy /= policy.sum(axis=1, keepdims=True)
    value, action_value = evaluate(mdp, policy)
    trace = sequential.trace(decay)
    estimate = expected_gae(mdp, policy, value, trace)
    advantage = np.where(mdp.terminal[:, None], 0.0, action_value - value[:, None])
    np.testing.assert_allclose(estimate[mdp.action_mask], advantage[mdp.action_mask], atol=1e-9)
    # With a critic that does not see the prefix the estimate is no longer the advantage.
    blind = np.concatenate([value[:4], *(np.repeat(value[:4], size) for size in (2, 6))])
    wrong = expected_gae(mdp, policy, blind, trace)
    assert np.abs((wrong - advantage)[mdp.action_mask]).max() > 0.05


def test_sampled_gae_agrees_with_the_expected_one():
    """A plain simulation of micro-steps, with a wrong critic: the estimator itself is what `expected_gae` describes."""
    mmdp = FiniteMMDP.random(np.random.default_rng(0), num_states=3, num_actions=(2, 2), gamma=0.8, num_terminal=2)
    sequential = sequentialize(mmdp)
    mdp, rng = sequential.mdp, np.random.default_rng(1)
    policy = np.full(mdp.reward.shape, 0.5)
    value = np.where(mdp.terminal, 0.0, rng.normal(size=len(mdp.discount)))
    trace = sequential.trace(0.6)
    samples = []
    for _ in range(20_000):
        x, steps, done = 0, [], False
        while not done:
            a = rng.integers(2)
            y = rng.choice(len(value), p=mdp.transition[x, a])
            done = bool(mdp.terminal[y])
            steps.append((x, a, y, done))
            x = y
        estimate = 0.0
        for x, a, y, ended in reversed(steps):
            g = mdp.discount[x] * (not ended)
            estimate = mdp.reward[x, a] + g * value[y] - value[x] + g * trace[x] * estimate
        samples.append((steps[0][1], estimate))
    first, estimates = np.array([a for a, _ in samples]), np.array([e for _, e in samples])
    for a in range(2):
        chosen = estimates[first == a]
        error = 4 * chosen.std() / np.sqrt(len(chosen))
        assert abs(chosen.mean() - expected_gae(mdp, policy, value, trace)[0, a]) < error


def test_matrix_game_advantages_equal_those_of_its_transformed_mdp():
    payoff = np.random.default_rng(7).normal(size=(2, 3, 2)).astype(np.float32)
    joint = jax.nn.softmax(jax.random.normal(jax.random.key(0), (12,))).reshape(2, 3, 2)
    tables = factorize(joint)
    sequential = sequentialize(FiniteMMDP.from_payoff(payoff))
    policy = np.where(sequential.mdp.action_mask, 1.0 / sequential.mdp.action_mask.sum(axis=1, keepdims=True), 0.0)
    for k, table in enumerate(tables):
        for prefix in np.ndindex(*payoff.shape[:k]):
            row = np.asarray(table[prefix], np.float64)
            policy[sequential.state(0, prefix), : payoff.shape[k]] = row / row.sum()
    value, action_value = evaluate(sequential.mdp, policy)
    for k, advantage in enumerate(advantages(jnp.asarray(payoff), tables)):
        for prefix in np.ndindex(*payoff.shape[:k]):
            x = sequential.state(0, prefix)
            expected = action_value[x, : payoff.shape[k]] - value[x]
            np.testing.assert_allclose(advantage[prefix], expected, atol=1e-5)


def test_float64_without_touching_jax():
    assert value_iteration(random_mmdp(CASES[2]).joint()).value.dtype == np.float64
    assert not jax.config.read("jax_enable_x64")


def test_values_of_deterministic_and_undiscounted_problems():
    climbing = np.array([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])
    sequential = sequentialize(FiniteMMDP.from_payoff(climbing))
    solution = value_iteration(sequential.mdp)
    np.testing.assert_allclose(solution.value[0], 11.0)
    np.testing.assert_array_equal(sequential.joint_actions(greedy(sequential.mdp, solution.action_value))[0], [0, 0])


def test_bad_tables():
    good = random_mmdp((3, (2, 2), 0.9, 0))
    with pytest.raises(ValueError, match="unknown discount 'half'; accepted: depth, root"):
        sequentialize(good, discount="half")
    with pytest.raises(ValueError, match="needs gamma > 0"):
        sequentialize(dataclasses.replace(good, gamma=0.0), discount="root")
    with pytest.raises(ValueError, match=r"gamma must lie in 0\.\.1, got 1\.5"):
        dataclasses.replace(good, gamma=1.5)
    with pytest.raises(ValueError, match="must be a distribution"):
        dataclasses.replace(good, transition=good.transition * 0.5)
    with pytest.raises(ValueError, match="reward must be finite, got 12 entries"):
        dataclasses.replace(good, reward=np.full_like(good.reward, np.inf))
    with pytest.raises(ValueError, match="transition must have the shape"):
        dataclasses.replace(good, transition=good.transition[:2])
    with pytest.raises(ValueError, match="terminal must have the shape"):
        dataclasses.replace(good, terminal=np.zeros(2, bool))
    with pytest.raises(ValueError, match="reward must have the shape"):
        FiniteMMDP(transition=np.ones((1, 1)), reward=np.ones(1), gamma=0.9, terminal=np.zeros(1, bool))


def test_bad_policies_and_problems_without_a_value():
    mdp = random_mmdp((3, (2, 2), 0.9, 0)).joint()
    with pytest.raises(ValueError, match="a policy is"):
        evaluate(mdp, np.ones((3, 2)))
    endless = FiniteMDP(
        transition=np.ones((1, 1, 1)),
        reward=np.ones((1, 1)),
        discount=np.ones(1),
        terminal=np.zeros(1, bool),
        action_mask=np.ones((1, 1), bool),
    )
    with pytest.raises(ValueError, match="never ends"):
        evaluate(endless, np.zeros(1, int))
    with pytest.raises(ValueError, match="did not settle within max_sweeps=50"):
        value_iteration(endless, max_sweeps=50)
    masked = sequentialize(random_mmdp((2, (2, 3), 0.9, 0))).mdp
    with pytest.raises(ValueError, match="action_mask forbids"):
        evaluate(masked, np.full(masked.reward.shape, 1 / 3))
