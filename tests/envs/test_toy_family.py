"""The toy family: options, limits, optima, and pictures."""

import itertools

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import DelayReward, Frame, ShowOwed, TimeLimit, Verdict, record_episode, render, render_frames
from jaxmarl_envs.toy import FAMILY, draw_system, lqr
from matplotlib.figure import Figure
from PIL import Image

KEY = jax.random.key(7)


@pytest.mark.parametrize(
    ("env_id", "options", "words"),
    [
        ("toy/pendulun", {}, ["unknown environment 'toy/pendulun'", "did you mean 'toy/pendulum'?"]),
        ("toy/pendulum", {"gravitiy": 9.8}, ["toy/pendulum: unknown option 'gravitiy'", "did you mean 'gravity'?"]),
        ("toy/pendulum", {"goal": "fixed"}, ["unknown option 'goal'", "accepted: delay, dt, gravity"]),
        ("toy/pendulum", {"limit": 0}, ["limit must be an integer from 1 to 100000, got 0"]),
        ("toy/pendulum", {"delay": 0}, ["delay must be an integer from 1", "got 0"]),
        ("toy/pendulum", {"delay": 2.5}, ["delay must be an integer", "got 2.5"]),
        ("toy/pendulum", {"owed": "shown"}, ["owed='shown' needs a delay of at least 2 steps, got 1"]),
        ("toy/pendulum", {"delay": True}, ["delay must be an integer", "got True"]),
        ("toy/pendulum", {"mass": 0}, ["mass must be a number from 1e-06 to 1000000, got 0"]),
        ("toy/pendulum", {"mass": "heavy"}, ["mass must be a number", "got 'heavy'"]),
        ("toy/pendulum", {"gravity": float("nan")}, ["gravity must be a number", "got nan"]),
        ("toy/inverted-pendulum", {"pole_length": -1.0}, ["pole_length must be a number from 1e-06", "got -1.0"]),
        ("toy/point-mass", {"goal": "far"}, ["goal must be 'random' or 'fixed' or 'hidden', got 'far'"]),
        ("toy/linear-team", {"n_agents": 0}, ["n_agents must be an integer from 1 to 100, got 0"]),
        ("toy/linear-team", {"radius": 1.0}, ["radius must be a number from 0 to 0.999, got 1.0"]),
        ("toy/linear-team", {"seed": -1}, ["seed must be an integer from 0", "got -1"]),
        (
            "toy/linear-team",
            {"n_agents": 100, "state_size": 100, "action_size": 100},
            ["n_agents=100", "at most 10000000"],
        ),
        ("toy/puck", {"n_agents": 13}, ["n_agents must be an integer from 1 to 12, got 13"]),
        ("toy/chain", {"length": -3}, ["length must be an integer from 1 to 1000, got -3"]),
        ("toy/chain", {"num_actions": 1}, ["num_actions must be an integer from 2", "got 1"]),
        ("toy/chain", {"slip": 1.5}, ["slip must be a number from 0 to 1, got 1.5"]),
        ("toy/chain", {"wrong": "stay"}, ["wrong must be 'back' or 'end', got 'stay'"]),
    ],
)
def test_errors(env_id, options, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(env_id, **options)
    for word in words:
        assert word in str(error.value)


def test_limits_by_default_and_by_option():
    limits = {v: jaxmarl_envs.make(f"toy/{v}").spec.episode_limit for v in FAMILY.variants}
    assert limits == {
        "pendulum": 200,
        "pendulum-2": 200,
        "inverted-pendulum": 200,
        "point-mass": 100,
        "point-mass-2": 100,
        "linear-team": 50,
        "puck": 50,
        "handover": 75,
        "chain": 100,
        "chain-continuous": 100,
    }
    assert jaxmarl_envs.make("toy/chain", length=7).spec.episode_limit == 14
    for variant in FAMILY.variants:
        assert jaxmarl_envs.make(f"toy/{variant}", limit=9).spec.episode_limit == 9


def test_delay_is_the_wrapper_around_the_time_limit():
    env = jaxmarl_envs.make("toy/pendulum", delay=20)
    assert env == DelayReward(jaxmarl_envs.make("toy/pendulum"), 20) and env.every == 20
    assert jaxmarl_envs.make("toy/pendulum", delay=20, owed="shown") == ShowOwed(env)
    assert isinstance(jaxmarl_envs.make("toy/pendulum", delay=1), TimeLimit)


@pytest.mark.parametrize("variant", FAMILY.variants)
def test_numbers_are_traced_and_sizes_are_not(variant):
    """Tasks that differ in numbers only are the same program; scalars can be swept by name."""
    env = jaxmarl_envs.make(f"toy/{variant}")
    for name, value in vars(env.default_params).items():
        assert isinstance(value, np.ndarray | np.float32) and value.dtype in (np.float32, np.int32)
        if np.ndim(value) == 0:
            other = jaxmarl_envs.make(f"toy/{variant}", **{name: 0.5})
            assert other == env and hash(other) == hash(env) and getattr(other.default_params, name) == 0.5
    assert jaxmarl_envs.make(f"toy/{variant}", limit=3) != env


def test_matrices_and_locks_come_from_the_seed():
    for variant, field in (("linear-team", "drift"), ("chain", "right")):
        one, same, other = (
            getattr(jaxmarl_envs.make(f"toy/{variant}", seed=seed).default_params, field) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
    for seed, radius in itertools.product(range(5), (0.5, 0.99)):
        drift = draw_system(seed, 2, 5, 1, radius)["drift"]
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(drift)).max(), radius, rtol=1e-5)


