"""Recorded episodes, their files, and the pictures."""

import itertools

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import AgentId, EpisodeStatistics, LastAction, load_episode, record_episode, render, render_frames
from PIL import Image

KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def hallway():
    env = jaxmarl_envs.make("hallway/1-2")
    return env, record_episode(env, KEY, lambda key, timestep: jnp.zeros(2, jnp.int32))


def test_record_keeps_everything_up_to_the_end(hallway):
    env, episode = hallway
    assert len(episode) == 12 == env.spec.episode_limit
    assert episode.states.x.shape == (13, 2) and episode.actions.shape == (12, 2) == episode.rewards.shape
    assert episode.truncated.tolist() == [False] * 11 + [True] and not episode.terminated.any()


def test_record_sees_through_wrappers_and_stops_at_max_steps():
    env = EpisodeStatistics(AgentId(LastAction(jaxmarl_envs.make("hallway/3-3", clock=True))))
    seen = []

    def act(key, timestep):
        seen.append(timestep.obs.shape)
        return jnp.full(2, 2, jnp.int32)

    episode = record_episode(env, KEY, act, max_steps=2)
    assert episode.states.x.shape == (3, 2) and len(episode) == 2 and seen == [(2, 4 + 1 + 3 + 2)] * 2


def test_episodes_survive_a_file(hallway, tmp_path):
    env, episode = hallway
    loaded = load_episode(env, episode.save(tmp_path / "episode.npz"))
    assert jax.tree.structure(loaded) == jax.tree.structure(episode)
    jax.tree.map(np.testing.assert_array_equal, loaded, episode)
    with pytest.raises(ValueError, match="holds no episode of 'matrix/xor'"):
        load_episode(jaxmarl_envs.make("matrix/xor"), tmp_path / "episode.npz")
    with pytest.raises(ValueError, match=r"stored as \.npz"):
        episode.save(tmp_path / "episode.txt")


def test_files(hallway, tmp_path):
    env, episode = hallway
    with Image.open(render(env, episode, tmp_path / "episode.gif")) as gif:
        assert gif.n_frames > 1 and gif.size == (640, 480)
    with Image.open(render(env, episode, tmp_path / "sheet.png")) as sheet:
        assert sheet.size == (4 * 648 + 8, 3 * 488 + 8)
    with Image.open(render(env, episode, tmp_path / "last.png", frame=-1)) as last:
        assert last.size == (640, 480)
    with pytest.raises(ValueError, match=r"must be .gif or .png"):
        render(env, episode, tmp_path / "episode.mp4")


def test_speed_of_animations(hallway, tmp_path):
    """Given, the environment's own, or 0.6 s per frame."""
    env, episode = hallway

    def duration(env, **options):
        with Image.open(render(env, episode, tmp_path / "episode.gif", **options)) as gif:
            return gif.info["duration"]

    class Fast:
        spec, default_params, draw = env.spec, env.default_params, getattr(env, "unwrapped", env).draw
        seconds_per_frame = 0.1

    assert duration(env) == 600 and duration(env, seconds_per_frame=0.05) == 50
    assert duration(Fast()) == 100 and duration(Fast(), seconds_per_frame=0.2) == 200
    assert jaxmarl_envs.make("football/corner").seconds_per_frame == 0.1
    for seconds in (0.0, 0.001, float("nan")):
        with pytest.raises(ValueError, match=r"seconds_per_frame must be from 0\.02 to 60"):
            render(env, episode, tmp_path / "other.gif", seconds_per_frame=seconds)
    assert not (tmp_path / "other.gif").exists()


@pytest.mark.parametrize(
    "env_id", ["matrix/climbing", "matrix/two-step", "matrix/multitask-2x3", "matrix/random-3x5", "matrix/random-1x4"]
)
def test_every_kind_of_matrix_game_is_drawn(env_id):
    env = jaxmarl_envs.make(env_id)
    frames = render_frames(env, record_episode(env, KEY))
    assert len(frames) == env.spec.episode_limit + 1
    for before, after in itertools.pairwise(frames):
        assert before.shape == (480, 640, 3) and before.dtype == np.uint8 and (before != after).any()


def test_environments_without_a_picture_are_refused():
    class Plain:
        spec = jaxmarl_envs.make("matrix/xor").spec
        default_params = ()

    episode = record_episode(jaxmarl_envs.make("matrix/xor"), KEY)
    with pytest.raises(ValueError, match=r"cannot draw 'matrix/xor': Plain has no method draw"):
        render_frames(Plain(), episode)
