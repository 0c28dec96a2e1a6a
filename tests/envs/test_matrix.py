"""Matrix games against hand-computed values and independent brute force."""

import itertools

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs.matrix import MatrixGame, MatrixParams

KEY = jax.random.key(7)


def payoff_matrix(env_id, **options):
    """What every joint action pays in the first step, [A, ..., A], by stepping through them all in one batch."""
    env = jaxmarl_envs.make(env_id, **options)
    n, a = env.spec.n_agents, env.spec.num_actions
    joint = jnp.array(list(itertools.product(range(a), repeat=n)), jnp.int32)
    state, _ = env.reset(KEY, env.default_params)
    _, timestep = jax.jit(jax.vmap(env.step, (None, None, 0, None)))(KEY, state, joint, env.default_params)
    np.testing.assert_array_equal(timestep.reward, np.tile(np.asarray(timestep.reward[:, :1]), n))
    return np.asarray(timestep.reward[:, 0]).reshape((a,) * n)


def play(env, *joint_actions, key=KEY, params=None):
    """The time steps of an episode of fixed actions, the first from reset."""
    params = env.default_params if params is None else params
    state, timestep = env.reset(key, params)
    timesteps = [timestep]
    for action in joint_actions:
        state, timestep = env.step(key, state, jnp.array(action, jnp.int32), params)
        timesteps.append(timestep)
    return timesteps


TABLES = {
    "climbing": [[11, -30, 0], [-30, 7, 6], [0, 0, 5]],
    "penalty": [[10, 0, -20], [0, 2, 0], [-20, 0, 10]],
    "penalty-100": [[10, 0, -100], [0, 2, 0], [-100, 0, 10]],
    "penalty-0.5": [[10, 0, -0.5], [0, 2, 0], [-0.5, 0, 10]],
    "xor": [[0, 1], [1, 0]],
    "G1": [[8, -12, -12], [-12, 0, 0], [-12, 0, 0]],
    "G3": [[8, -12, -12], [-12, 6, 0], [-12, 0, 6]],
    "Gw": [[10.4, 0, 10], [0, 10, 10], [10, 10, 10]],
    "M1": [[8, -12, -12], [-12, 0, 0], [-12, 0, 0]],
    "M2": [[0, 0, -12], [0, 0, -12], [-12, -12, 8]],
    "M3": [[10, -10, -10], [-10, 9, 0], [-10, 0, 9]],
    "M4": [[2, 6, 10], [2, 4, 9], [1, 2, 3]],
}


@pytest.mark.parametrize("variant", TABLES)
def test_payoffs(variant):
    np.testing.assert_allclose(payoff_matrix(f"matrix/{variant}"), np.array(TABLES[variant], np.float32))


@pytest.mark.parametrize(
    ("variant", "optimum"),
    [("climbing", 11), ("penalty", 10), ("penalty-100", 10), ("xor", 1), ("G1", 8), ("G3", 8), ("Gw", 10.4),
     ("M1", 80), ("M2", 80), ("M3", 100), ("M4", 100), ("two-step", 8), ("mmdp", 100)],
)  # fmt: skip
def test_stated_optima(variant, optimum):
    assert jaxmarl_envs.make(f"matrix/{variant}").spec.optimum == pytest.approx(optimum)


def test_one_shot_game():
    env = jaxmarl_envs.make("matrix/climbing")
    first, last = play(env, (1, 2))
    assert first.obs.tolist() == [[1.0], [1.0]] == last.obs.tolist()
    assert first.state.tolist() == [1.0] == last.state.tolist()
    assert not first.done and first.reward.tolist() == [0.0, 0.0]
    assert last.reward.tolist() == [6.0, 6.0] and last.terminated and not last.truncated
    assert env.spec.episode_limit == 1


def test_stepping_a_finished_game_pays_nothing():
    _, _, after = play(jaxmarl_envs.make("matrix/climbing"), (0, 0), (0, 0))
    assert after.reward.tolist() == [0.0, 0.0] and after.terminated


def test_three_players_are_indexed_with_agent_zero_first():
    table = payoff_matrix("matrix/random-3x5")
    env = jaxmarl_envs.make("matrix/random-3x5")
    np.testing.assert_array_equal(table.ravel(), np.asarray(env.default_params.payoff)[0])
    assert play(env, (4, 0, 2))[-1].reward[0] == table[4, 0, 2]
    assert env.spec.optimum == pytest.approx(table.max())


def test_random_payoffs_are_seeded_standard_normal():
    table = np.asarray(jaxmarl_envs.make("matrix/random-4x10", seed=3).default_params.payoff)
    again = np.asarray(jaxmarl_envs.make("matrix/random-4x10", seed=3).default_params.payoff)
    other = np.asarray(jaxmarl_envs.make("matrix/random-4x10").default_params.payoff)
    np.testing.assert_array_equal(table, again)
    assert (table != other).all()
    assert abs(table.mean()) < 0.05 and abs(table.std() - 1) < 0.05


