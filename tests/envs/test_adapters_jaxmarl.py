"""From and to JaxMARL: the same episodes as `step_env` plays, and back again."""

import itertools
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv, adapters, check_environment, record_episode, render_frames
from jaxmarl_envs.adapters._packages import foreign, load
from jaxmarl_envs.core import check_drawable
from jaxmarl_envs.smax import _viewer as _smax_viewer

from tests.envs.adapter_tools import assert_same, needs, play

pytestmark = needs("jaxmarl")
KEY = jax.random.key(7)
NUM_STEPS = 12


@pytest.fixture(scope="module")
def original():
    """`(env, legal) -> play`: JaxMARL's own environments by our ids, and how to play them."""

    def make(env_id):
        if env_id == "smax/3m":
            smax = load("jaxmarl.environments.smax", "tests")
            return smax.HeuristicEnemySMAX(scenario=smax.map_name_to_scenario("3m"), max_steps=9)
        mpe = load("jaxmarl.environments.mpe", "tests")
        return {"mpe/simple-spread": mpe.SimpleSpreadMPE, "mpe/simple-speaker-listener": mpe.SimpleSpeakerListenerMPE}[
            env_id
        ](max_steps=9)

    def run(env, key, actions):
        reset_key, key = jax.random.split(key)
        keys = jax.random.split(key, len(actions))

        def body(state, inputs):
            key, action = inputs
            step_key = jax.random.split(key)[1]
            by_name = {agent: action[i] for i, agent in enumerate(env.agents)}
            obs, state, rewards, dones, _ = env.step_env(step_key, state, by_name)
            return state, (obs, state, rewards, dones)

        obs, state = env.reset(reset_key)
        return obs, state, *jax.lax.scan(body, state, (keys, actions))[1]

    def both(env_id, key, actions):
        with foreign():
            env = make(env_id)
            found = jax.jit(lambda key, actions: run(env, key, actions))(key, actions)
            masks = jax.jit(jax.vmap(env.get_avail_actions))(found[3]) if env_id == "smax/3m" else None
        return env, jax.tree.map(np.asarray, found), masks

    return both


@pytest.mark.parametrize("env_id", ["smax/3m", "mpe/simple-spread", "mpe/simple-speaker-listener"])
def test_episodes_are_those_of_step_env(env_id, original):
    env = jaxmarl_envs.make(env_id, max_steps=9)
    start, actions, shown = play(env, KEY, NUM_STEPS)
    theirs, (obs0, _, obs, _, rewards, dones), masks = original(env_id, KEY, actions)
    assert env.spec.agent_names == tuple(theirs.agents)
    for i, agent in enumerate(theirs.agents):
        size = obs[agent].shape[-1]
        assert_same(start.obs[i, :size], obs0[agent])
        assert_same(shown.obs[:, i, :size], obs[agent])
        assert not shown.obs[:, i, size:].any()
        assert_same(shown.reward[:, i], rewards[agent])
        if masks is not None:
            assert_same(shown.action_mask[:, i], np.asarray(masks[agent]) > 0)
    assert_same(shown.terminated | shown.truncated, dones["__all__"])
    assert_same(shown.final_obs, shown.obs)
    # JaxMARL compares before it counts: max_steps + 1 steps, and what they end in is no end of the task.
    assert env.spec.episode_limit == 10 and shown.truncated[9] and not shown.terminated[:10].any()
    if env_id == "smax/3m":
        for state, world in ((start.state, obs0["world_state"]), (shown.state, obs["world_state"])):
            np.testing.assert_allclose(state, scaled(world), rtol=1e-6)
    else:
        assert env.spec.state_size == 0 and not shown.terminated.any()


def scaled(world):
    """JaxMARL's world states [..., 72] of 3m as ours: six marines, whose weapon cools down for 0.61 s, on 32 by 32."""
    units = world[..., :60].reshape(*world.shape[:-1], 6, 10).copy()
    units[..., 1:3] /= 32
    units[..., 3] = np.clip(units[..., 3] / np.float32(0.61), 0, 1)
    return np.concatenate([units.reshape(*world.shape[:-1], 60), world[..., 60:66], world[..., 66:] / 5], axis=-1)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        pytest.param("smax/3m", {}, marks=pytest.mark.slow),
        ("smax/smacv2_5_units", {"two_teams": True}),
        ("overcooked/cramped_room", {}),
        ("mpe/simple-spread", {}),
        ("mpe/simple-reference", {}),
        ("mpe/simple-speaker-listener", {}),
        ("hanabi/small-2p", {}),
    ],
)
def test_nothing_shown_is_large(env_id, options):
    """Under random play: positions, cooldowns and times come scaled."""
    env = jaxmarl_envs.make(env_id, **options)
    shown = play(env, KEY, 150)[2]
    largest = max(np.abs(x).max(initial=0.0) for x in (shown.obs, shown.state))
    assert largest <= (10 if env_id.startswith("mpe") else 1.1)  # a unit may be pushed a little past the map's end


