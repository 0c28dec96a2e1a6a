"""What every Q-learning method regresses, against a reference in plain numpy, number by number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_q as reference
from q_tools import NAMES, QUICK, config_of, doubles, parts_of, plain, random_batch, random_params
from toy_envs import Noisy, context

from jaxmarl_suite.algorithms.q_learning._methods import total

CASES = [
    # The others are as much by the cases below, which turn memory and options on.
    *(
        (name, {}) if name in ("iql", "vdn", "ow-qmix") else pytest.param(name, {}, marks=pytest.mark.slow)
        for name in NAMES
    ),
    ("iql", {"recurrent": True, "share_parameters": False}),
    ("vdn", {"recurrent": True, "double_q": False}),
    ("qmix", {"recurrent": True, "context": "observations"}),
    ("qtran", {"recurrent": True, "share_parameters": False}),
    ("cw-qmix", {"recurrent": True}),
    ("ow-qmix", {"recurrent": True, "double_q": False}),
    ("qplex", {"recurrent": True, "context": "observations", "transformation": "qatten"}),
    ("qplex", {"double_q": False, "stop_gradient": False}),
]
HP = {"gamma": 0.8}
SEEDS = {"qtran": 10, "cw-qmix": 3}  # where both kinds of steps take part in what is compared


def name_of(value):
    return value if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items())


def setup_of(name, config, env):
    return reference.Setup(
        name=name,
        n_agents=env.spec.n_agents,
        num_actions=env.spec.num_actions,
        recurrent=config.recurrent,
        shared=config.share_parameters,
        double_q=config.double_q,
        context="observations" if config.context == "observations" or not env.spec.state_size else "state",
        stop_gradient=getattr(config, "stop_gradient", True),
        qatten=getattr(config, "transformation", "") == "qatten",
    )


def assert_close(found, expected, tolerance=1e-5):
    """Relative to the largest entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("name", "changes"), CASES, ids=name_of)
def test_terms_loss_and_gradient(name, changes):
    env = Noisy()
    config = config_of(name, **HP, **changes)
    team, method = parts_of(name, config, env)
    params, target = random_params(team, method, SEEDS.get(name, 1)), random_params(team, method, 2)
    batch = random_batch(team)
    importance = jnp.asarray([0.3, 1.0, 0.6, 0.8])
    ctx = context(config, env)
    steps = batch.steps
    # Everything is in the batch.
    assert np.asarray(steps.start[1:]).any() and np.asarray(steps.terminated).any()
    assert (np.asarray(steps.start[1:]) & ~np.asarray(steps.terminated[:-1])).any(), "a truncation"
    assert 0 < float(steps.weight.mean()) < 1 and not np.asarray(steps.mask).all()

    def loss(params, target, batch, importance, ctx):
        terms = method.terms(params, target, batch, ctx)
        value, metrics = total(terms, batch.steps.weight, importance)
        return value, (terms, metrics)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
    (_, (terms, metrics)), grads = gradient(params, target, batch, importance, ctx)

    setup, own, old, rows = setup_of(name, config, env), doubles(params), doubles(target), plain(batch)
    expected = reference.loss(setup, config, own, own, old, rows)
    for field in ("loss", "td_error", "value"):
        assert_close(getattr(terms, field), expected[field])
    assert_close(terms.penalty, expected["penalty"])
    if setup.qatten:
        assert float(terms.penalty) > 0
    for both in ("is_full", "binds"):  # either kind takes part in what is compared
        assert 0 < expected.get(both, np.array([0, 1])).mean() < 1
    expected = reference.total(expected, rows["weight"], np.asarray(importance, np.float64))
    assert metrics.keys() == expected.keys()
    for field, value in expected.items():
        assert_close(metrics[field], value)

    # The slope along random directions is the gradient's, with everything still that the papers hold still.
    def plain_loss(scale, direction):
        moved = jax.tree.map(lambda x, d: x + scale * d, own, direction)
        found = reference.loss(setup, config, moved, own, old, rows)
        return reference.total(found, rows["weight"], np.asarray(importance, np.float64))["loss"]

    rng = np.random.default_rng(3)
    for _ in range(3):
        direction = jax.tree.map(lambda x: rng.normal(size=x.shape), own)
        slope = (plain_loss(1e-6, direction) - plain_loss(-1e-6, direction)) / 2e-6
        products = jax.tree.map(lambda g, d: np.asarray(g, np.float64) * d, grads, direction)
        found = sum(p.sum() for p in jax.tree.leaves(products))
        scale = sum(np.abs(p).sum() for p in jax.tree.leaves(products))
        assert abs(found - slope) < 1e-4 * scale, (found, slope)