def test_repeated_game_shows_the_steps_and_terminates_at_ten():
    env = jaxmarl_envs.make("matrix/M4")
    timesteps = play(env, *[(0, 2)] * 10)
    assert [bool(t.terminated) for t in timesteps] == [False] * 10 + [True]
    assert not any(bool(t.truncated) for t in timesteps)
    assert sum(float(t.reward[0]) for t in timesteps) == 100
    shown = np.array([t.obs for t in timesteps])
    np.testing.assert_allclose(shown, np.tile(np.linspace(0, 1, 11)[:, None, None], (1, 2, 1)), rtol=1e-6)
    np.testing.assert_allclose([t.state for t in timesteps], np.linspace(0, 1, 11)[:, None], rtol=1e-6)


def test_horizon_option():
    env = jaxmarl_envs.make("matrix/climbing", horizon=3)
    assert env.spec.optimum == 33 and env.spec.episode_limit == 3
    assert [bool(t.done) for t in play(env, *[(2, 2)] * 3)] == [False, False, False, True]


def test_two_step_game():
    env = jaxmarl_envs.make("matrix/two-step")
    returns = {}
    for first in itertools.product(range(2), repeat=2):
        for second in itertools.product(range(2), repeat=2):
            start, middle, end = play(env, first, second)
            assert start.obs.tolist() == [[1, 0, 0]] * 2 and not middle.done and end.terminated
            assert middle.reward.tolist() == [0, 0]
            assert middle.state.tolist() == ([0, 1, 0] if first[0] == 0 else [0, 0, 1])  # agent 1's choice is nothing
            returns[first, second] = float(end.reward[0])
    for (first, second), value in returns.items():
        assert value == (7 if first[0] == 0 else [[0, 1], [1, 8]][second[0]][second[1]])
    assert max(returns.values()) == env.spec.optimum == 8


def test_mmdp():
    env = jaxmarl_envs.make("matrix/mmdp")
    stay, leave, absorbed = (0, 0), (1, 1), (0, 0)
    timesteps = play(env, stay, (0, 1), (1, 0), leave, absorbed, leave)
    assert [t.reward[0].item() for t in timesteps] == [0, 1, 0, 0, 0, 0, 0]
    assert [t.state.tolist() for t in timesteps] == [[0, 1]] * 4 + [[1, 0]] * 3
    assert timesteps[0].obs.tolist() == [[0, 1]] * 2
    assert not any(bool(t.done) for t in timesteps)


def test_mmdp_limit_truncates_and_never_terminates():
    env = jaxmarl_envs.make("matrix/mmdp")

    def step(state, _):
        state, timestep = env.step(KEY, state, jnp.zeros(2, jnp.int32), env.default_params)
        return state, (timestep.reward[0], timestep.terminated, timestep.truncated)

    state, _ = env.reset(KEY, env.default_params)
    _, (reward, terminated, truncated) = jax.lax.scan(step, state, None, 100)
    assert reward.sum() == 100 == env.spec.optimum == env.spec.episode_limit
    assert not terminated.any() and truncated.tolist() == [False] * 99 + [True]


def brute_force(env, params, horizon):
    """Best expected return by trying every joint action in every state, with the environment's own step."""
    game = env.unwrapped if isinstance(env, jaxmarl_envs.Wrapper) else env
    joint = jnp.array(list(itertools.product(range(game.num_actions), repeat=game.n_agents)), jnp.int32)
    step = jax.jit(jax.vmap(game.step, (None, None, 0, None)))
    state, _ = game.reset(KEY, params)
    table = {}
    for stage in range(game.n_stages):
        following, timestep = step(
            KEY, jax.tree.map(lambda s, stage=stage: jnp.full_like(s, stage), state), joint, params
        )
        table[stage] = list(
            zip(np.asarray(timestep.reward)[:, 0], np.asarray(following.stage), np.asarray(timestep.done))
        )

    def value(stage, steps):
        if steps == 0:
            return 0.0
        return max(float(r) + (0.0 if done else values[steps - 1][int(s)]) for r, s, done in table[stage])

    values = [[0.0] * game.n_stages]
    for steps in range(1, horizon + 1):
        values.append([value(stage, steps) for stage in range(game.n_stages)])
    return np.mean(values[horizon]) if game.start is None else values[horizon][game.start]