@pytest.mark.parametrize(
    ("allies", "enemies", "ends", "win"), [(2, 0, True, 1.0), (0, 2, True, 0.0), (0, 0, True, 0.0), (1, 1, False, 0.0)]
)
def test_smax_ends_where_a_side_is_dead_and_wins_where_it_is_the_enemy(allies, enemies, ends, win):
    env = jaxmarl_envs.make("smax/3m")
    state, _ = jax.jit(env.reset)(KEY, ())
    alive = jnp.array([i < allies for i in range(3)] + [i < enemies for i in range(3)])
    state = state.replace(state=state.state.replace(unit_alive=alive))
    assert bool(env.reading.is_terminal(env.env, state)) == ends
    assert env.reading.measure(env.env, state, {}, {}, {})["win"] == win


def test_auto_reset_keeps_the_end_and_starts_again():
    env = jaxmarl_envs.make("smax/3m", max_steps=2)
    vector = VectorEnv(env, 3)

    def step(state, key):
        state = vector.step(key, state, jnp.full((3, 3), 4), ())
        return state, state.timestep

    shown = jax.jit(lambda key: jax.lax.scan(step, vector.reset(key, ()), jax.random.split(key, 4))[1])(KEY)
    assert_same(shown.truncated[:, 0], [False, False, True, False])
    assert not shown.terminated.any() and not np.array_equal(shown.obs[2], shown.final_obs[2])
    assert (shown.final_state[2] != shown.state[2]).any() and not np.array_equal(shown.obs[2, 0], shown.obs[2, 1])
    clock = jax.eval_shape(jax.vmap(lambda key: env.reset(key, ())[1].obs), jax.random.split(KEY, 3))
    assert clock.shape == shown.obs[2].shape


@pytest.mark.parametrize("env_id", [pytest.param("smax/3m", marks=pytest.mark.slow), "mpe/simple-speaker-listener"])
def test_families_keep_the_protocol(env_id):
    check_environment(jaxmarl_envs.make(env_id), num_steps=30)


@pytest.mark.parametrize(
    ("env_id", "options", "words"),
    [
        ("smax/3m", {"max_step": 3}, "smax/3m: unknown option 'max_step'; accepted: action_type, attack_mode"),
        ("smax/3m", {"max_steps": 0}, "smax/3m: max_steps must be at least 1, got 0"),
        ("smax/3m", {"walls_cause_death": 3}, "walls_cause_death must be a bool"),
        ("smax/3m", {"action_type": "both"}, "smax/3m: Unknown action_type: 'both'"),
        ("smax/3m", {"two_teams": True, "attack_mode": "closest"}, "no heuristic enemy, so no 'attack_mode'"),
        ("mpe/simple-reference", {"num_agents": 3}, "mpe/simple-reference: .*only supports 2 agents"),
        ("hanabi/full-2p", {"hand_size": 25}, "leave nothing of 50 cards"),
        (
            "overcooked/coord_ring",
            {"layout": "x"},
            "unknown option 'layout'; accepted: max_steps, random_reset, shaped",
        ),
    ],
)
def test_wrong_options(env_id, options, words):
    with pytest.raises(ValueError, match=words):
        jaxmarl_envs.make(env_id, **options)


def test_hanabi_masks_whoever_is_not_to_move_and_can_be_stepped_past_its_end():
    env = jaxmarl_envs.make("hanabi/very-small-2p")
    start, actions, shown = play(env, KEY, 25)
    first_end = int(shown.terminated.argmax())
    assert shown.terminated[first_end] and first_end < env.spec.episode_limit and not shown.truncated.any()
    masks = np.concatenate([start.action_mask[None], shown.action_mask])[: first_end + 1]
    is_passing = ~masks[..., :-1].any(-1) & masks[..., -1]
    assert_same(is_passing.sum(1), np.ones(first_end + 1, int))  # one of two waits, and they take turns
    assert (is_passing[1:] != is_passing[:-1]).all() and shown.action_mask.any(-1).all()
    assert np.isfinite(shown.obs).all() and (shown.reward[:, 0] == shown.reward[:, 1]).all() and actions.max() <= 10


def test_listed_names_are_jaxmarls():
    smax_env = load("jaxmarl.environments.smax.smax_env", "tests")
    overcooked = load("jaxmarl.environments.overcooked", "tests")
    families = {family.name: family.variants for family in jaxmarl_envs.families()}
    assert set(families["smax"]) == set(smax_env.MAP_NAME_TO_SCENARIO)
    assert set(families["overcooked"]) == set(overcooked.overcooked_layouts)


