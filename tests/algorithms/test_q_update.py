"""When Q-learners learn, by which steps, and how their targets follow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_tools import QUICK
from test_q_play import Learner, stored
from toy_envs import Noisy

from jaxmarl_suite.algorithms.q_learning._methods import total

RATE, EPS, CLIP, DECAY = 0.02, 0.1, 4.0, 0.99
LEARNING_STARTS, PERIOD, UPDATES = 3, 4, 9
ALPHA = 0.5


def unequal(a, b):
    return any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


@pytest.fixture(scope="module")
def course():
    """`(learner, contexts, states before and after each update, metrics)`.

    One sequence per update and room for one: what is learned from is known. Two gradient steps per update.
    """
    sizes = {"num_envs": 1, "capacity": 1, "batch_size": 1, "rollout_length": 3, "gradient_steps": 2}
    own = {"learning_starts": LEARNING_STARTS, "target_period": PERIOD, "prioritized": True, "priority_exponent": ALPHA}
    rms = {"learning_rate": RATE, "optimizer_eps": EPS, "max_grad_norm": CLIP}
    learner = Learner("vdn", Noisy(), **sizes, **own, **rms)
    contexts = [learner.context(clock=k) for k in range(UPDATES)]
    states, metrics = [learner.init(jax.random.key(0), contexts[0])], []
    for ctx in contexts:
        state, found = learner.update(states[-1], ctx)
        states.append(state)
        metrics.append(jax.device_get(found))
    return learner, contexts, states, metrics


def test_learning_starts_with_enough_sequences(course):
    _, _, states, metrics = course
    for k in range(UPDATES):
        is_learning = k + 1 >= LEARNING_STARTS
        assert unequal(states[k].learners.online, states[k + 1].learners.online) == is_learning, k
        for name in ("loss", "td_error", "q_mean", "q_max_abs", "grad_norm"):
            assert metrics[k].learner[name].weight == is_learning
            assert (metrics[k].learner[name].total != 0) == is_learning


def test_hard_copies_come_every_period_of_gradient_steps(course):
    """Two gradient steps per update, so that every second update ends with a copy."""
    _, _, states, _ = course
    jax.tree.map(np.testing.assert_array_equal, states[0].learners.target, states[0].learners.online.params)
    for k in range(UPDATES):
        source = states[k + 1].learners.online.params if (k + 1) * 2 % PERIOD == 0 else states[k].learners.target
        jax.tree.map(np.testing.assert_array_equal, states[k + 1].learners.target, source)
    assert unequal(states[3].learners.target, states[4].learners.target)


def test_a_copy_may_fall_between_the_gradient_steps_of_an_update():
    """With a period of 3 and two gradient steps per update, the second update copies after its first step."""
    sizes = {"num_envs": 1, "capacity": 1, "batch_size": 1, "rollout_length": 3, "optimizer": "adam"}
    learner = Learner("iql", Noisy(), target_period=3, gradient_steps=2, learning_rate=0.1, **sizes)
    states = [learner.init(jax.random.key(0), learner.context())]
    for clock in range(3):
        states.append(learner.update(states[-1], learner.context(clock=clock))[0])
    jax.tree.map(np.testing.assert_array_equal, states[1].learners.target, states[0].learners.target)
    assert unequal(states[2].learners.target, states[1].learners.target) and unequal(
        states[2].learners.target, states[2].learners.online.params
    )
    jax.tree.map(
        np.testing.assert_array_equal, states[3].learners.target, states[3].learners.online.params
    )  # after step 6


def test_gradient_steps_are_rmsprop_as_in_torch(course):
    """V <- 0.99 v + 0.01 g^2, x <- x - rate g / (sqrt(v) + eps), after g is scaled down to the largest norm."""
    learner, contexts, states, metrics = course

    @jax.jit
    def gradient(params, target, items, ctx):
        batch = dataclasses.replace(items, steps=jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items.steps))

        def loss(params):
            return total(learner.method.terms(params, target, batch, ctx), batch.steps.weight, jnp.ones(1))

        return jax.grad(loss, has_aux=True)(params)

    square = jax.tree.map(lambda x: np.zeros(x.shape), states[0].learners.online.params)
    clipped = []
    for k in range(LEARNING_STARTS - 1, UPDATES):
        before, after = states[k], states[k + 1]
        params, rows = before.learners.online.params, []
        items = stored(learner, after)
        for _ in range(2):
            grads, row = gradient(params, before.learners.target, items, contexts[k])
            norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
            rows.append({**row, "grad_norm": norm})
            clipped.append(norm > CLIP)
            grads = jax.tree.map(lambda g, norm=norm: g * min(1.0, CLIP / norm), grads)
            square = jax.tree.map(lambda v, g: DECAY * v + (1 - DECAY) * np.square(g), square, grads)
            params = jax.tree.map(lambda x, g, v: x - RATE * g / (np.sqrt(v) + EPS), params, grads, square)
        assert_close(after.learners.online.params, params)
        for name in ("loss", "td_error", "q_mean", "grad_norm"):
            np.testing.assert_allclose(metrics[k].learner[name].total, np.mean([r[name] for r in rows]), rtol=1e-4)
        np.testing.assert_allclose(
            metrics[k].learner["q_max_abs"].total, np.max([r["q_max_abs"] for r in rows]), rtol=1e-4
        )
        # The sequence's priority is its last error, the exponent applied.
        np.testing.assert_allclose(after.replay.head.priority[0], rows[-1]["priority"] ** ALPHA, rtol=1e-4)
    assert any(clipped) and not all(clipped)


def test_averaged_targets_move_a_share_of_the_way():
    learner = Learner(
        "iql", Noisy(), target_period=0, target_rate=0.25, optimizer="adam", learning_rate=0.1, gradient_steps=1
    )
    ctx = learner.context()
    state = learner.init(jax.random.key(0), ctx)
    for _ in range(2):
        after, _ = learner.update(state, ctx)
        assert unequal(after.learners.online.params, state.learners.online.params)
        expected = jax.tree.map(
            lambda new, old: 0.25 * new + 0.75 * old, after.learners.online.params, state.learners.target
        )
        assert_close(after.learners.target, expected)
        state = after


def test_sequences_with_large_errors_are_drawn_more_often():
    """Of two sequences, one is always surprising: with exponent 1 it is drawn in proportion to its error."""
    sizes = {"num_envs": 2, "capacity": 2, "batch_size": 1, "rollout_length": 1, "gradient_steps": 400}
    learner = Learner(
        "vdn", Noisy(), prioritized=True, priority_exponent=1.0, learning_rate=0.0, target_period=0, **sizes
    )
    ctx = learner.context(importance_exponent=1.0)
    state = learner.init(jax.random.key(3), ctx)
    after, metrics = learner.update(state, ctx)
    items = stored(learner, after)
    batch = dataclasses.replace(items, steps=jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items.steps))
    terms = jax.jit(learner.method.terms, compiler_options=QUICK)(
        state.learners.online.params, state.learners.target, batch, ctx
    )
    error = np.asarray(terms.td_error[0])
    np.testing.assert_allclose(after.replay.head.priority[0], error, rtol=1e-4)
    # The mean error over the steps tells how often each was drawn: p is the share of sequence 0.
    mean, p = float(metrics.learner["td_error"].total), error[0] / error.sum()
    share = (mean - error[1]) / (error[0] - error[1])
    assert abs(error[0] - error[1]) > 0.3 * error.max()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 400) + 0.02, (share, p)