@pytest.mark.parametrize(
    "env_id", ["matrix/climbing", "matrix/M3", "matrix/multitask-2x3", "matrix/two-step", "matrix/mmdp"]
)
def test_optimum_equals_brute_force(env_id):
    env = jaxmarl_envs.make(env_id)
    assert env.spec.optimum == pytest.approx(brute_force(env, env.default_params, env.spec.episode_limit), rel=1e-6)


def test_optimum_of_a_random_game_in_stages():
    rng = np.random.default_rng(5)
    game = MatrixGame(
        n_agents=2, num_actions=2, n_stages=3, start=0, one_hot=True, episode_limit=None, id="test/stages",
        default_params=MatrixParams(
            payoff=rng.standard_normal((3, 4)).astype(np.float32),
            successor=rng.integers(0, 4, (3, 4)).astype(np.int32),
        ),
    )  # fmt: skip
    assert game.spec.optimum is None
    env = jaxmarl_envs.TimeLimit(game, 6)
    assert env.spec.optimum == pytest.approx(brute_force(env, env.default_params, 6), rel=1e-6)


def test_multitask_draws_every_game_and_shows_which():
    env = jaxmarl_envs.make("matrix/multitask-2x3", num_games=4, seed=2)
    keys = jax.random.split(KEY, 2000)
    _, timestep = jax.vmap(env.reset, (0, None))(keys, env.default_params)
    game = np.asarray(timestep.state.argmax(-1))
    np.testing.assert_array_equal(timestep.state.sum(-1), 1)
    np.testing.assert_array_equal(timestep.obs, np.tile(np.asarray(timestep.state)[:, None], (1, 2, 1)))
    np.testing.assert_allclose(np.bincount(game, minlength=4) / 2000, 0.25, atol=0.04)
    key = keys[int(np.argmax(game == 3))]
    assert play(env, (1, 2), key=key)[-1].reward[0] == np.asarray(env.default_params.payoff)[3, 5]
    assert env.spec.optimum == pytest.approx(np.asarray(env.default_params.payoff).max(1).mean(), rel=1e-6)


def test_games_of_one_shape_are_equal_and_share_a_program():
    traces = []

    @jax.jit
    def run(params):
        traces.append(1)
        state, _ = climbing.reset(KEY, params)
        return climbing.step(KEY, state, jnp.zeros(2, jnp.int32), params)[1].reward[0]

    climbing, penalty = jaxmarl_envs.make("matrix/climbing"), jaxmarl_envs.make("matrix/penalty")
    assert climbing == penalty and hash(climbing) == hash(penalty)
    assert climbing.spec == penalty.spec and climbing.spec.id != penalty.spec.id
    assert climbing != jaxmarl_envs.make("matrix/xor") != jaxmarl_envs.make("matrix/two-step")
    assert run(climbing.default_params) == 11 and run(penalty.default_params) == 10
    assert len(traces) == 1


def test_payoffs_vary_between_lanes_of_one_program():
    env = jaxmarl_envs.make("matrix/G1")
    lanes = [jaxmarl_envs.make(f"matrix/{v}").default_params for v in ("climbing", "penalty", "G3")]
    params = jax.tree.map(lambda *x: jnp.stack(x), *lanes)

    def reward(params):
        return play(env, (1, 1), params=params)[-1].reward[0]

    assert jax.vmap(reward)(params).tolist() == [7, 2, 6]


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("random-0x3", {}, ["matrix/random-0x3", "0 agents", "at least 1 agent"]),
        ("random-2x1", {}, ["1 actions", "2 actions"]),
        ("random-9x9", {}, ["9**9", "10000000"]),
        ("random-99999x99999", {}, ["99999**99999", "10000000"]),
        ("multitask-2x1000", {"num_games": 11}, ["11 x 1000**2"]),
        ("climbing", {"horizon": 0}, ["horizon", "at least 1", "0"]),
        ("climbing", {"horizon": 1.5}, ["horizon", "integer", "1.5"]),
        ("climbing", {"seed": 1}, ["'seed'", "accepted: horizon"]),
        ("random-2x3", {"seed": -1}, ["seed", "at least 0", "-1"]),
        ("multitask-2x3", {"num_games": 0}, ["num_games", "at least 1"]),
        ("mmdp", {"limit": 3}, ["'limit'", "no options"]),
        ("climbin", {}, ["'matrix/climbin'", "did you mean 'matrix/climbing'", "random-NxA"]),
    ],
)
def test_errors(variant, options, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(f"matrix/{variant}", **options)
    for word in words:
        assert word in str(error.value)


def test_tables_of_the_wrong_shape_are_refused():
    params = MatrixParams(payoff=np.zeros((1, 5), np.float32), successor=np.ones((1, 1), np.int32))
    with pytest.raises(ValueError, match=r"payoff needs a shape \[1, 4\], got \[1, 5\]"):
        MatrixGame(2, 2, 1, 0, True, 1, "test/bad", params)