@pytest.mark.parametrize(
    ("env_id", "options", "shape"),
    [
        ("smax/5m_vs_6m", {"two_teams": True}, (11, 13 * 10 + 10, 11, (11,) * 5 + (10,) * 6)),
        ("smax/2s3z", {"attack_mode": "random"}, (5, 127, 10, ())),
        ("smax/3m", {"action_type": "continuous"}, (3, 75, 4, ())),
        ("mpe/simple-spread", {"num_agents": 2, "num_landmarks": 2, "continuous": True}, (2, 12, 5, ())),
        ("hanabi/small-2p", {}, (2, 171, 11 + 1, ())),
        ("overcooked/forced_coord", {"shaped": 0.5}, (2, (5, 5, 26), 6, ())),
    ],
)
def test_sizes(env_id, options, shape):
    env = jaxmarl_envs.make(env_id, **options)
    spec = env.spec
    n_agents, obs, actions, counts = shape
    obs = obs if isinstance(obs, tuple) else (obs,)
    found = spec.n_agents, spec.obs_shape, spec.num_actions or spec.action_dim, spec.agent_num_actions
    assert found == (n_agents, obs, actions, counts)
    assert env == jaxmarl_envs.make(env_id, **options)  # and so one compiled program
    shown = jax.eval_shape(env.reset, KEY, ())[1]
    assert shown.obs.shape == (n_agents, *obs) and shown.action_mask.shape == (n_agents, actions)


@pytest.mark.parametrize("env_id", ["hallway/2-3", "mpe/simple-speaker-listener"])
def test_to_jaxmarl_and_back_is_the_same(env_id):
    env = jaxmarl_envs.make(env_id)
    back = adapters.from_jaxmarl(adapters.to_jaxmarl(env), id=env_id)
    assert back.spec.replace(agent_names=()) == env.spec.replace(agent_names=())
    assert_same(play(back, KEY, 30), play(env, KEY, 30))


def test_to_jaxmarl_works_with_its_wrappers_and_its_restart():
    load("jaxmarl", "tests")
    baselines = load("jaxmarl.wrappers.baselines", "tests")
    env = adapters.to_jaxmarl(jaxmarl_envs.make("hallway/2-3"), final_obs=True)
    with foreign():
        logged = baselines.LogWrapper(env)
        _, state = logged.reset(KEY)
        ended = []
        for step_key in jax.random.split(KEY, 40):
            actions = {agent: jnp.int32(1) for agent in env.agents}  # always closer: who starts closer is there first
            obs, state, _, dones, infos = logged.step(step_key, state, actions)
            if dones["__all__"]:
                ended.append(infos)
                fresh = state.env_state.timestep
                assert not fresh.done and infos["terminated"].all() and not infos["truncated"].any()
                assert (infos["final_obs"]["agent_0"] != obs["agent_0"]).any() or (
                    infos["final_obs"]["agent_1"] != obs["agent_1"]
                ).any()
        returned = np.array([info["returned_episode_returns"][0] for info in ended])
        wins = np.array([info["win"][0] for info in ended])
        assert len(ended) > 8 and 0 < wins.mean() < 1
        assert_same(returned, np.float32(10 * wins))
        manager = baselines.CTRolloutManager(env, batch_size=2)
        obs, state = manager.batch_reset(KEY)
        assert obs["__all__"].shape == (2, 8) and obs["agent_0"].shape == (2, 4 + 2)
        actions = {agent: manager.batch_sample(KEY, agent) for agent in env.agents}
        assert manager.batch_step(KEY, state, actions)[2]["__all__"].shape == (2,)
        assert_same(env.get_avail_actions(env.reset(KEY)[1])["agent_0"], np.ones(3, bool))


def test_an_error_in_a_foreign_mask_is_not_taken_for_its_absence():
    spread = load("jaxmarl.environments.mpe", "tests").SimpleSpreadMPE

    class Mistaken(spread):
        def get_avail_actions(self, state):
            return self.no_such_attribute

    class Maskless(spread):
        def get_avail_actions(self, state):
            raise NotImplementedError

    with pytest.raises(AttributeError, match="no_such_attribute"):
        adapters.from_jaxmarl(Mistaken()).reset(KEY, ())
    assert adapters.from_jaxmarl(Maskless()).reset(KEY, ())[1].action_mask.all()