def test_padding_changes_nothing():
    """What lies behind the end of a sequence enters neither loss nor priority."""
    env, config = Noisy(), config_of("qmix", **HP)
    team, method = parts_of("qmix", config, env)
    params, batch = random_params(team, method, 1), random_batch(team)
    other = random_batch(team, seed=9)
    counts = batch.steps.weight > 0

    def choose(a, b):
        return jnp.where(counts.reshape(counts.shape + (1,) * (a.ndim - 2)), a, b)

    padded = jax.tree.map(choose, batch.steps, other.steps)
    padded = padded.__class__(**{**vars(padded), "weight": batch.steps.weight})
    metrics, look = [], jax.jit(method.terms, compiler_options=QUICK)
    for steps in (batch.steps, padded):
        terms = look(params, params, batch.__class__(batch.memory, steps), context(config, env))
        metrics.append(total(terms, steps.weight, jnp.ones(4))[1])
    jax.tree.map(np.testing.assert_array_equal, *metrics)


def test_the_joint_value_of_qtran_learns_from_its_own_error_only():
    """Its two further losses reach the utilities and the state's value, and nothing else; its own error not them."""
    env, config = Noisy(), config_of("qtran", **HP)
    team, method = parts_of("qtran", config, env)
    params, batch = random_params(team, method, 1), random_batch(team)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def gradient(optimal, other):
        ctx = context(config_of("qtran", **HP, optimal_weight=1.0, other_weight=1.0), env)
        ctx = ctx.__class__(**{**vars(ctx), "hp": ctx.hp.__class__(**{**vars(ctx.hp), "optimal_weight": optimal,
                                                                       "other_weight": other})})  # fmt: skip
        return jax.grad(lambda p: method.terms(p, params, batch, ctx).loss.sum())(params)

    bare, optimal, other = (gradient(jnp.float32(a), jnp.float32(b)) for a, b in ((0, 0), (1, 0), (0, 1)))
    for more in (optimal, other):
        jax.tree.map(np.testing.assert_array_equal, bare["joint"], more["joint"])
        for name in ("agents", "value"):
            assert all(not np.asarray(g).any() for g in jax.tree.leaves(bare[name]))
            assert any(np.asarray(g).any() for g in jax.tree.leaves(more[name]))


def test_stopping_qplex_advantages_changes_gradients_where_it_should():
    env, grads, values = Noisy(), [], []
    for stop in (True, False):
        config = config_of("qplex", **HP, stop_gradient=stop)
        team, method = parts_of("qplex", config, env)

        def loss(params, target, batch, ctx, method=method):
            return method.terms(params, target, batch, ctx).loss.sum()

        params = random_params(team, method, 1)
        gradient = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)
        value, grad = gradient(params, params, random_batch(team), context(config, env))
        values.append(value)
        grads.append(grad)
    assert values[0] == values[1]
    stopped, free = grads

    def differs(pick):
        a, b = jax.tree.leaves(pick(stopped)), jax.tree.leaves(pick(free))
        return any(not np.allclose(x, y, rtol=1e-3) for x, y in zip(a, b))

    assert differs(lambda g: g["agents"]) and differs(lambda g: g["mixer"]["params"]["weight"])
    for name in ("key", "agent", "act", "bias"):  # importance learns either way
        assert not differs(lambda g, name=name: g["mixer"]["params"][name])


@pytest.mark.parametrize("name", ["cw-qmix", "ow-qmix"])
def test_alpha_weights_what_is_not_fitted_fully(name):
    """The loss falls linearly with alpha, by the whole error where the rule says so and by nothing elsewhere."""
    env = Noisy()
    found = []
    for alpha in (1.0, 0.25):
        config = config_of(name, **HP, alpha=alpha)
        team, method = parts_of(name, config, env)
        params, target, batch = random_params(team, method, 1), random_params(team, method, 2), random_batch(team)
        terms = jax.jit(method.terms, compiler_options=QUICK)(params, target, batch, context(config, env))
        found.append(np.asarray(terms.loss))
        own = doubles(params)
    expected = reference.loss(setup_of(name, config, env), config, own, own, doubles(target), plain(batch))
    is_full = expected["is_full"]
    assert is_full.any() and not is_full.all()
    np.testing.assert_allclose(
        (found[0] - found[1]), np.where(is_full, 0.0, 0.75 * expected["td_error"] ** 2), rtol=1e-3, atol=1e-4
    )
