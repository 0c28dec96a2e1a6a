"""`toy/handover`: every step against plain NumPy, a script that passes the object, and what one hand cannot do."""

import math

import handover_reference as reference
import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest

STEPS = 75


@pytest.fixture(scope="module")
def env():
    return jaxmarl_envs.make("toy/handover").unwrapped


def started(env, seed):
    """`(state, x, v, goal)`, the last three in float64."""
    state, _ = env.reset(jax.random.key(seed), env.default_params)
    x, v = np.array(state.position, float), np.array(state.velocity, float)
    return state, x, v, np.array(state.goal, float)


def numbers(env):
    return {name: float(value) for name, value in vars(env.default_params).items()}


def test_the_script_passes_the_object_and_each_step_is_that_of_the_reference(env):
    p = numbers(env)
    state, x, v, goal = started(env, 3)
    assert -0.55 <= x[0, 0] <= -0.45 and 0.45 <= x[1, 0] <= 0.55 and (x[8] == x[0]).all() and goal[0] >= 0.75
    np.testing.assert_allclose(np.linalg.norm(x[2:5] - x[0], axis=1), 0.4, rtol=1e-5)
    step, touched = jax.jit(env.step), set()
    for t in range(STEPS):
        action = reference.pass_on(x, v, goal, t)
        touched |= reference.step(p, x, v, action)
        state, shown = step(jax.random.key(t), state, jnp.asarray(action), env.default_params)
        np.testing.assert_allclose(state.position, x, atol=2e-4)
        np.testing.assert_allclose(shown.state, [*x.ravel(), *v.ravel(), *goal], atol=5e-3)
        away = math.dist(x[8], goal)
        reach = (math.dist(x[0], x[8]) + math.dist(x[1], x[8])) / 2
        np.testing.assert_allclose(shown.reward, -(away + 0.1 * reach), atol=5e-4)
        x, v = np.array(state.position, float), np.array(state.velocity, float)  # errors do not add up
    assert {"object 0", "object 1"} <= touched
    assert bool(shown.metrics["success"]) and away < 0.15


def test_observations(env):
    _, x, v, goal = started(env, 4)
    rng = np.random.default_rng(0)
    x, v = x + 0.01 * rng.normal(size=x.shape), v + rng.normal(size=v.shape)
    seen = env.observe(jnp.asarray(np.concatenate([x.ravel(), v.ravel(), goal]), jnp.float32))
    assert seen.shape == (2, 33)
    for i, j in ((0, 1), (1, 0)):
        own, others = slice(2 + 3 * i, 5 + 3 * i), slice(2 + 3 * j, 5 + 3 * j)
        expected = [i, *x[i], *v[i], *(x[own] - x[i]).ravel(), *v[own].ravel(), *(x[8] - x[i]), *v[8], *(goal - x[8])]
        expected += [*(x[j] - x[i]), *v[j], *(x[others] - x[i]).ravel()]
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)


def test_the_first_hand_alone_does_not_reach_the_goal(env):
    """It carries the object as far as it can and pushes with open fingers, in many ways; the other one is out of the way."""
    _, x, v, goal = started(env, 5)
    p, closest = numbers(env), math.inf
    for seed in range(12):
        rng = np.random.default_rng(seed)
        own, speed, until, fingers = x.copy(), v.copy(), rng.integers(5, 40), rng.choice([-1.0, 1.0], 3)
        for t in range(STEPS):
            action = np.zeros((2, 5))
            action[0] = [1.0, np.clip(3 * (goal[1] - own[8, 1]), -1, 1), *(fingers if t > until else [-1.0] * 3)]
            action[1] = [0.0, -np.sign(goal[1]), 1, 1, 1]
            reference.step(p, own, speed, action)
            closest = min(closest, math.dist(own[8], goal))
    assert closest > 0.15
