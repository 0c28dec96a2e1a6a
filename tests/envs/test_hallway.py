"""The rules of the hallway, one by one."""

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs.hallway import Hallway, HallwayState
from jaxmarl_envs.hallway._env import digits
from scipy import stats

KEY = jax.random.key(3)
STAY, CLOSER, AWAY = 0, 1, 2


def after(lengths, x, action):
    env = Hallway(lengths)
    state, timestep = env.step(KEY, HallwayState(jnp.array(x, jnp.int32)), jnp.array(action, jnp.int32), ())
    return state.x.tolist(), timestep


@pytest.mark.parametrize(
    ("x", "action", "expected"),
    [
        ((2, 3), (STAY, STAY), [2, 3]),
        ((2, 3), (CLOSER, AWAY), [1, 4]),
        ((2, 3), (AWAY, CLOSER), [2, 2]),  # agent 0's corridor has length 2: it cannot go further
        ((1, 6), (STAY, AWAY), [1, 6]),
    ],
)
def test_moves_within_the_corridors(x, action, expected):
    moved, timestep = after((2, 6), x, action)
    assert moved == expected
    assert not timestep.done and timestep.reward.tolist() == [0, 0] and timestep.metrics["win"] == 0


def test_all_home_at_once_wins():
    x, timestep = after((2, 6, 10), (1, 1, 1), (CLOSER,) * 3)
    assert x == [0, 0, 0]
    assert timestep.terminated and not timestep.truncated
    assert timestep.reward.tolist() == [10, 10, 10] and timestep.metrics["win"] == 1


@pytest.mark.parametrize("action", [(CLOSER, STAY, STAY), (CLOSER, CLOSER, STAY), (CLOSER, CLOSER, AWAY)])
def test_some_but_not_all_home_ends_with_nothing(action):
    _, timestep = after((2, 6, 10), (1, 1, 1), action)
    assert timestep.terminated and timestep.reward.tolist() == [0, 0, 0] and timestep.metrics["win"] == 0


def test_zero_is_the_floor_and_a_finished_episode_pays_nothing():
    x, timestep = after((4, 4), (0, 0), (CLOSER, CLOSER))
    assert x == [0, 0] and timestep.terminated and timestep.reward.tolist() == [0, 0] and timestep.metrics["win"] == 0


def test_starts_are_uniform_and_independent():
    env = jaxmarl_envs.make("hallway/2-6-10")
    state, _ = jax.jit(jax.vmap(env.reset, (0, None)))(jax.random.split(KEY, 6000), ())
    x = np.asarray(state.inner.x)
    for i, length in enumerate((2, 6, 10)):
        counts = np.bincount(x[:, i], minlength=length + 1)
        assert counts[0] == 0 and len(counts) == length + 1
        np.testing.assert_allclose(counts[1:] / 6000, 1 / length, atol=0.03)
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 0.05


def starts(lengths, num=40_000):
    state, _ = jax.jit(jax.vmap(Hallway(lengths).reset, (0, None)))(jax.random.split(KEY, num), ())
    return np.asarray(state.x)


def test_joint_starts_are_uniform():
    counts = np.bincount(np.ravel_multi_index(starts((4, 4)).T - 1, (4, 4)), minlength=16)
    assert len(counts) == 16 and stats.chisquare(counts).pvalue > 0.01


def test_more_joint_starts_than_one_draw_tells_apart():
    x = starts((257, 256))
    assert x.min() == 1 and x.max(0).tolist() == [257, 256]
    for i, length in enumerate((257, 256)):
        assert stats.chisquare(np.bincount(x[:, i] - 1, minlength=length)).pvalue > 0.01
    blocks = np.bincount(np.ravel_multi_index((x.T - 1) // 65, (4, 4)), minlength=16)  # 65, 65, 65 and the rest
    expected = np.outer(*([65 / n, 65 / n, 65 / n, (n - 195) / n] for n in (257, 256))).ravel()
    assert stats.chisquare(blocks, len(x) * expected).pvalue > 0.01


@pytest.mark.parametrize(
    "bases", [(1,), (4, 4), (2, 6, 10), (7, 3, 5, 11), (65_536,), (1, 65_536), (256, 256), (40,) * 3]
)
def test_digits_are_those_of_integer_division(bases):
    numbers = np.arange(np.prod(bases), dtype=np.int32)
    expected = np.stack(np.unravel_index(numbers, bases), axis=-1)
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda number: digits(number, bases)))(numbers), expected)


def test_observation_is_the_own_cell_and_state_is_all():
    env = jaxmarl_envs.make("hallway/2-4")
    assert env.spec.obs_shape == (5,) and env.spec.state_size == 10
    _, timestep = after((2, 4), (2, 3), (STAY, STAY))
    assert timestep.obs.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert timestep.state.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 1, 0]


def test_time_limit_truncates_at_longest_plus_ten():
    env = jaxmarl_envs.make("hallway/4-4")
    step = jax.jit(env.step)
    state, timestep = env.reset(KEY, ())
    for t in range(1, 15):
        state, timestep = step(KEY, state, jnp.zeros(2, jnp.int32), ())
        assert bool(timestep.truncated) == (t == 14) and not timestep.terminated
    assert env.spec.episode_limit == 14


def test_an_end_at_the_limit_is_a_termination():
    env = jaxmarl_envs.make("hallway/1-1")
    step = jax.jit(env.step)
    state, _ = env.reset(KEY, ())
    for _ in range(10):
        state, _ = step(KEY, state, jnp.zeros(2, jnp.int32), ())
    _, timestep = step(KEY, state, jnp.ones(2, jnp.int32), ())
    assert timestep.terminated and not timestep.truncated and timestep.reward[0] == 10


def test_waiting_for_the_clock_always_wins():
    """Uses nothing but the own observation: cell and fraction of time passed."""
    env = jaxmarl_envs.make("hallway/2-6-10", clock=True)
    assert env.spec.obs_shape == (12,) and env.spec.state_size == 34

    def episode(key):
        state, timestep = env.reset(key, ())

        def step(carry, _):
            state, timestep, total, over = carry
            x, t = timestep.obs[:, :11].argmax(-1), jnp.round(timestep.obs[:, 11] * 20).astype(jnp.int32)
            action = (t >= 10 - x).astype(jnp.int32)
            state, timestep = env.step(key, state, action, ())
            total = total + jnp.where(over, 0.0, timestep.reward[0])
            return (state, timestep, total, over | timestep.done), None

        return jax.lax.scan(step, (state, timestep, jnp.float32(0), jnp.bool_(False)), None, 20)[0][2]

    returns = jax.jit(jax.vmap(episode))(jax.random.split(KEY, 50))
    np.testing.assert_array_equal(returns, env.spec.optimum)


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("0-4", {}, ["at least 1", "(0, 4)"]),
        ("four", {}, ["'hallway/four'", "L1-L2-"]),
        ("4-4", {"clok": True}, ["'clok'", "clock"]),
        ("4-4", {"clock": 1}, ["clock", "True or False", "1"]),
        ("99999999-1", {}, ["at most 10000000"]),
    ],
)
def test_errors(variant, options, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(f"hallway/{variant}", **options)
    for word in words:
        assert word in str(error.value)
