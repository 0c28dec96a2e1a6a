"""Continuous heads against scipy, numerical integration and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxmarl_suite.ops import diagonal_gaussian, tanh_normal

LOW, HIGH = np.array([-1.0, 0.5, -3.0]), np.array([1.0, 4.5, -2.5])
MIDDLE, HALF = (LOW + HIGH) / 2, (HIGH - LOW) / 2
INITIAL = 0.5
GAUSSIAN = diagonal_gaussian(3, LOW, HIGH, initial_std=INITIAL)
SQUASHED = tanh_normal(3, LOW, HIGH, initial_std=INITIAL)
MASK = jnp.ones((5, 3), bool)


def deviation(raw, lowest=1e-3, highest=10.0):
    """The bounded deviation once more: log-linear between the ends by a sigmoid with slope 1 at its start."""
    share = np.log(INITIAL / lowest) / np.log(highest / lowest)
    logit = np.log(share / (1 - share)) + raw / (np.log(highest / lowest) * share * (1 - share))
    return lowest * (highest / lowest) ** (1 / (1 + np.exp(-logit)))


def outputs(seed=0, rows=5):
    """An output [rows, 6], with its means and deviations in float64."""
    output = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    return jnp.asarray(output), output[:, :3].astype(np.float64), deviation(output[:, 3:].astype(np.float64))


@pytest.mark.parametrize("make", [diagonal_gaussian, tanh_normal])
def test_padded_entries_have_no_part(make):
    """A head of three entries whose last is padding is the head of the first two."""
    padded, two = make(3, LOW, HIGH, initial_std=INITIAL, padded=True), make(2, LOW[:2], HIGH[:2], initial_std=INITIAL)
    output = outputs()[0]
    mask = jnp.broadcast_to(jnp.array([True, True, False]), (5, 3))
    short, rest = output[:, jnp.array([0, 1, 3, 4])], MASK[:, :2]

    @jax.jit
    def measure(output, short):
        action, drawn = padded.sample_and_log_prob(jax.random.key(1), output, mask)
        label = padded.mode(0.3 * output, mask)
        own, other = action[:, :2], label[:, :2]
        found = drawn, padded.entropy(output, mask), padded.imitation_loss(output, mask, label)
        return (
            action,
            found,
            (two.log_prob(short, rest, own), two.entropy(short, rest), two.imitation_loss(short, rest, other)),
        )

    action, found, expected = measure(output, short)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    np.testing.assert_allclose(padded.to_env(action)[:, 2], MIDDLE[2])
    assert not padded.embed(action)[:, 2].any() and padded.embed(action)[:, :2].all()
    # With other weights each: the slopes of a sample's density and of the entropy by the spread add up to nothing.
    slope = jax.jit(jax.grad(lambda o: sum(w * x.sum() for w, x in zip((1.0, 2.0, 3.0), measure(o, short)[1]))))(output)
    assert not slope[:, jnp.array([2, 5])].any() and slope[:, jnp.array([0, 1, 3, 4])].all()


def test_initial_deviation_its_slope_and_its_ends():
    zero = jnp.zeros((6,))
    normal = diagonal_gaussian(3, initial_std=INITIAL)

    @jax.jit
    def log_std(output):
        return normal.entropy(output, MASK) / 3 - 0.5 * np.log(2 * np.pi * np.e)

    assert log_std(zero) == pytest.approx(np.log(INITIAL), abs=1e-6)
    np.testing.assert_allclose(jax.grad(log_std)(zero), [0, 0, 0, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)
    for far, end in ((-1e4, 1e-3), (1e4, 10.0)):
        assert log_std(jnp.full((6,), far)) == pytest.approx(np.log(end), abs=1e-5)
    assert jax.grad(log_std)(jnp.full((6,), 6.0))[-1] > 1e-3, "far from the start there is still a way back"


def test_gaussian_log_prob_and_entropy_are_scipys():
    output, mean, std = outputs()
    exact = stats.norm(MIDDLE + HALF * mean, HALF * std)
    action = exact.ppf(np.random.default_rng(1).random((5, 3)))
    assert (action < LOW).any() and (action > HIGH).any(), "unclipped actions are scored"
    found = jax.jit(GAUSSIAN.log_prob)(output, MASK, jnp.asarray(action, jnp.float32))
    np.testing.assert_allclose(found, exact.logpdf(action).sum(-1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(GAUSSIAN.entropy(output, MASK), exact.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_allclose(GAUSSIAN.mode(output, MASK), MIDDLE + HALF * mean, rtol=1e-5)


def test_squashed_log_prob_is_the_density_of_the_environments_action():
    """Change of variables with a numerical derivative of what the environment gets."""
    output, mean, std = outputs()
    u = mean + std * np.clip(np.random.default_rng(2).normal(size=(5, 3)), -2, 2)
    bounded = lambda u: MIDDLE + HALF * np.tanh(u)  # noqa: E731
    np.testing.assert_allclose(SQUASHED.to_env(jnp.asarray(u, jnp.float32)), bounded(u), rtol=1e-5)
    slope = (bounded(u + 1e-6) - bounded(u - 1e-6)) / 2e-6
    expected = (stats.norm(mean, std).logpdf(u) - np.log(slope)).sum(-1)
    np.testing.assert_allclose(
        jax.jit(SQUASHED.log_prob)(output, MASK, jnp.asarray(u, jnp.float32)), expected, rtol=1e-4
    )


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.5, 4.5)])
def test_squashed_density_integrates_to_one_over_the_bounds(low, high):
    head = tanh_normal(1, low, high, initial_std=INITIAL)
    points, weights = np.polynomial.legendre.leggauss(400)
    action = jnp.asarray((low + high) / 2 + (high - low) / 2 * points, jnp.float32)

    @jax.jit
    def density(output, action):
        return jnp.exp(head.log_prob(output, jnp.ones((1,), bool), head.from_env(action[None])))

    outputs = jnp.array([[0.0, 0.0], [0.7, 1.0], [-2.0, -1.0]])
    found = np.asarray(jax.vmap(jax.vmap(density, (None, 0)), (0, None))(outputs, action))
    np.testing.assert_allclose((found * weights).sum(-1) * (high - low) / 2, 1.0, atol=2e-3)


@pytest.mark.parametrize("head", [GAUSSIAN, SQUASHED], ids=["gaussian", "squashed"])
def test_samples_have_the_distribution_and_the_log_prob_that_is_returned(head):
    output, mean, std = outputs(3, rows=1)
    draws = 20_000
    many = jnp.broadcast_to(output, (draws, 6))
    mask = jnp.ones((draws, 3), bool)
    action, log_prob = jax.jit(head.sample_and_log_prob)(jax.random.key(0), many, mask)
    assert action.shape == (draws, 3) and action.dtype == jnp.float32
    again = jax.jit(lambda key, x, a: (head.sample(key, x, mask), head.log_prob(x, mask, a)))(
        jax.random.key(0), many, action
    )
    np.testing.assert_allclose(again[0], action, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(again[1], log_prob, rtol=1e-5, atol=1e-5)
    z = ((np.asarray(action) - MIDDLE) / HALF if head is GAUSSIAN else np.asarray(action)) - mean
    assert all(stats.kstest(z[:, i] / std[0, i], "norm").pvalue > 1e-3 for i in range(3))
    # Entropy is the mean of -log p.
    error = 5 * np.asarray(log_prob).std() / np.sqrt(draws)
    assert jax.jit(head.entropy)(output, mask[:1])[0] == pytest.approx(-float(log_prob.mean()), abs=error)


@pytest.mark.parametrize("std, tolerance", [(0.1, 1e-4), (2.0, 1e-3), (9.0, 0.2)])
def test_squashed_entropy_is_as_exact_as_it_is_said_to_be(std, tolerance):
    def integrand(u, mean):
        log_slope = 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))
        return stats.norm.pdf(u, mean, std) * (log_slope - stats.norm.logpdf(u, mean, std))

    means = [0.0, 1.5, -6.0]
    exact = []
    for mean in means:
        grid = np.linspace(mean - 12 * std, mean + 12 * std, 20_001)
        exact.append(integrate.simpson(integrand(grid, mean), x=grid))
    found = jax.jit(tanh_normal(1, initial_std=std).entropy)(jnp.array([[m, 0.0] for m in means]), MASK[:3, :1])
    np.testing.assert_allclose(found, exact, atol=tolerance)


@pytest.mark.parametrize("head", [GAUSSIAN, SQUASHED], ids=["gaussian", "squashed"])
def test_values_and_gradients_are_finite_in_the_tails(head):
    """Actions and means far beyond where tanh is 1 in float32, narrow and wide."""
    far = [0.0, 12.0, -60.0, 3e3, -3e3]
    means, raws, actions = (
        jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(far, [-1e3, 0.0, 1e3], far, indexing="ij")
    )

    def total(mean, raw, action):
        output = jnp.concatenate([jnp.full((3,), mean), jnp.full((3,), raw)])
        drawn = head.sample_and_log_prob(jax.random.key(0), output, MASK[0])[1]
        return head.log_prob(output, MASK[0], jnp.full((3,), action)) + head.entropy(output, MASK[0]) + drawn

    value, gradients = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1, 2))))(means, raws, actions)
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradients)
    away = np.asarray(means) != np.asarray(actions)
    assert (np.asarray(gradients[2])[away] != 0).all(), "far out there is still a direction"


def test_log_prob_far_in_the_tail_is_exact():
    """Log N(u; 0, 1) - log(1 - tanh²u) at u = 40, where 1 - tanh²u is 1e-34: straight from its expansion."""
    head = tanh_normal(1)
    expected = stats.norm.logpdf(40.0) - (2 * np.log(2) - 2 * 40.0)
    assert head.log_prob(jnp.zeros(2), MASK[0, :1], jnp.array([40.0])) == pytest.approx(expected, rel=1e-5)


def test_samples_are_differentiable():
    """Reparametrised: a = m + s ε, so da/dm is half the range, and d tanh(u) / dμ the slope of tanh."""
    key, output = jax.random.key(4), outputs(5, rows=1)[0][0]
    jacobian = jax.jit(jax.jacobian(lambda o: GAUSSIAN.sample(key, o, MASK[0])))(output)
    np.testing.assert_allclose(jacobian[:, :3], np.diag(HALF), rtol=1e-5)
    u = np.asarray(SQUASHED.sample(key, output, MASK[0]))
    jacobian = jax.jit(jax.jacobian(lambda o: SQUASHED.to_env(SQUASHED.sample(key, o, MASK[0]))))(output)
    np.testing.assert_allclose(jacobian[:, :3], np.diag(HALF * (1 - np.tanh(u) ** 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", [GAUSSIAN, SQUASHED], ids=["gaussian", "squashed"])
def test_what_the_environment_and_other_networks_get(head):
    far = jnp.asarray(np.random.default_rng(6).normal(size=(200, 3)) * 20, jnp.float32)
    given, embedded = np.asarray(head.to_env(far)), np.asarray(head.embed(far))
    assert (given >= LOW.astype(np.float32)).all() and (given <= HIGH.astype(np.float32)).all()
    assert (given == LOW).any() and (given == HIGH).any()
    np.testing.assert_allclose(MIDDLE + HALF * embedded, given, rtol=1e-5, atol=1e-5)  # -1 and 1 at the bounds
    np.testing.assert_allclose(head.to_env(head.from_env(jnp.asarray(given))), given, rtol=1e-5)
    inside = jnp.asarray(MIDDLE + HALF * np.linspace(-0.9, 0.9, 7)[:, None], jnp.float32)
    np.testing.assert_allclose(head.to_env(head.from_env(inside)), inside, rtol=1e-5)
    assert np.isfinite(head.from_env(jnp.asarray(HIGH, jnp.float32))).all()
    assert head.no_action(4, 2).shape == (4, 2, 3) and (head.num_outputs, head.embed_size) == (6, 3)


@pytest.mark.parametrize("head", [GAUSSIAN, SQUASHED], ids=["gaussian", "squashed"])
def test_imitation_is_a_squared_distance_in_units_of_half_the_range(head):
    output, mean, _ = outputs(7)
    target = jnp.asarray(MIDDLE + HALF * np.array([0.3, -0.2, 0.9]), jnp.float32)
    target = jnp.broadcast_to(target, (5, 3))
    own = mean if head is GAUSSIAN else np.tanh(mean)
    expected = ((own - [0.3, -0.2, 0.9]) ** 2).sum(-1)
    found = jax.jit(lambda: head.imitation_loss(output, MASK, head.from_env(target)))()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_entries_without_bounds_are_in_their_own_units():
    head = diagonal_gaussian(2, (-np.inf, -2.0), (np.inf, 2.0), initial_std=0.5)
    output = jnp.array([3.0, 0.5, 0.0, 0.0])
    mask = MASK[0, :2]
    np.testing.assert_allclose(head.mode(output, mask), [3.0, 1.0])
    np.testing.assert_allclose(head.to_env(jnp.array([1e6, 1e6])), [1e6, 2.0])
    expected = stats.norm([3.0, 1.0], [0.5, 1.0]).logpdf([2.0, 2.0]).sum()
    assert head.log_prob(output, mask, jnp.array([2.0, 2.0])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", [diagonal_gaussian, tanh_normal])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ({"dim": 2, "low": 1.0}, "needs low < high, both finite or neither, got low=1.0, high=1.0"),
        ({"dim": 1, "low": -np.inf}, "both finite or neither, got low=-inf, high=1.0"),
        ({"dim": 2, "high": (1.0, 2.0, 3.0)}, r"high must be one number or 2, one per entry, got \(1.0, 2.0, 3.0\)"),
        ({"dim": 2, "initial_std": 0.0}, "initial_std must lie between 0.001 and 10.0, got 0.0"),
        ({"dim": 2, "std_range": (1.0, 0.5)}, r"std_range must be two numbers 0 < a < b, got \(1.0, 0.5\)"),
    ],
)
def test_what_cannot_be(make, arguments, message):
    with pytest.raises(ValueError, match=f"{make.__name__}.*{message}"):
        make(**arguments)


def test_squashing_needs_bounds():
    with pytest.raises(ValueError, match="tanh_normal squashes into bounds, which must be finite, got low=-inf"):
        tanh_normal(1, -np.inf, np.inf)
