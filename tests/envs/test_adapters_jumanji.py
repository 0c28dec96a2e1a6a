"""From and to jumanji: the same episodes, their ends told apart, and back again."""

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import adapters, check_environment
from jaxmarl_envs.adapters._packages import foreign

from tests.envs.adapter_tools import assert_same, play

KEY = jax.random.key(5)
IDS = ("jumanji/rware-tiny-2ag", "jumanji/lbf-5x5-2p-1f", "jumanji/connector-5x5-3ag", "jumanji/cleaner-4x4-2ag")


def original(env, key, actions):
    """Jumanji's own states and timesteps for these actions."""

    def body(state, action):
        state, timestep = env.step(state, action)
        return state, (state, timestep)

    def run(key, actions):
        state, timestep = env.reset(jax.random.key_data(jax.random.split(key)[0]))
        return state, timestep, *jax.lax.scan(body, state, actions)[1]

    with foreign():
        return jax.tree.map(np.asarray, jax.jit(run)(key, actions))


@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_jumanjis(env_id):
    env = jaxmarl_envs.make(env_id, time_limit=6)
    start, actions, shown = play(env, KEY, 8)
    first_state, first, states, timesteps = original(env.env, KEY, actions)
    n = env.spec.n_agents
    assert_same(start.action_mask, first.observation.action_mask)
    assert_same(shown.action_mask, timesteps.observation.action_mask)
    assert_same(shown.reward, np.broadcast_to(timesteps.reward.reshape(8, -1), (8, n)))
    assert_same(shown.terminated | shown.truncated, timesteps.step_type == 2)
    assert env.spec.episode_limit == 6 and (shown.terminated | shown.truncated)[5:].all()
    for name in env.spec.metrics:
        assert_same(shown.metrics[name], timesteps.extras[name].astype(np.float32))
    if hasattr(timesteps.observation, "agents_view"):
        view = timesteps.observation.agents_view.reshape(8, n, -1).astype(np.float32)
        if "rware" in env_id:
            view[..., :2] /= env.env.grid_size
        else:  # triples (cell, level); -1 is out of sight
            view = view.reshape(8, n, -1, 3)
            view[..., :2][view[..., :2] > 0] /= 5
            view = (view / np.array([1, 1, 2], np.float32)).reshape(8, n, -1)
        np.testing.assert_allclose(shown.obs[..., :-1], view, rtol=1e-6)
    np.testing.assert_allclose(shown.obs[..., -1], np.arange(1, 9)[:, None].repeat(n, 1) / 6, rtol=1e-6)
    ends = {"rware": collided, "lbf": eaten, "connector": stuck, "cleaner": cleaned}
    before = jax.tree.map(lambda a, b: np.concatenate([a[None], b[:-1]]), first_state, states)
    over = ends[env_id.split("/")[1].split("-")[0]](before, states, actions, timesteps)
    done = timesteps.step_type == 2
    assert_same(shown.terminated, done & over)
    assert_same(shown.truncated, done & ~over)


def collided(before, states, actions, timesteps):
    cells = np.stack([states.agents.position.x, states.agents.position.y], -1)
    return np.array([len({tuple(cell) for cell in row}) < len(row) for row in cells])


def eaten(before, states, actions, timesteps):
    return states.food_items.eaten.all(-1)


def stuck(before, states, actions, timesteps):
    return (timesteps.discount == 0).all(-1)


def cleaned(before, states, actions, timesteps):
    allowed = np.take_along_axis(before.action_mask, actions[..., None], -1)[..., 0].all(-1)
    return ~allowed | ~(states.grid == 0).any((1, 2))


@pytest.mark.parametrize("env_id", [*IDS, pytest.param("jumanji/lbf-12x12-3p-3f", marks=pytest.mark.slow)])
def test_nothing_shown_is_large(env_id):
    """Up to the end of an episode of random play: cells and levels come scaled. Food has at most all players' levels."""
    env = jaxmarl_envs.make(env_id)
    start, _, shown = play(env, KEY, 60)
    length = int((shown.terminated | shown.truncated).argmax()) + 1 if env.spec.episode_limit < 60 else 60
    largest = max(np.abs(x[:length]).max(initial=0.0) for x in (shown.obs, shown.state))
    assert max(largest, np.abs(start.obs).max()) <= (env.spec.n_agents if "lbf" in env_id else 1)


def test_a_collision_terminates_also_at_the_time_limit():
    env = jaxmarl_envs.make("jumanji/rware-tiny-2ag", time_limit=1)
    state, _ = jax.jit(env.reset)(KEY, ())
    apart = state.agents
    together = apart.__class__(
        position=apart.position.__class__(x=jnp.array([4, 4]), y=jnp.array([4, 4])),
        direction=apart.direction,
        is_carrying=apart.is_carrying,
    )
    for agents, ends in ((apart, False), (together, True)):
        grid = state.grid.at[1].set(0)
        for i in range(2):  # the later one is what the grid shows
            grid = grid.at[1, agents.position.x[i], agents.position.y[i]].set(i + 1)
        following = state.__class__(**{**vars(state), "agents": agents, "grid": grid})
        assert bool(env.reading.is_terminal(env.env, state, jnp.zeros(2, jnp.int32), following)) == ends