def episode_returns(env, num, act, horizon):
    """[num] undiscounted returns of `act(t, state)` from the first step to the `horizon`th or the end."""
    params = env.default_params

    def episode(key):
        reset_key, key = jax.random.split(key)
        state, timestep = env.reset(reset_key, params)

        def step(carry, t):
            state, timestep, total, over = carry
            state, timestep = env.step(jax.random.fold_in(key, t), state, act(t, timestep.state), params)
            total = total + jnp.where(over, 0.0, timestep.reward.mean())
            return (state, timestep, total, over | timestep.done), None

        start = (state, timestep, jnp.float32(0), jnp.bool_(False))
        return jax.lax.scan(step, start, jnp.arange(horizon))[0][2]

    return np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(KEY, num)), np.float64)


def test_the_regulator_gets_its_value_and_the_stated_optimum():
    env = jaxmarl_envs.make("toy/linear-team", limit=30)
    params = env.default_params
    solution = lqr(params, 30)
    assert env.spec.optimum == solution.expected_return
    gains = jnp.asarray(solution.gains, jnp.float32)
    zero = jnp.zeros((3, 1))

    def optimal(t, s):
        return -jnp.einsum("ndm,m->nd", gains.at[t].get(), s)

    returns = episode_returns(env, 4000, optimal, 30)
    error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - solution.expected_return) < 3 * error < 0.02 * abs(solution.expected_return)
    idle = episode_returns(env, 500, lambda t, s: zero, 30).mean()
    # Without control the costs are a sum over powers of A alone.
    drift, cost, noise = np.asarray(params.drift, float), np.zeros((4, 4)), 0.0
    for _ in range(30):
        noise, cost = noise + 0.1**2 * np.trace(cost), np.eye(4) / 4 + drift.T @ cost @ drift
    assert idle == pytest.approx(-(0.3**2 * np.trace(cost) + noise), rel=0.1)
    assert idle < 1.3 * solution.expected_return


def test_the_regulator_is_the_minimum_over_all_action_sequences():
    """Without noise the cost of T actions is a quadratic function of all of them: its minimum, by least squares."""
    horizon, discount = 6, 0.9
    params = jaxmarl_envs.make("toy/linear-team", n_agents=2, action_size=2, noise=0.0, action_cost=0.4).default_params
    solution, action_cost = lqr(params, horizon, discount), float(params.action_cost)
    drift = np.asarray(params.drift, float)
    control = np.concatenate(list(np.asarray(params.control, float)), axis=1)  # [M, N D]
    first = np.array([1.0, -2.0, 0.5, 3.0])
    rows, values = [], []
    for t in range(horizon):  # weighted rows: s_t / sqrt(M) and a_t sqrt(r / (N D))
        moved = np.zeros((4, horizon, 4))
        for k in range(t):
            moved[:, k] = np.linalg.matrix_power(drift, t - 1 - k) @ control
        weight = discount ** (t / 2)
        rows.append(weight / 2 * moved.reshape(4, -1))
        values.append(-weight / 2 * np.linalg.matrix_power(drift, t) @ first)
        own = np.zeros((4, horizon, 4))
        own[:, t] = np.eye(4) * np.sqrt(action_cost / 4)
        rows.append(weight * own.reshape(4, -1))
        values.append(np.zeros(4))
    matrix, target = np.concatenate(rows), np.concatenate(values)
    best, *_ = np.linalg.lstsq(matrix, target, rcond=None)
    assert first @ solution.costs[0] @ first == pytest.approx(((matrix @ best - target) ** 2).sum(), rel=1e-9)
    np.testing.assert_allclose(-solution.gains[0].reshape(4, 4) @ first, best[:4], rtol=1e-7)


@pytest.mark.parametrize("options", [{"interaction": 0.1}, {"start": 3.0}, {"action_cost": 0.01}, {"action_cost": 0.0}])
def test_no_optimum_where_the_regulator_is_not_it(options):
    assert jaxmarl_envs.make("toy/linear-team", **options).spec.optimum is None


