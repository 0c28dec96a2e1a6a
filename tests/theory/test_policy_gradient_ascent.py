"""Exact gradients against autodiff, finite differences and hand calculations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.theory import (
    Ascent,
    advantages,
    expected_return,
    factorize,
    init_logits,
    joint_distribution,
    policy_gradient,
)

SHAPES = [(4,), (2, 2), (3, 2), (2, 3, 4), (2, 2, 3, 2), (18, 2)]
KINDS = ["decentralized", "sequential"]
CLIMBING = np.array([[11, -30, 0], [-30, 7, 6], [0, 0, 5]], np.float32)


def table_axis(kind, agent):
    return agent if kind == "sequential" else 0


def softmax(logits, kind):
    return tuple(jax.nn.softmax(x, axis=table_axis(kind, k)) for k, x in enumerate(logits))


def random_problem(shape, kind, seed=0):
    game_key, logit_key = jax.random.split(jax.random.key(seed))
    payoff = jax.random.normal(game_key, shape)
    return payoff, init_logits(logit_key, shape, policy=kind, sd=1.0)


def loop_joint(policies, shape, kind):
    """P(a), one joint action at a time."""
    joint = np.ones(shape)
    for action in np.ndindex(*shape):
        for k, p in enumerate(policies):
            joint[action] *= np.asarray(p, np.float64)[action[: k + 1] if kind == "sequential" else action[k]]
    return joint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_expected_return_and_joint_against_a_loop(shape, kind):
    payoff, logits = random_problem(shape, kind)
    policies = softmax(logits, kind)
    joint = loop_joint(policies, shape, kind)
    np.testing.assert_allclose(joint_distribution(policies), joint, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(
        expected_return(payoff, policies), (joint * np.asarray(payoff)).sum(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_against_autodiff(shape, kind):
    payoff, logits = random_problem(shape, kind, seed=1)
    auto = jax.grad(lambda x: jnp.sum(payoff * joint_distribution(softmax(x, kind))))(logits)
    exact = jax.jit(policy_gradient)(payoff, softmax(logits, kind))
    for a, b in zip(auto, exact, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_against_finite_differences(kind):
    shape = (2, 3, 2)
    payoff, logits = random_problem(shape, kind, seed=2)
    exact = policy_gradient(payoff, softmax(logits, kind))
    table, width = np.asarray(payoff, np.float64), 1e-5

    def value(tables):
        policies = []
        for k, x in enumerate(tables):
            e = np.exp(x - x.max(axis=table_axis(kind, k), keepdims=True))
            policies.append(e / e.sum(axis=table_axis(kind, k), keepdims=True))
        return (table * loop_joint(policies, shape, kind)).sum()

    for k in range(3):
        for entry in np.ndindex(*logits[k].shape):
            up, down = ([np.array(x, np.float64) for x in logits] for _ in range(2))
            up[k][entry] += width
            down[k][entry] -= width
            np.testing.assert_allclose(exact[k][entry], (value(up) - value(down)) / (2 * width), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_are_independent_problems(kind):
    shape, num_lanes = (2, 3, 2), 5
    problems = [random_problem(shape, kind, seed=i) for i in range(num_lanes)]
    payoff = jnp.stack([p for p, _ in problems], axis=-1)
    policies = tuple(jnp.stack(x, axis=-1) for x in zip(*(softmax(logits, kind) for _, logits in problems)))
    together = advantages(payoff, policies)
    for i, (one_payoff, logits) in enumerate(problems):
        for k, alone in enumerate(advantages(one_payoff, softmax(logits, kind))):
            np.testing.assert_allclose(together[k][..., i], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_advantages_have_zero_mean(kind):
    payoff, logits = random_problem((3, 4, 2), kind)
    policies = softmax(logits, kind)
    for k, (a, p) in enumerate(zip(advantages(payoff, policies), policies, strict=True)):
        np.testing.assert_allclose((a * p).sum(axis=table_axis(kind, k)), 0.0, atol=1e-6)


def test_natural_step_by_hand_decentralized():
    # R = [[4, 0], [0, 2]], p = q = (1/2, 1/2): E[R | a_1] = (2, 1), J = 1.5, A = (0.5, -0.5); same for agent 2.
    result = Ascent("decentralized", "natural", learning_rate=0.1, steps=1).run(
        [[4.0, 0.0], [0.0, 2.0]], (jnp.zeros(2), jnp.zeros(2))
    )
    np.testing.assert_allclose(result.logits[0], [0.05, -0.05], rtol=1e-6)
    np.testing.assert_allclose(result.logits[1], [0.05, -0.05], rtol=1e-6)


def test_natural_step_by_hand_sequential():
    # Q_1 = (2, 1), V_1 = 1.5; Q_2 = R, V_2 = (2, 1): A_2 = [[2, -2], [-1, 1]], not halved by P(a_1) = 1/2.
    ascent = Ascent("sequential", "natural", learning_rate=0.1, steps=1)
    result = ascent.run([[4.0, 0.0], [0.0, 2.0]], (jnp.zeros(2), jnp.zeros((2, 2))))
    np.testing.assert_allclose(result.logits[0], [0.05, -0.05], rtol=1e-6)
    np.testing.assert_allclose(result.logits[1], [[0.2, -0.2], [-0.1, 0.1]], rtol=1e-6)


def test_plain_step_by_hand():
    # As above, weighted: p(a_1) = 1/2, and P(a_1, a_2) = 1/4.
    start = {"decentralized": (jnp.zeros(2), jnp.zeros(2)), "sequential": (jnp.zeros(2), jnp.zeros((2, 2)))}
    expected = {"decentralized": [0.025, -0.025], "sequential": [[0.05, -0.05], [-0.025, 0.025]]}
    for kind in KINDS:
        result = Ascent(kind, "plain", learning_rate=0.1, steps=1).run([[4.0, 0.0], [0.0, 2.0]], start[kind])
        np.testing.assert_allclose(result.logits[0], [0.025, -0.025], rtol=1e-6)
        np.testing.assert_allclose(result.logits[1], expected[kind], rtol=1e-6)


def test_sequential_policies_that_ignore_the_prefix_are_products():
    shape = (2, 3, 4)
    payoff, logits = random_problem(shape, "decentralized")
    product = softmax(logits, "decentralized")
    repeated = tuple(jnp.broadcast_to(p, (*shape[:k], p.shape[0])) for k, p in enumerate(product))
    np.testing.assert_allclose(joint_distribution(product), joint_distribution(repeated), rtol=1e-6)
    np.testing.assert_allclose(expected_return(payoff, product), expected_return(payoff, repeated), rtol=1e-6)
    # The product's advantage is the sequential one averaged over the prefix.
    for k, (own, seen) in enumerate(zip(advantages(payoff, product), advantages(payoff, repeated), strict=True)):
        for j in range(k):
            seen = (product[j].reshape(-1, *(1,) * (seen.ndim - 1)) * seen).sum(axis=0)
        if k == 0:
            np.testing.assert_allclose(own, seen, atol=1e-6)
        else:
            conditional_mean = (product[k] * seen).sum()
            np.testing.assert_allclose(own, seen - conditional_mean, atol=1e-6)


def test_every_joint_policy_factorizes():
    joint = jax.nn.softmax(2.0 * jax.random.normal(jax.random.key(3), (24,))).reshape(2, 3, 4)
    np.testing.assert_allclose(joint_distribution(factorize(joint)), joint, rtol=1e-5)
    certain = jnp.zeros((2, 3)).at[1, 2].set(1.0)  # a prefix of probability zero
    conditionals = factorize(certain)
    assert all(bool(jnp.isfinite(p).all()) for p in conditionals)
    np.testing.assert_array_equal(joint_distribution(conditionals), certain)


def test_payoffs_and_logits_broadcast_over_games_and_seeds():
    ascent = Ascent("sequential", "plain", learning_rate=0.2, steps=30, record_at=(0, 10, 30))
    games = jnp.stack([jnp.asarray(CLIMBING), 0.5 * jnp.asarray(CLIMBING).T])
    logits = init_logits(jax.random.split(jax.random.key(1), 5), (3, 3), policy="sequential")  # 10 lanes; 5 are odd
    grid = ascent.run(games[:, None], logits)
    assert grid.value.shape == grid.greedy_value.shape == (2, 5)
    assert grid.trajectory.shape == (2, 5, 3)
    assert grid.policies[1].shape == (2, 5, 3, 3)
    for g in range(2):
        for s in range(5):
            alone = ascent.run(games[g], tuple(x[s] for x in logits))
            np.testing.assert_allclose(grid.value[g, s], alone.value, rtol=1e-5)
            np.testing.assert_allclose(grid.trajectory[g, s], alone.trajectory, rtol=1e-5)
            np.testing.assert_allclose(grid.logits[1][g, s], alone.logits[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grid.trajectory[..., -1], grid.value, rtol=1e-6)
    start = expected_return(games[0], softmax(tuple(x[0] for x in logits), "sequential"))
    np.testing.assert_allclose(grid.trajectory[0, 0, 0], start, rtol=1e-5)


def test_devices_do_not_change_results():
    ascent = Ascent("decentralized", "natural", steps=200)
    keys = jax.random.split(jax.random.key(0), 7)
    one = ascent.run_seeds(CLIMBING, keys, init_sd=1.0, devices=jax.devices()[:1])
    all_of_them = ascent.run_seeds(CLIMBING, keys, init_sd=1.0, devices=jax.devices())
    np.testing.assert_allclose(one.value, all_of_them.value, rtol=1e-5)


def test_runs_under_jit_and_matches_eager_call():
    ascent = Ascent("sequential", "natural", steps=5)
    logits = init_logits(jax.random.key(0), (3, 3), policy="sequential")
    inside = jax.jit(ascent.run)(jnp.asarray(CLIMBING), logits)
    np.testing.assert_allclose(inside.value, ascent.run(CLIMBING, logits).value, rtol=1e-5)


def test_learning_rates_and_step_counts_share_one_program():
    from jaxmarl_suite.theory import _ascent

    keys = jax.random.split(jax.random.key(0), 4)
    Ascent("decentralized", "plain", 0.1, 10).run_seeds(CLIMBING, keys, init_sd=1.0)
    before = _ascent._ascend._cache_size()
    Ascent("decentralized", "plain", 0.3, 25).run_seeds(CLIMBING.T, keys, init_sd=0.1)
    assert _ascent._ascend._cache_size() == before


def test_initial_logits_have_the_asked_spread_and_differ_between_agents_and_seeds():
    logits = init_logits(jax.random.split(jax.random.key(0), 2000), (3, 3), policy="sequential", sd=0.5)
    assert [x.shape for x in logits] == [(2000, 3), (2000, 3, 3)]
    for x in logits:
        np.testing.assert_allclose(np.std(np.asarray(x)), 0.5, rtol=0.05)
    assert not np.allclose(logits[0], logits[1][:, 0])
    assert not np.allclose(logits[0][0], logits[0][1])


def test_greedy_value_follows_the_sequential_argmax():
    payoff = np.array([[0.0, 5.0], [3.0, 1.0]], np.float32)
    logits = (jnp.array([0.0, 0.1]), jnp.array([[0.0, 9.0], [0.1, 0.0]]))  # greedy: 1, then 0
    result = Ascent("sequential", "plain", learning_rate=1e-6, steps=1).run(payoff, logits)
    assert float(result.greedy_value) == 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "central", "gradient": "plain"}, "unknown policy 'central'; accepted: decentralized, sequential"),
        ({"policy": "sequential", "gradient": "fisher"}, "unknown gradient 'fisher'; accepted: plain, natural"),
        ({"policy": "sequential", "gradient": "plain", "learning_rate": 0.0}, "learning_rate must be positive"),
        (
            {"policy": "sequential", "gradient": "plain", "learning_rate": float("nan")},
            "learning_rate must be positive",
        ),
        ({"policy": "sequential", "gradient": "plain", "steps": 0}, "steps must be a positive integer, got 0"),
        ({"policy": "sequential", "gradient": "plain", "steps": 1.5}, "steps must be a positive integer, got 1.5"),
        ({"policy": "sequential", "gradient": "plain", "steps": 5, "record_at": (3, 3)}, "record_at must increase"),
        ({"policy": "sequential", "gradient": "plain", "steps": 5, "record_at": (6,)}, "within 0..5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Ascent(**options)


@pytest.mark.parametrize(
    ("payoff", "message"),
    [
        (np.float32(3.0), "at least 1 axes"),
        (np.zeros((2, 0), np.float32), r"got shape \(2, 0\)"),
        (np.array([[1.0, np.nan]]), "payoff must be finite, got 1 entries"),
        (np.array([["a", "b"]]), "payoff must be numeric"),
    ],
)
def test_bad_payoffs(payoff, message):
    with pytest.raises(ValueError, match=message):
        Ascent("decentralized", "plain").run_seeds(payoff, jax.random.split(jax.random.key(0), 2), init_sd=1.0)


def test_bad_logits():
    ascent = Ascent("sequential", "plain", steps=1)
    with pytest.raises(ValueError, match="logits of agent 1 must have the shape"):
        ascent.run(CLIMBING, (jnp.zeros(3), jnp.zeros(3)))
    with pytest.raises(ValueError, match="init sd must not be negative"):
        init_logits(jax.random.key(0), (2, 2), policy="sequential", sd=-1.0)
    with pytest.raises(ValueError, match="no lanes"):
        ascent.run(CLIMBING, (jnp.zeros((0, 3)), jnp.zeros((0, 3, 3))))
    with pytest.raises(ValueError, match="one action axis per agent"):
        expected_return(jnp.zeros(3), (jnp.ones(3) / 3, jnp.ones(3) / 3))
