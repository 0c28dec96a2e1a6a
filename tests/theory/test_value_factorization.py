"""Best fits of one state's joint values: closed form, least squares, monotone class, counterfactual credit."""

import itertools

import jaxmarl_envs
import numpy as np
import pytest
from scipy.optimize import minimize

from jaxmarl_suite.theory import (
    counterfactual_credit,
    igm_complete,
    linear_closed_form,
    linear_least_squares,
    monotone_least_squares,
    product_data,
)

SHAPES = [(3, 3), (2, 3, 4), (2, 2, 2, 2)]


def game(variant):
    return np.asarray(jaxmarl_envs.make(f"matrix/{variant}").default_params.payoff, np.float64).reshape(3, 3)


def random_case(shape, seed):
    """A target and product data without zeros."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), product_data([rng.dirichlet(np.ones(a)) for a in shape])


def loop_least_squares(y, data):
    """Normal equations over one-hot features, written out: the oracle, for data without zeros."""
    offsets = np.cumsum((0, *y.shape))
    gram, moment = np.zeros((offsets[-1], offsets[-1])), np.zeros(offsets[-1])
    for a in np.ndindex(*y.shape):
        feature = np.zeros(offsets[-1])
        for i, action in enumerate(a):
            feature[offsets[i] + action] = 1.0
        gram += data[a] * np.outer(feature, feature)
        moment += data[a] * y[a] * feature
    q = np.linalg.pinv(gram) @ moment
    return np.array([sum(q[offsets[i] + x] for i, x in enumerate(a)) for a in np.ndindex(*y.shape)]).reshape(y.shape)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", SHAPES)
def test_closed_form_is_the_weighted_least_squares_fit(shape, seed):
    y, data = random_case(shape, seed)
    closed, fitted = linear_closed_form(y, data), linear_least_squares(y, data)
    assert closed.total.dtype == fitted.total.dtype == np.float64
    assert np.abs(closed.total - fitted.total).max() < 1e-10
    assert np.abs(closed.total - loop_least_squares(y, data)).max() < 1e-7  # squares the condition number
    for fit in (closed, fitted):  # the joint value is the sum of the local ones
        total = sum(q.reshape([-1 if j == i else 1 for j in range(len(shape))]) for i, q in enumerate(fit.local))
        np.testing.assert_allclose(fit.total, total, atol=1e-12)
    assert np.unravel_index(closed.total.argmax(), shape) == closed.greedy


@pytest.mark.parametrize("shape", SHAPES)
def test_the_residue_moves_local_values_only(shape):
    y, data = random_case(shape, 1)
    w = np.random.default_rng(2).normal(size=len(shape))
    w -= w.mean()
    free, plain = linear_closed_form(y, data, residue=w), linear_closed_form(y, data)
    assert np.abs(free.total - plain.total).max() < 1e-12
    assert np.abs(sum(np.ix_(*free.local)) - plain.total).max() < 1e-12
    assert free.greedy == plain.greedy
    for i, (moved, kept) in enumerate(zip(free.local, plain.local)):
        np.testing.assert_allclose(moved - kept, w[i], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_local_values_are_counterfactual_credit_and_a_constant(shape):
    y, data = random_case(shape, 3)
    credit = counterfactual_credit(y, data)
    mean = (data * y).sum()
    for fit in (linear_closed_form(y, data), linear_least_squares(y, data)):
        for q, c in zip(fit.local, credit):
            assert np.ptp(q - c) < 1e-10
    for i, c in enumerate(credit):  # by hand: the difference reward of each action, averaged over the teammates' data
        for a in range(shape[i]):
            part, own = np.take(data, a, axis=i), np.take(y, a, axis=i)
            np.testing.assert_allclose(c[a], (part * own).sum() / part.sum() - mean, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_an_agent_that_never_matters_gets_a_constant(seed):
    _, data = random_case((3, 4, 2), seed)
    y = np.broadcast_to(np.random.default_rng(seed).normal(size=(3, 1, 2)), (3, 4, 2))
    assert np.ptp(linear_closed_form(y, data).local[1]) < 1e-8
    assert np.abs(counterfactual_credit(y, data)[1]).max() < 1e-8


def test_data_with_dependent_agents_are_left_to_least_squares():
    rng = np.random.default_rng(0)
    y, data = rng.normal(size=(2, 3)), rng.dirichlet(np.ones(6)).reshape(2, 3)
    for refused in (linear_closed_form, counterfactual_credit):
        with pytest.raises(ValueError, match=r"needs data in which agents act independently.*linear_least_squares"):
            refused(y, data)
    fit = linear_least_squares(y, data)
    np.testing.assert_allclose(fit.total, loop_least_squares(y, data), atol=1e-9)
    # The formula applied regardless, with the marginals, is not the best fit.
    wrong = linear_closed_form(y, product_data([data.sum(axis=1), data.sum(axis=0)])).total
    assert (data * (y - wrong) ** 2).sum() > (data * (y - fit.total) ** 2).sum() + 1e-3


def test_one_agent_and_unseen_actions():
    y = np.array([3.0, -1.0])
    np.testing.assert_allclose(linear_closed_form(y).total, y, atol=1e-14)
    data = product_data([[1.0, 0.0], [0.5, 0.5]])
    table = np.array([[1.0, 2.0], [7.0, 9.0]])
    for fit in (linear_closed_form(table, data), linear_least_squares(table, data)):
        np.testing.assert_allclose(fit.total[0], table[0], atol=1e-12)  # what the data do not show may be anything


@pytest.mark.parametrize("seed", range(4))
def test_igm_complete_holds_every_target(seed):
    y = np.random.default_rng(seed).integers(0, 3, size=(3, 2, 3)).astype(float)  # with ties
    fit = igm_complete(y)
    assert fit.squared_error(y) == 0.0 and y[fit.greedy] == y.max()
    assert all((q == q.max()).sum() == 1 for q in fit.local)
    assert fit.greedy == tuple(np.unravel_index(y.argmax(), y.shape))


def test_igm_complete_holds_what_the_data_do_not_show():
    y = np.array([[8.0, 1.0], [0.0, 2.0]])
    fit = igm_complete(y, [[0.0, 0.5], [0.25, 0.25]])
    np.testing.assert_array_equal(fit.total, y)


@pytest.mark.parametrize("seed", range(6))
def test_igm_complete_with_a_given_greedy_action(seed):
    """Against the quadratic program: Q_tot nowhere above its value at the greedy action."""
    rng = np.random.default_rng(seed)
    y, data = rng.normal(size=(2, 3)), rng.dirichlet(np.ones(6)).reshape(2, 3)
    for greedy in np.ndindex(2, 3):
        fit = igm_complete(y, data, greedy=greedy)
        index = np.ravel_multi_index(greedy, (2, 3))
        found = minimize(
            lambda q: (data.reshape(-1) * (q - y.reshape(-1)) ** 2).sum(),
            np.full(6, y.mean()),
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda q, index=index: q[index] - q},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose((data * (y - fit.total) ** 2).sum(), found.fun, atol=1e-8)
        assert fit.greedy == greedy and fit.total[greedy] == fit.total.max()
    assert igm_complete(y, data, greedy=np.unravel_index(y.argmax(), y.shape)).squared_error(y) == 0.0


def test_traps_of_g1_and_g3():
    """By hand: the greedy cell and what is worth more share their mean."""
    errors = {
        ("G1", (1, 2)): 32.0,  # 8 and 0: 4
        ("G1", (0, 1)): 616 / 3,  # 8, four times 0 and -12: -2/3
        ("G3", (1, 1)): 2.0,  # 8 and 6: 7
        ("G3", (1, 2)): 36.0,  # 8, 6, 6 and 0: 5
        ("G3", (0, 1)): 264.0,  # 8, 6, 6 and -12: 2
    }
    for (name, greedy), error in errors.items():
        np.testing.assert_allclose(igm_complete(game(name), greedy=greedy).squared_error(game(name)), error)
    stuck = game("G1")
    stuck[0, 0] = stuck[1, 2] = 4.0
    np.testing.assert_array_equal(igm_complete(game("G1"), greedy=(1, 2)).total, stuck)


# Section "matrix games" of the study; uniform data.


def test_linear_fits_of_the_named_games():
    fit = linear_closed_form(game("G1"))
    np.testing.assert_allclose(fit.total[0], [-56 / 9, -44 / 9, -44 / 9], atol=1e-12)
    np.testing.assert_allclose(fit.total[1:, 1:], -32 / 9, atol=1e-12)
    for q in fit.local:
        np.testing.assert_allclose(q, [-28 / 9, -16 / 9, -16 / 9], atol=1e-12)
    assert game("G1")[fit.greedy] == 0.0
    np.testing.assert_allclose(fit.squared_error(game("G1")), 4096 / 9, atol=1e-9)  # 455.11
    third = linear_closed_form(game("G3")).total
    np.testing.assert_allclose([third[0, 0], third[0, 1], third[2, 1]], [-68 / 9, -38 / 9, -8 / 9], atol=1e-12)
    wide = linear_closed_form(game("Gw"))
    expected = [[5.778, 5.644, 8.978], [5.644, 5.511, 8.844], [8.978, 8.844, 12.178]]
    np.testing.assert_allclose(wide.total, expected, atol=5e-4)
    assert game("Gw")[wide.greedy] == 10.0 < game("Gw").max()


def test_monotone_and_complete_fits_of_g1():
    y = game("G1")
    fit = monotone_least_squares(y)
    expected = np.full((3, 3), -6.0)
    expected[0, 0] = 8.0
    np.testing.assert_allclose(fit.total, expected, atol=1e-10)
    assert fit.greedy == (0, 0)
    np.testing.assert_allclose(fit.squared_error(y), 288.0, atol=1e-9)
    assert igm_complete(y).squared_error(y) == 0.0 and y[igm_complete(y).greedy] == 8.0


def brute_force_monotone(y, data):
    """Smallest weighted error over all orders, each by a general constrained optimizer."""
    best = np.inf
    for rows, columns in itertools.product(*(itertools.permutations(range(a)) for a in y.shape)):
        target, weight = y[np.ix_(rows, columns)], data[np.ix_(rows, columns)]

        def steps(flat, shape=y.shape):
            q = flat.reshape(shape)
            return np.concatenate([np.diff(q, axis=0).reshape(-1), np.diff(q, axis=1).reshape(-1)])

        def error(flat, weight=weight, target=target):
            return (weight.reshape(-1) * (flat - target.reshape(-1)) ** 2).sum()

        found = minimize(
            error,
            np.sort(target.reshape(-1)),
            method="SLSQP",
            constraints={"type": "ineq", "fun": steps},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 3)])
def test_monotone_solver_against_brute_force(shape, seed):
    rng = np.random.default_rng(seed)
    y, data = rng.normal(size=shape), rng.dirichlet(np.full(np.prod(shape), 2.0)).reshape(shape)
    fit = monotone_least_squares(y, data)
    np.testing.assert_allclose((data * (y - fit.total) ** 2).sum(), brute_force_monotone(y, data), atol=1e-7)
    ordered = fit.total[np.ix_(*(np.argsort(q) for q in fit.local))]
    assert min(np.diff(ordered, axis=0).min(), np.diff(ordered, axis=1).min()) > -1e-12
    assert fit.total[fit.greedy] >= fit.total.max() - 1e-12
    linear = linear_least_squares(y, data)  # a smaller class
    assert (data * (y - fit.total) ** 2).sum() <= (data * (y - linear.total) ** 2).sum() + 1e-12


def test_monotone_targets_are_kept_for_three_agents():
    rng = np.random.default_rng(0)
    local = [rng.normal(size=a) for a in (3, 2, 3)]
    y = np.tanh(sum(np.ix_(*local))) ** 3
    fit = monotone_least_squares(y)
    np.testing.assert_array_equal(fit.total, y)
    assert fit.greedy == tuple(int(q.argmax()) for q in local)


def test_bad_input():
    y = np.zeros((2, 2))
    for fit in (linear_least_squares, linear_closed_form, monotone_least_squares, counterfactual_credit):
        with pytest.raises(ValueError, match=r"data must be a distribution.*got the sum 2"):
            fit(y, np.full((2, 2), 0.5))
        with pytest.raises(ValueError, match=r"one probability a joint action, shape \(2, 2\), got \(4,\)"):
            fit(y, np.full(4, 0.25))
        with pytest.raises(ValueError, match="target must be finite, got 4 entries"):
            fit(y * np.nan)
    with pytest.raises(ValueError, match=r"data must be a distribution.*smallest entry -0\.5"):
        linear_least_squares(y, [[0.5, 0.5], [0.5, -0.5]])
    with pytest.raises(ValueError, match=r"residue must be 2 finite numbers.*got \[1\.0, 1\.0\]"):
        linear_closed_form(y, residue=[1.0, 1.0])
    with pytest.raises(ValueError, match="every joint action occurs"):
        monotone_least_squares(y, [[0.5, 0.5], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"have 1625702400 orders; accepted: at most 50000"):
        monotone_least_squares(np.zeros((8, 8)))
    with pytest.raises(ValueError, match="one vector per agent"):
        product_data([np.full((2, 2), 0.25)])
    with pytest.raises(ValueError, match=r"target must have the shape \(2, 2\), got \(3, 3\)"):
        linear_closed_form(y).squared_error(np.zeros((3, 3)))
    for greedy in [(0, 2), (-1, 0), (0,)]:
        with pytest.raises(ValueError, match=r"greedy must be one action per agent, within \(2, 2\), got"):
            igm_complete(y, greedy=greedy)
    with pytest.raises(ValueError, match=r"shape \[A_1, ..., A_n\]"):
        igm_complete(1.0)