def test_importing_leaves_the_streams_as_they_were(tmp_path, monkeypatch, capsys):
    (tmp_path / "takes_streams.py").write_text(
        "import io, sys\nprint('a banner')\nsys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = io.StringIO()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("stdout", "__stdout__", "stderr", "__stderr__")
    before = [getattr(sys, name) for name in names]
    try:
        load("takes_streams", "a test")
        after = [getattr(sys, name) for name in names]
    finally:
        for name, stream in zip(names, before):
            setattr(sys, name, stream)
    assert all(one is other for one, other in zip(before, after))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ([0, 1, 2], r"^jaxmarl/Renamed: agents must be one or more different names .*, got \[0, 1, 2\]$"),
        (["agent_0", "agent_0"], "must be one or more different names"),
        ([], r"must be one or more different names .*, got \[\]"),
        (["agent_0", "nobody"], "no action space for 'nobody', one of its agents"),
    ],
)
def test_agents_have_to_be_names_that_the_environment_knows(agents, words):
    spread = load("jaxmarl.environments.mpe", "tests").SimpleSpreadMPE

    class Renamed(spread):
        def __init__(self):
            super().__init__()
            self.agents = agents

    with pytest.raises(ValueError, match=words):
        adapters.from_jaxmarl(Renamed())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("obs", "reset shows nothing to 'agent_2', one of its agents"),
        ("dones", "step_env must return dones with '__all__', got"),
        ("metrics", r"Reading.measure must return the metrics \('hits',\), got \[\]"),
    ],
)
def test_what_jaxmarls_dicts_lack_is_named(change, words):
    spread = load("jaxmarl.environments.mpe", "tests").SimpleSpreadMPE

    class Lacking(spread):
        def reset(self, key):
            obs, state = super().reset(key)
            return {agent: obs[agent] for agent in self.agents if change != "obs" or agent != "agent_2"}, state

        def step_env(self, key, state, actions):
            obs, state, rewards, dones, infos = super().step_env(key, state, actions)
            return obs, state, rewards, {a: d for a, d in dones.items() if change != "dones" or a != "__all__"}, infos

    reading = adapters.Reading(metrics=("hits",)) if change == "metrics" else None
    with pytest.raises(ValueError, match=words):
        env = adapters.from_jaxmarl(Lacking(), reading)
        state, _ = jax.eval_shape(env.reset, KEY, ())
        jax.eval_shape(env.step, KEY, state, jnp.zeros(3, jnp.int32), ())


@pytest.mark.parametrize(
    ("adapt", "words"),
    [
        (adapters.from_jaxmarl, "from_jaxmarl takes an environment of JaxMARL, got a TimeLimit without agents"),
        (adapters.from_jumanji, "from_jumanji takes an environment of jumanji, got a TimeLimit without action_spec"),
        (adapters.from_gymnax, "from_gymnax takes an environment of gymnax, got a TimeLimit without reset_env"),
    ],
)
def test_other_projects_adapters_refuse_what_is_ours(adapt, words):
    with pytest.raises(ValueError, match=words):
        adapt(jaxmarl_envs.make("hallway/2-3"))


@pytest.mark.parametrize("name", ["to_jaxmarl", "to_jumanji", "to_pettingzoo"])
def test_our_adapters_refuse_what_is_not_ours(name):
    theirs = load("jaxmarl.environments.mpe", "tests").SimpleSpreadMPE()
    words = f"{name} takes an environment of this package, got a SimpleSpreadMPE without spec"
    with pytest.raises(ValueError, match=words):
        getattr(adapters, name)(theirs)


@pytest.mark.parametrize(
    "env_id", ["smax/3m", "mpe/simple-spread", "mpe/simple-speaker-listener", "overcooked/cramped_room"]
)
def test_every_step_is_drawn(env_id):
    """So that `eval --render` has a picture; environments of others without a drawing are refused before they play."""
    env = jaxmarl_envs.make(env_id)
    check_drawable(env, "episode.gif")
    frames = render_frames(env, record_episode(env, KEY, max_steps=8))
    assert len(frames) == 9 and all(frame.shape == (480, 640, 3) for frame in frames)
    changes = sum((a != b).any() for a, b in itertools.pairwise(frames))
    assert changes == 8
    plain = adapters.from_jaxmarl(getattr(env, "unwrapped", env).env)
    with pytest.raises(ValueError, match="cannot draw"):
        check_drawable(plain, "episode.gif")


def test_shots_that_are_drawn_hurt():
    """Shots in SMAX, by JaxMARL's numbering of targets: exactly those who lost health were shot at."""
    env = jaxmarl_envs.make("smax/3m")
    episode = record_episode(env, KEY, max_steps=40)
    inner, found = env.env, []
    for t in range(1, len(episode) + 1):
        state, was = (jax.tree.map(lambda x, k=k: x[k], episode.states) for k in (t, t - 1))
        frame = SimpleNamespace(state=state, previous=was)
        hurt = np.asarray(state.state.unit_health) < np.asarray(was.state.unit_health)
        shots = _smax_viewer._shots(inner, frame, np.asarray(state.state.unit_alive))
        found += shots
        assert {target for _, target in shots} == set(np.nonzero(hurt)[0])
        assert all((shooter < 3) != (target < 3) for shooter, target in shots)
    assert found