def test_connector_shows_each_agent_its_own_cells():
    env = jaxmarl_envs.make("jumanji/connector-5x5-3ag")
    state, shown = jax.jit(env.reset)(KEY, ())
    planes = np.asarray(shown.obs)[:, :-1].reshape(3, 6, 25)
    grid = np.asarray(state.grid).reshape(-1)
    for i in range(3):
        for kind in range(3):
            own = grid == 1 + 3 * i + kind
            assert_same(planes[i, kind], own.astype(np.float32))
            assert_same(planes[i, 3 + kind], ((grid > 0) & ((grid - 1) % 3 == kind) & ~own).astype(np.float32))
    assert shown.state.shape == (4 * 25 + 1,)


@pytest.mark.parametrize(
    ("env_id", "options", "words"),
    [
        ("jumanji/rware-tiny-2ag", {"fov": 3}, "unknown option 'fov'; accepted: sensor_range, time_limit"),
        ("jumanji/rware-tiny-0ag", {}, "needs a number of robots of at least 1, got 0"),
        ("jumanji/lbf-8x9-2p-2f", {}, "the grid has to be square"),
        ("jumanji/lbf-4x4-2p-2f", {}, "jumanji/lbf-4x4-2p-2f: Grid size"),
        ("jumanji/connector-3x3-4ag", {}, "4 agents do not fit into 9 cells"),
        ("jumanji/cleaner-4x4-2ag", {"time_limit": 0}, "time_limit must be at least 1, got 0"),
        ("jumanji/rware-huge-2ag", {}, "unknown environment 'jumanji/rware-huge-2ag'; did you mean 'jumanji/rware-"),
    ],
)
def test_wrong_options(env_id, options, words):
    with pytest.raises(ValueError, match=words):
        jaxmarl_envs.make(env_id, **options)


def test_options_are_checked_before_environments_are_remembered():
    env = jaxmarl_envs.make("jumanji/cleaner-4x4-2ag", time_limit=1, penalty_per_timestep=1)
    assert env is jaxmarl_envs.make("jumanji/cleaner-4x4-2ag", penalty_per_timestep=1.0, time_limit=1)
    for value in (True, [1], 1.0):
        with pytest.raises(ValueError, match="time_limit must be a int"):
            jaxmarl_envs.make("jumanji/cleaner-4x4-2ag", time_limit=value, penalty_per_timestep=1)


def test_the_family_keeps_the_protocol():
    check_environment(jaxmarl_envs.make("jumanji/cleaner-4x4-2ag", time_limit=10))


def test_to_jumanji_passes_its_checks():
    from jumanji.testing.env_not_smoke import check_env_does_not_smoke, check_env_specs_does_not_smoke

    env = adapters.to_jumanji(jaxmarl_envs.make("hallway/2-3"))
    with foreign():
        check_env_does_not_smoke(env)
        check_env_specs_does_not_smoke(env)
    assert env.observation_spec.agents_view.shape == (2, 4) and env.action_spec.num_values.tolist() == [3, 3]


@pytest.mark.parametrize(("env_id", "discount"), [("matrix/M1", 0.0), ("matrix/mmdp", 1.0)])
def test_to_jumanji_tells_ends_apart(env_id, discount):
    env = adapters.to_jumanji(jaxmarl_envs.make(env_id))
    state, timestep = jax.jit(env.reset)(KEY)
    assert timestep.first() and env.time_limit in (10, 100)
    step = jax.jit(env.step)
    for _ in range(env.time_limit):
        assert not timestep.last()
        state, timestep = step(state, jnp.zeros(2, jnp.int32))
    assert timestep.last() and (timestep.discount == discount).all()


def test_to_jumanji_and_back_is_the_same():
    env = jaxmarl_envs.make("hallway/2-3")
    back = adapters.from_jumanji(adapters.to_jumanji(env), id=env.spec.id)
    assert back.spec == env.spec
    shown = play(back, KEY, 30)
    # The key of reset is split once more on the way; hallway's steps draw nothing.
    reset_key = jax.random.split(jax.random.split(KEY)[0])[0]
    state, timestep = env.reset(reset_key, ())
    assert_same(shown[0], timestep)
    for t, action in enumerate(shown[1]):
        state, timestep = env.step(KEY, state, action, ())
        assert_same(jax.tree.map(lambda x, t=t: x[t], shown[2]), timestep)


def test_an_observation_that_says_too_little_is_named():
    from jumanji.environments.routing.cleaner import Cleaner

    with pytest.raises(
        ValueError, match="jumanji/Cleaner: its observation has no agents_view, got a Observation; what"
    ):
        adapters.from_jumanji(Cleaner()).spec  # noqa: B018


def test_keys_of_any_implementation_whatever_the_default() -> None:
    """Jumanji's keys have no type, and are read as JAX is set."""
    env = jaxmarl_envs.make(IDS[1])

    def first_obs(key):
        """Traced anew, as JAX is set."""
        return jax.jit(lambda key: env.reset(key, env.default_params)[1].obs)(key)

    expected = first_obs(KEY)
    with jax.default_prng_impl("rbg"):
        assert_same(first_obs(KEY), expected)
        assert first_obs(jax.random.key(5)).shape == expected.shape
