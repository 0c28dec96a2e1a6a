"""Both tasks can be drawn, from the start to the end."""

import jax
import pytest
from jaxmarl_envs import make, record_episode, render_frames

SMALL = {"sessions": 900, "windows": 2, "n_agents": 2, "capacity": 40}


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("rag/cache-L1", {"rounds": 5}),
        ("rag/cache-L1", {"rounds": 3, "actions": "sampled"}),
        ("rag/serve-L2", {"requests": 4}),
    ],
)
def test_frames(env_id, options):
    env = make(env_id, **SMALL, **options)
    episode = record_episode(env, jax.random.key(0), max_steps=15)
    frames = render_frames(env, episode)
    assert len(frames) == len(episode) + 1 and len({frame.shape for frame in frames}) == 1
    assert any((frames[0] != frame).any() for frame in frames[1:])