def test_lqr_refuses_what_has_no_solution():
    params = jaxmarl_envs.make("toy/linear-team", action_cost=0.0).default_params
    with pytest.raises(ValueError, match="action_cost must be positive, got 0"):
        lqr(params, 5)
    with pytest.raises(ValueError, match="horizon must be at least 1 step, got 0"):
        lqr(params, 0)


def test_inverted_pendulum_can_be_balanced_to_its_optimum():
    env = jaxmarl_envs.make("toy/inverted-pendulum")
    gains = jnp.array([0.1, 0.2, 3.0, 0.6])
    returns = episode_returns(env, 100, lambda t, s: (s @ gains).reshape(1, 1), 200)
    assert (returns == env.spec.optimum).all() and env.spec.optimum == 200
    assert jaxmarl_envs.make("toy/inverted-pendulum", limit=70).spec.optimum == 70
    assert jaxmarl_envs.make("toy/inverted-pendulum", max_force=0.0).spec.optimum is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"length": 50}, 1.0),
        ({"length": 50, "limit": 49}, 0.0),
        ({"length": 3, "slip": 0.2, "wrong": "end"}, 0.8**3),
        # Three in a row among five steps: at once, after one slip, or after two steps of which the second slips.
        ({"length": 3, "slip": 0.2, "limit": 5}, 0.8**3 * (1 + 0.2 + 0.2)),
    ],
)
def test_chain_s_optimum(options, expected):
    assert jaxmarl_envs.make("toy/chain", **options).spec.optimum == pytest.approx(expected, abs=1e-7)


def test_chain_slips_as_often_as_it_says():
    env = jaxmarl_envs.make("toy/chain", length=3, slip=0.2, limit=5)
    right = jnp.asarray(env.default_params.right)
    returns = episode_returns(env, 4000, lambda t, s: right.at[s.argmax()].get(), 5)
    assert returns.mean() == pytest.approx(env.spec.optimum, abs=0.025)


@pytest.mark.parametrize("variant", FAMILY.variants)
def test_every_task_is_drawn(variant, tmp_path):
    env = jaxmarl_envs.make(f"toy/{variant}", limit=2)
    spec = env.spec
    start = np.zeros(1, np.int32) if spec.is_discrete else np.full((spec.n_agents, spec.action_dim), 0.7, np.float32)
    episode = record_episode(env, KEY, lambda key, timestep: start)
    frames = render_frames(env, episode)
    assert len(frames) == 3 and all(frame.shape == (480, 640, 3) and frame.dtype == np.uint8 for frame in frames)
    assert (frames[0] != frames[1]).any() and (frames[1] != frames[2]).any()
    if variant in ("pendulum", "chain"):
        with Image.open(render(env, episode, tmp_path / "episode.gif")) as gif:
            assert gif.n_frames == 3
        with Image.open(render(env, episode, tmp_path / "last.png", frame=-1)) as last:
            assert last.size == (640, 480)


def last_verdict(env_id, actions, **options):
    """What the picture of the last step says of the episode."""
    env, rows = jaxmarl_envs.make(env_id, **options), iter(actions)
    episode = record_episode(env, KEY, lambda key, timestep: jnp.asarray(next(rows)))
    before, after = (jax.tree.map(lambda x, t=t: x[t], episode.states) for t in (-2, -1))
    frame = Frame(
        step=len(episode),
        state=after,
        previous=before,
        action=episode.actions[-1],
        reward=float(episode.rewards[-1].mean()),
        episode_return=float(episode.rewards.mean(axis=1).sum()),
        terminated=bool(episode.terminated[-1]),
        truncated=bool(episode.truncated[-1]),
        params=env.default_params,
    )
    return env.unwrapped.draw(Figure().add_axes((0, 0, 1, 1)), frame)


def test_endings_are_told_apart_in_pictures():
    right = jaxmarl_envs.make("toy/chain", length=2).default_params.right
    assert last_verdict("toy/chain", right, length=2) == Verdict("left the last cell", True)
    wrong = [right[0], 1 - right[1]]
    assert last_verdict("toy/chain", wrong, length=2, wrong="end") == Verdict("wrong in cell 1", False)
    assert last_verdict("toy/chain", 1 - right[[0, 0]], length=2, limit=2) == Verdict("out of time", False)
    fall = np.ones((60, 1, 1), np.float32)
    assert last_verdict("toy/inverted-pendulum", fall) == Verdict("the pole fell", False)
    idle = np.zeros((1, 1, 2), np.float32)
    assert last_verdict("toy/point-mass", idle, limit=1) == Verdict("not at the goal", False)
