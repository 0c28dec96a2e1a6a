"""Preconditioning, noise levels and the sampler, against numbers worked out by hand and exact posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from team_data import TINY, learned_gains

from jaxmarl_suite.worldmodels import (
    DenoiserSizes,
    Preconditioning,
    agent_order,
    default_steps,
    diffusion_model,
    exact_denoiser,
    karras_grid,
    make_denoiser,
    sample_states,
    shown_agents,
    training_shown,
)
from jaxmarl_suite.worldmodels._diffusion import noised, training_noise
from jaxmarl_suite.worldmodels._layers import Conv3, Upsample

PRECONDITIONING = Preconditioning()
# Gains of agents 0..n-1 and standard deviation of the noise that is left, of the exact posterior with one agent per step.
SINGLE = {
    2: ([0.665, 0.323], 0.062),
    3: ([0.351, 0.326, 0.303], 0.102),
    4: ([0.324, 0.223, 0.333, 0.098], 0.104),
    6: ([0.302, 0.193, 0.144, 0.181, 0.118, 0.040], 0.116),
}


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [(5.0, (0.1987, 0.0099, 0.4975, 0.4028)), (0.002, (1.7150, 0.7353, 0.2573, -0.3010))],
)
def test_preconditioning(sigma: float, expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(PRECONDITIONING.scales(sigma), expected, atol=6e-5)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (3, [5, 0.2831, 0.002, 0]),
        (4, [5, 0.8447, 0.0774, 0.002, 0]),
        (6, [5, 1.818, 0.5567, 0.1339, 0.0223, 0.002, 0]),
    ],
)
def test_noise_levels(steps: int, expected: list[float]) -> None:
    np.testing.assert_allclose(karras_grid(steps), expected, atol=5e-4)


def test_targets_have_unit_variance() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    clean = 0.5 * jax.random.normal(keys[0], (200_000, 1), jnp.float32)
    sigma = training_noise(keys[1], (200_000,))
    x = noised(keys[2], clean, sigma, PRECONDITIONING.offset)
    scales = PRECONDITIONING.scales(sigma)
    target = (clean - scales.skip[:, None] * x) / scales.out[:, None]
    assert abs(float(jnp.square(target).mean()) - 1) < 0.02


def test_order_of_agents() -> None:
    key = jax.random.key(0)
    assert [default_steps(n) for n in (1, 2, 3, 6)] == [2, 4, 3, 6]
    assert agent_order(key, 2, 4, "descending").tolist() == [1, 1, 0, 0]
    assert agent_order(key, 3, 3, "ascending").tolist() == [0, 1, 2]
    assert sorted(agent_order(key, 4, 4, "random").tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="multiple of the 3 agents, got 4"):
        agent_order(key, 3, 4, "descending")


def test_shown_agents() -> None:
    order = jnp.array([1, 1, 0, 0])
    assert shown_agents(order, 2, "single").tolist() == [[False, True]] * 2 + [[True, False]] * 2
    assert shown_agents(order, 2, "cumulative").tolist() == [[False, True]] * 2 + [[True, True]] * 2
    assert shown_agents(order, 2, "joint").all()


def test_training_shows_what_the_sampler_shows() -> None:
    key = jax.random.key(1)
    one = np.asarray(training_shown(key, (3000,), 3, "single"))
    assert (one.sum(-1) == 1).all()
    np.testing.assert_allclose(one.mean(0), 1 / 3, atol=0.04)
    some = np.asarray(training_shown(key, (3000,), 3, "cumulative"))
    counts = np.bincount(some.sum(-1), minlength=4)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 3000, 1 / 3, atol=0.04)
    np.testing.assert_allclose(some.mean(0), 2 / 3, atol=0.04)


def gains(n: int, reveal: str, noise_variance: float) -> tuple[jax.Array, jax.Array]:
    """Gains [n] and leftover noise of the sampler with the exact posterior of total variance 0.25."""
    steps = default_steps(n)
    gain = ((0.25 - noise_variance) / n) ** 0.5
    shown = shown_agents(agent_order(jax.random.key(0), n, steps, "descending"), n, reveal)

    def final(actions: jax.Array, x: jax.Array) -> jax.Array:
        return sample_states(exact_denoiser(actions, gain, noise_variance, PRECONDITIONING), x, shown)[0]

    of_actions, of_noise = jax.jit(jax.grad(final, (0, 1)))(jnp.zeros(n), jnp.zeros(1))
    return of_actions / gain, 5 * of_noise[0]


@pytest.mark.parametrize("n", SINGLE)
def test_gains_of_the_exact_posterior(n: int) -> None:
    found, leftover = gains(n, "single", 0.0)
    np.testing.assert_allclose(found, SINGLE[n][0], atol=0.005)
    np.testing.assert_allclose(leftover, SINGLE[n][1], atol=0.005)


def test_everyone_counts_once_all_are_shown() -> None:
    np.testing.assert_allclose(gains(3, "cumulative", 0.0025)[0], [0.973, 0.991, 0.999], atol=0.005)
    np.testing.assert_allclose(gains(3, "joint", 0.0)[0], 1.0, atol=0.005)


def test_a_denoiser_that_knows_the_answer() -> None:
    answer = jax.random.normal(jax.random.key(0), (4, 5), jnp.float32)
    shown = jnp.ones((3, 3), bool)
    found = sample_states(lambda x, sigma, shown: answer, jnp.ones((4, 5)), shown)
    np.testing.assert_array_equal(found, answer)


def test_hidden_actions_have_no_effect() -> None:
    denoiser = make_denoiser(3, 2, 2, history=3, sizes=TINY)
    keys = jax.random.split(jax.random.key(0), 2)
    zeros = jax.jit(denoiser.init)(keys[0])
    leaves, tree = jax.tree.flatten(zeros)
    rng = np.random.default_rng(0)
    noisy = jax.tree.unflatten(tree, [x + rng.standard_normal(x.shape).astype(np.float32) for x in leaves])

    @jax.jit
    def apply(params, actions: jax.Array) -> jax.Array:
        history = jnp.linspace(-1.0, 1.0, 9).reshape(1, 3, 3)
        shown = jnp.array([[True, False]])
        return denoiser.apply(params, jnp.ones((1, 3)), jnp.zeros((1,)), history, actions, shown)

    actions = jnp.linspace(-1.0, 1.0, 12).reshape(1, 3, 2, 2)
    assert not np.asarray(apply(zeros, actions)).any()  # the last layer starts at zero
    base = np.asarray(apply(noisy, actions))
    assert base.any()
    np.testing.assert_array_equal(base, apply(noisy, actions.at[:, -1, 1].add(1.0)))
    for step, agent in ((-1, 0), (0, 0), (1, 1)):  # what is seen: the shown agent's action, and everything before
        assert np.abs(base - apply(noisy, actions.at[:, step, agent].add(1.0))).max() > 1e-4, (step, agent)


def test_convolutions_over_time() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 4, 3), jnp.float32)
    for stride in (1, 2):
        layer = Conv3(5, stride=stride)
        params = layer.init(jax.random.key(1), x)
        kernel = params["params"]["Dense_0"]["kernel"].reshape(3, 3, 5)
        expected = jax.lax.conv_general_dilated(x, kernel, (stride,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC"))
        np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-5)


def test_lengths_and_values_of_the_transposed_convolution() -> None:
    layer = Upsample(5)
    for length in (1, 2):
        x = jax.random.normal(jax.random.key(0), (2, length, 3), jnp.float32)
        params = layer.init(jax.random.key(1), x)
        even, odd = (np.asarray(params["params"][f"Dense_{i}"]["kernel"]).reshape(2, 3, 5) for i in range(2))
        kernel = np.stack([odd[1], even[0], odd[0], even[1]])  # the four taps
        expected = np.zeros((2, 2 * length, 5))
        for i in range(length):
            for tap in range(4):
                place = 2 * i - 1 + tap
                if 0 <= place < 2 * length:
                    expected[:, place] += np.asarray(x)[:, i] @ kernel[tap]
        np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 3])
def test_shapes_for_every_depth(levels: int) -> None:
    sizes = DenoiserSizes(8, levels, 1, 2, 8, 0, 1, 4, 8, 4)
    denoiser = make_denoiser(2, 3, 1, history=3, sizes=sizes)
    shapes = jax.eval_shape(
        lambda key: denoiser.apply(
            denoiser.init(key),
            jnp.zeros((7, 2)),
            jnp.zeros((7,)),
            jnp.zeros((7, 3, 2)),
            jnp.zeros((7, 3, 3, 1)),
            jnp.ones((7, 3), bool),
        ),
        jax.random.key(0),
    )
    assert shapes.shape == (7, 2)


def test_what_cannot_work_is_rejected() -> None:
    with pytest.raises(ValueError, match="history plus 1 must be a multiple of 4"):
        make_denoiser(2, 2, 1, history=2)
    denoiser = make_denoiser(2, 3, 1, history=3)
    with pytest.raises(ValueError, match="reveal must be one of 'single', 'cumulative', 'joint', got 'all'"):
        diffusion_model(denoiser, 3, reveal="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order must be one of"):
        diffusion_model(denoiser, 3, order="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of the 3 agents, got 4"):
        diffusion_model(denoiser, 3, num_steps=4)


@pytest.mark.optimized
def test_gains_of_a_small_trained_network() -> None:
    np.testing.assert_allclose(learned_gains(2, "single", jax.random.key(0)), SINGLE[2][0], atol=0.08)


@pytest.mark.slow
@pytest.mark.optimized
def test_a_small_trained_network_that_sees_everyone() -> None:
    assert float(learned_gains(2, "cumulative", jax.random.key(0), 3000).min()) >= 0.9
