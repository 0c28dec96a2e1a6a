"""Losses along an unrolled model against loops in NumPy, on a linear model; gradients through unrolled states."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.algorithms.planning import Batch, policy_loss, total_loss, unroll, unroll_losses
from jaxmarl_suite.networks import TeamModel, make_team_model
from jaxmarl_suite.ops import ScalarBins

B, U, K, N, A, D, H, R = 3, 2, 3, 2, 3, 4, 5, 7
BINS = ScalarBins(-3.0, 3.0, R)


def joined(x):
    return x.reshape(*x.shape[:-2], -1)


def linear_model():
    """Every part is a matrix."""

    def advance(params, state, action, key, gradient_share):
        state = state + params["change"][action]
        return state, joined(state) @ params["reward"]

    return TeamModel(
        init=lambda key: {},
        represent=lambda params, obs: obs @ params["represent"],
        advance=advance,
        assess=lambda params, state: (state @ params["policy"], joined(state) @ params["value"]),
        project=lambda params, state: joined(state) @ params["project"],
        predict_projection=lambda params, state: joined(state) @ params["project"] @ params["predict"],
    )


@pytest.fixture(scope="module")
def made():
    """`(params, batch)` of random numbers; the second stretch ends after a step, the third is not stored to its end."""
    rng = np.random.default_rng(0)
    shapes = {"represent": (D, H), "change": (A, H), "reward": (N * H, R), "policy": (H, A), "value": (N * H, R)}
    shapes |= {"project": (N * H, H), "predict": (H, H)}
    params = {name: jnp.asarray(0.4 * rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    batch = Batch(
        obs=jnp.asarray(rng.normal(size=(B, U + 1, N, D)), jnp.float32),
        action=jnp.asarray(rng.integers(A, size=(B, U, N)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(B, U)), jnp.float32).at[1, 1].set(0.0),
        value=jnp.asarray(3 * rng.normal(size=(B, U + 1)), jnp.float32).at[1, 1:].set(0.0),
        joint=jnp.asarray(rng.integers(A, size=(B, U + 1, K, N)), jnp.int32),
        joint_weight=jnp.asarray(rng.random((B, U + 1, K)), jnp.float32).at[1, 1:].set(0.0).at[:, :, 2].set(0.0),
        counts=jnp.ones((B, U + 1)).at[2, 2].set(0.0),
        is_seen=jnp.ones((B, U + 1), bool).at[1, 1:].set(False).at[2, 2].set(False),
        importance=jnp.array([0.5, 1.0, 0.0]),
        root_value=jnp.zeros(B),
    )
    return params, batch


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def two_hot(x):
    y = np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 0.001 * x
    bins = np.linspace(-3.0, 3.0, R)
    y, target = np.clip(y, -3.0, 3.0), np.zeros(R)
    low = min(int(np.floor(y + 3.0)), R - 2)
    target[low + 1] += y - bins[low]
    target[low] += bins[low + 1] - y
    return target


def decode(logits):
    y = (np.exp(log_softmax(logits)) * np.linspace(-3.0, 3.0, R)).sum()
    grid = np.linspace(-30, 30, 600_001)
    return grid[np.abs(np.sign(grid) * (np.sqrt(abs(grid) + 1) - 1) + 0.001 * grid - y).argmin()]


def losses_of(p, batch, b):
    """`(reward, value, policy, consistency, priority)` of one stretch."""
    x = types.SimpleNamespace(**{name: np.asarray(value[b], np.float64) for name, value in vars(batch).items()})
    joint, action = np.asarray(batch.joint[b]), np.asarray(batch.action[b])
    reward = value = policy = consistency = 0.0
    for k in range(U + 1):
        if k == 0:
            state = x.obs[0] @ p["represent"]
        else:
            state = state + p["change"][action[k - 1]]
            reward -= x.counts[k - 1] * two_hot(x.reward[k - 1]) @ log_softmax(state.ravel() @ p["reward"])
            predicted = state.ravel() @ p["project"] @ p["predict"]
            wanted = (x.obs[k] @ p["represent"]).ravel() @ p["project"]
            cosine = predicted @ wanted / np.linalg.norm(predicted) / np.linalg.norm(wanted)
            consistency -= x.is_seen[k] * cosine
        logits = state.ravel() @ p["value"]
        value -= x.counts[k] * two_hot(x.value[k]) @ log_softmax(logits)
        if k == 0:
            priority = abs(decode(logits) - x.value[0])
        log_policy = log_softmax(state @ p["policy"])
        for c in range(K):
            policy -= x.joint_weight[k, c] * sum(log_policy[i, joint[k, c, i]] for i in range(N))
    return reward, value, policy, consistency, priority


def test_losses_are_those_of_a_loop(made):
    params, batch = made
    found = jax.jit(lambda p, x: unroll_losses(linear_model(), BINS, p, x, jax.random.key(0)))(params, batch)
    p = {name: np.asarray(x, np.float64) for name, x in params.items()}
    wanted = np.array([losses_of(p, batch, b) for b in range(B)]).T
    shown = (found.reward, found.value, found.policy, found.consistency, found.priority)
    np.testing.assert_allclose(shown, wanted, rtol=2e-4, atol=2e-4)
    reward, value, policy, consistency, _ = wanted
    hp = types.SimpleNamespace(value_weight=0.25, policy_weight=1.5, consistency_weight=2.0)
    each = reward + 0.25 * value + 1.5 * policy + 2.0 * consistency
    total = (0.5 * each[0] + each[1]) / B / U
    assert total_loss(found, batch.importance, U, hp) == pytest.approx(total, rel=1e-4)


def test_where_nothing_is_learned_anything_may_stand(made):
    """Policies of joint actions without weight, and what the bins are told behind the newest step."""
    params, batch = made
    other = Batch(
        **vars(batch)
        | {
            "joint": batch.joint.at[:, :, 2].set(0).at[1, 1:].set(1),
            "value": batch.value.at[2, 2].set(7.0),
            "obs": batch.obs.at[1, 1:].set(9.0).at[2, 2].set(9.0),
        }
    )
    loss = jax.jit(lambda p, x: unroll_losses(linear_model(), BINS, p, x, jax.random.key(0)))
    for ours, theirs in zip(jax.tree.leaves(loss(params, batch)), jax.tree.leaves(loss(params, other))):
        np.testing.assert_array_equal(ours, theirs)


def test_awpo_of_two_agents_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    joint = jnp.array([[0, 1], [2, 0]])
    loss = policy_loss(logits, joint, jnp.array([0.6, 2.0]))
    assert loss == pytest.approx(-0.6 * np.log(0.5 * 0.8) - 2.0 * np.log(0.25 * 0.1), rel=1e-5)


def test_each_unrolled_state_passes_half_of_its_gradient():
    """Of what is learned from a state k steps ahead, 1 / 2^k reaches the first one; of its reward as well."""
    sizes = {"width": 4, "hidden": (), "head_hidden": (), "predictor_hidden": 2, "num_bins": 3, "num_layers": 0}
    model = make_team_model(2, N, A, **sizes)
    params = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), params)
    state = jnp.asarray(rng.normal(size=(1, N, 4)), jnp.float32)
    action = jnp.asarray(rng.integers(A, size=(1, U, N)), jnp.int32)
    look = jnp.asarray(rng.normal(size=(N, 4)), jnp.float32)

    def shown(state):
        states, rewards = unroll(model, params, state, action, jax.random.key(0))
        return jnp.stack([(states[k, 0] * look).sum() for k in range(U + 1)]), rewards[:, 0, 0]

    def whole(state):
        states, rewards = [state], []
        for k in range(U):
            after, reward = model.advance(params, states[-1], action[:, k])
            states.append(after)
            rewards.append(reward[0, 0])
        return jnp.stack([(x[0] * look).sum() for x in states]), jnp.stack(rewards)

    ours, theirs = jax.jit(lambda x: (jax.jacobian(shown)(x), jax.jacobian(whole)(x)))(state)
    for k in range(U + 1):
        np.testing.assert_allclose(ours[0][k], theirs[0][k] / 2**k, rtol=1e-4, atol=1e-6)
    for k in range(U):
        assert np.abs(theirs[1][k]).max() > 1e-3
        np.testing.assert_allclose(ours[1][k], theirs[1][k] / 2 ** (k + 1), rtol=1e-4, atol=1e-6)
    for one, other in zip(jax.jit(shown)(state), jax.jit(whole)(state)):
        np.testing.assert_allclose(one, other, rtol=1e-5)
