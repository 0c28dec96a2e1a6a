"""gymnax: its own episodes step for step, ends told apart, repairs, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import TimeLimit, adapters, check_environment
from jaxmarl_envs.adapters._from_gymnax import quiet

from jaxmarl_suite.runner._environments import Environments
from tests.envs.adapter_tools import assert_same, needs

pytestmark = needs("gymnax")
KEY = jax.random.key(5)
STEPS = 60
LIMITS = {"catch": 5, "deep-sea": 8}
"""Catch is cut before its end, in deep sea both ends fall together; others have 25 steps."""
SHAPES = {
    "asterix": ((10, 10, 4), 5),
    "breakout": ((10, 10, 4), 3),
    "freeway": ((10, 10, 7), 3),
    "space-invaders": ((10, 10, 6), 4),
    "catch": ((10, 5), 3),
    "deep-sea": ((8, 8), 2),
    "cartpole": ((4,), 2),
}
SLOW = {"asterix", "freeway", "space-invaders"}
"""Games that take long to compile; breakout stands for them by default."""
GAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in SHAPES]


def side_by_side(env, actions):
    """`(ours, theirs)` [T, ...]: both with gymnax's own restarts, from the same keys.

    Ours is stepped and reset by hand with the halves into which gymnax's `step` splits its key.
    """
    game, params = env.unwrapped.env, env.default_params
    theirs = params.inner

    def body(carry, given):
        key, action = given
        state, (_, inner) = carry
        step_key, reset_key = jax.random.split(key)
        following, shown = env.step(step_key, state, action[None], params)
        fresh, first = env.reset(reset_key, params)
        state = jax.tree.map(lambda new, old: jnp.where(shown.done, new, old), fresh, following)
        with quiet():
            obs, inner, reward, done, _ = game.step(key, inner, action, theirs)
        seen = jnp.where(shown.done, first.obs[0], shown.obs[0])
        return (state, (obs, inner)), ((seen, shown), (obs, reward, done, inner))

    @jax.jit
    def run(key, actions):
        key, start = jax.random.split(key)
        with quiet():
            begun = game.reset(start, theirs)
        state, first = env.reset(start, params)
        keys = jax.random.split(key, len(actions))
        return (first.obs[0], begun[0]), jax.lax.scan(body, (state, begun), (keys, actions))[1]

    return jax.tree.map(np.asarray, run(KEY, actions))


@pytest.mark.parametrize("name", GAMES)
def test_episodes_are_gymnaxs(name):
    limit = LIMITS.get(name, 25)
    env = jaxmarl_envs.make(f"gymnax/{name}", time_limit=limit)
    shape, num_actions = SHAPES[name]
    spec = env.spec
    assert (spec.obs_shape, spec.num_actions, spec.n_agents) == (shape, num_actions, 1)
    assert (spec.state_size, spec.episode_limit, spec.id) == (np.prod(shape), limit, f"gymnax/{name}")
    actions = np.random.default_rng(2).integers(num_actions, size=STEPS).astype(np.int32)
    (first, began), ((seen, shown), (obs, reward, done, _)) = side_by_side(env, actions)
    # Numbers of the cart are rounded as XLA puts the operations together; grids are equal bit for bit.
    same = partial(np.testing.assert_allclose, rtol=0, atol=1e-5) if name == "cartpole" else assert_same
    same(first, began)
    same(seen, obs)
    assert_same(shown.reward[:, 0], reward)
    assert_same(shown.terminated | shown.truncated, done)
    assert_same(shown.state, shown.obs.reshape(STEPS, -1))
    assert shown.action_mask.all() and done.any()
    # Ends: gymnax's at the limit are truncations, unless the game ended in that very step.
    begins = np.concatenate([[0], np.flatnonzero(done)[:-1] + 1])
    lengths = np.flatnonzero(done) + 1 - begins
    over = ENDS[name](shown.obs[done, 0], lengths)
    assert_same(shown.terminated[done], over)
    assert_same(shown.truncated[done], ~over)
    assert (shown.truncated[done] <= (lengths == limit)).all()


ENDS = {
    "asterix": lambda obs, lengths: lengths < 25,
    "breakout": lambda obs, lengths: obs[:, 9, :, 1].any(-1),  # the ball is in the last row
    "freeway": lambda obs, lengths: np.zeros(len(obs), bool),
    "space-invaders": lambda obs, lengths: lengths < 25,
    "catch": lambda obs, lengths: lengths == 9,
    "deep-sea": lambda obs, lengths: lengths == 8,
    "cartpole": lambda obs, lengths: (np.abs(obs[:, 0]) > 2.4) | (np.abs(obs[:, 2]) > 12 * 2 * np.pi / 360),
}


@pytest.mark.parametrize("name", GAMES)
def test_the_family_keeps_the_protocol(name):
    check_environment(jaxmarl_envs.make(f"gymnax/{name}", time_limit=30))


def test_after_a_termination_nothing_is_paid():
    env = jaxmarl_envs.make("gymnax/catch", rows=3, columns=2)
    step = jax.jit(env.step)
    state, _ = env.reset(KEY, env.default_params)
    seen = []
    for _ in range(5):  # gymnax itself would begin another ball after the second step
        state, shown = step(KEY, state, jnp.ones(1, jnp.int32), env.default_params)
        seen.append((abs(float(shown.reward[0])), bool(shown.terminated), bool(shown.truncated)))
    assert seen == [(0, False, False), (1, True, False), (0, True, False), (0, True, False), (0, True, False)]


def test_deep_sea_with_actions_drawn_for_every_cell():
    size, cost = 4, 0.25
    env = jaxmarl_envs.make("gymnax/deep-sea", size=size, randomize_actions=True, seed=3, unscaled_move_cost=cost)
    mapping = np.random.default_rng(3).integers(2, size=(size, size))
    assert 0 < mapping.sum() < mapping.size and env.spec.optimum == 1 - cost
    step = jax.jit(env.step)
    for turn in range(size + 1):  # go left at this depth; never at the last
        state, _ = env.reset(KEY, env.default_params)
        column, total = 0, 0.0
        for row in range(size):
            right = row != turn
            action = mapping[row, column] if right else 1 - mapping[row, column]
            state, shown = step(KEY, state, jnp.array([action], jnp.int32), env.default_params)
            column = column + 1 if right else max(column - 1, 0)
            total += float(shown.reward[0])
        assert bool(shown.terminated)
        moves = size if turn == size else size - 1
        assert total == pytest.approx((turn == size) - cost * moves / size)
    plain = jaxmarl_envs.make("gymnax/deep-sea", size=size)
    assert plain.unwrapped == jaxmarl_envs.make("gymnax/deep-sea", size=size, unscaled_move_cost=0.5).unwrapped
    assert plain.unwrapped != env.unwrapped


def test_numbers_are_traced_and_sizes_are_not():
    env = jaxmarl_envs.make("gymnax/cartpole", gravity=0, masscart=2)
    params = env.default_params.inner
    assert (params.gravity, params.masscart) == (0, 2) and params.gravity.dtype == np.float32
    np.testing.assert_allclose([params.total_mass, params.polemass_length], [2.1, 0.05], rtol=1e-6)
    standard = jaxmarl_envs.make("gymnax/cartpole")
    assert env == standard and (env.spec.optimum, standard.spec.optimum) == (None, 500.0)
    assert jaxmarl_envs.make("gymnax/catch", rows=5) != jaxmarl_envs.make("gymnax/catch")
    assert jaxmarl_envs.make("gymnax/breakout", use_minimal_action_set=False).spec.num_actions == 6


def test_grids_go_through_the_family():
    """What follows from an option follows in a sweep, too, and what the family refuses is refused."""

    def params(env_id, given, **overrides):
        return Environments(env_id, given).get(overrides).params.inner

    heavy = params("gymnax/cartpole", {}, masscart=2.0, length=1.0)
    np.testing.assert_allclose([heavy.total_mass, heavy.polemass_length], [2.1, 0.1], rtol=1e-6)
    deep_sea = Environments("gymnax/deep-sea", {})
    assert deep_sea.get({"randomize_actions": True}).env != deep_sea.get({"randomize_actions": False}).env
    for env_id, name in (("cartpole", "total_mass"), ("asterix", "shot_cool_down"), ("catch", "max_steps_in_episode")):
        with pytest.raises(ValueError, match=f"unknown option '{name}'"):
            params(f"gymnax/{env_id}", {}, **{name: 7})
        with pytest.raises(ValueError, match=f"unknown option '{name}'"):
            params(f"gymnax/{env_id}", {name: 7})
    with pytest.raises(ValueError, match="nothing would move"):
        params("gymnax/asterix", {}, init_move_interval=2)


def test_optima_that_the_time_limit_puts_out_of_reach_are_not_stated():
    for game, steps, optimum in (("catch", 9, 1.0), ("deep-sea", 8, 0.99)):
        within, too_short = (jaxmarl_envs.make(f"gymnax/{game}", time_limit=limit) for limit in (steps, steps - 1))
        assert within.spec.optimum == pytest.approx(optimum) and too_short.spec.optimum is None


def test_from_gymnax_takes_what_gymnax_makes():
    import gymnax

    with quiet():
        env = adapters.from_gymnax(*gymnax.make("MountainCar-v0"))
    assert isinstance(env, TimeLimit) and env.spec.episode_limit == 200
    assert env.spec.id == "gymnax/MountainCar" and env.spec.obs_shape == (2,) and env.spec.num_actions == 3
    named = adapters.from_gymnax(env.unwrapped.env, id="my/car", obs_bounds=(-2.0, 2.0), optimum=-90.0)
    assert (named.spec.id, named.spec.obs_bounds, named.spec.optimum) == ("my/car", (-2.0, 2.0), -90.0)
    check_environment(env, num_steps=20)


def test_from_gymnax_refuses_what_it_cannot_take():
    import gymnax

    with quiet():
        pendulum, params = gymnax.make("Pendulum-v1")
        car = gymnax.make("MountainCar-v0")
    with pytest.raises(ValueError, match="Pendulum: from_gymnax takes environments with discrete actions, got Box"):
        adapters.from_gymnax(pendulum, params)
    with pytest.raises(ValueError, match=r"got a tuple without reset_env; gymnax.make returns a pair"):
        adapters.from_gymnax(car)
    with pytest.raises(ValueError, match="got a str without reset_env"):
        adapters.from_gymnax("CartPole-v1")
    with pytest.raises(ValueError, match=r"gymnax/MountainCar: params must be the EnvParams of gymnax, got \{\}"):
        adapters.from_gymnax(car[0], {})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("breakot", {}, "unknown environment 'gymnax/breakot'; did you mean 'gymnax/breakout'"),
        ("seaquest", {}, "unknown environment 'gymnax/seaquest'.*gymnax does not support Seaquest"),
        ("pendulum", {}, "the games are asterix, breakout"),
        ("breakout", {"sise": 3}, "unknown option 'sise'; accepted: time_limit, use_minimal_action_set"),
        ("asterix", {"shot_cool_down": 3}, "unknown option 'shot_cool_down'; accepted: init_move_interval"),
        ("breakout", {"time_limit": 0}, "time_limit must be at least 1, got 0"),
        ("breakout", {"time_limit": 1.5}, "time_limit must be a int"),
        ("catch", {"rows": 1}, "rows must be at least 2, got 1"),
        ("deep-sea", {"seed": -1}, "seed must be at least 0, got -1"),
        ("deep-sea", {"unscaled_move_cost": float("nan")}, "unscaled_move_cost must be finite, got nan"),
        ("deep-sea", {"sample_action_map": True}, "sample_action_map=True needs deterministic=False"),
        (
            "deep-sea",
            {"sample_action_map": True, "deterministic": False, "randomize_actions": True},
            "one of sample_action_map .* and randomize_actions",
        ),
        ("cartpole", {"length": 0.0}, "length must be above 0, got 0.0"),
        ("asterix", {"init_move_interval": 4}, "init_move_interval must be at least 5 where init_spawn_speed is 10"),
    ],
)
def test_wrong_options(name, options, words):
    with pytest.raises(ValueError, match=words):
        jaxmarl_envs.make(f"gymnax/{name}", **options)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("jaxmarl_envs.adapters._packages.is_installed", lambda package: False)
    with pytest.raises(ValueError, match=r'gymnax/catch needs .* not installed: pip install "jaxmarl-suite\[gymnax\]"'):
        jaxmarl_envs.make("gymnax/catch")


@pytest.mark.parametrize(("moves", "spawns"), [(5, 10), (2, 4), (1, 2)])
def test_asterix_keeps_moving_with_what_is_accepted(moves, spawns):
    """The speed-ups by themselves, in plain Python, until none is left; and one move less would stop the game."""

    def last_interval(move, spawn):
        ramps = 0
        while spawn > 1 or move > 1:
            move, spawn, ramps = move - (move > 0 and ramps % 2), spawn - (spawn > 1), ramps + 1
        return move

    options = {"init_move_interval": moves, "init_spawn_speed": spawns}
    jaxmarl_envs.make("gymnax/asterix", **options)
    assert last_interval(moves, spawns) == 1
    if moves > 1:
        assert last_interval(moves - 1, spawns) == 0
        with pytest.raises(ValueError, match="nothing would move any more"):
            jaxmarl_envs.make("gymnax/asterix", **options | {"init_move_interval": moves - 1})


def test_pictures_of_grids_only(tmp_path):
    env = jaxmarl_envs.make("gymnax/catch", rows=3)
    episode = jaxmarl_envs.record_episode(env, KEY)
    (ball, start) = (jaxmarl_envs.render_frames(env, episode)[t] for t in (1, 0))
    assert ball.shape == start.shape and (ball != start).any()
    with pytest.raises(ValueError, match="cannot draw 'gymnax/cartpole'"):
        jaxmarl_envs.render(jaxmarl_envs.make("gymnax/cartpole"), episode, tmp_path / "x.png")
