"""Training data from the experience store: no window mixes episodes, and every entry is the right one."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.replay import Block, StoreLayout, add_block, draw_steps, new_store, read_windows
from jaxmarl_suite.worldmodels import Normalizer, Played, Seen, read_segments, read_sequences, read_starts
from jaxmarl_suite.worldmodels._states import read_window

SPEC = EnvSpec(id="count", n_agents=1, obs_shape=(1,), action_dim=1, state_size=2, action_bounds=(-100.0, 100.0))
LAYOUT = StoreLayout(num_envs=2, num_blocks=3, block_length=8, episode_limit=3)
IDENTITY = Normalizer.create(2)


def store_of_counts():
    """Episodes of 3, 5, 4, ... steps in two environments; a state is (number of the episode, step in it), from 1 and 0."""
    steps, envs = 24, 2
    shown, after = np.zeros((envs, steps, 2)), np.zeros((envs, steps, 2))
    terminated, truncated = np.zeros((envs, steps), bool), np.zeros((envs, steps), bool)
    follows = np.zeros((envs, 2))
    for env in range(envs):
        episode, t = 1, 0
        lengths = [3, 5, 4, 1, 6, 9] if env == 0 else [4, 4, 3, 7, 9]
        for step in range(steps):
            shown[env, step] = episode, t
            after[env, step] = episode, t + 1
            t += 1
            if t == lengths[episode - 1]:
                if episode % 2:
                    terminated[env, step] = True
                else:
                    truncated[env, step] = True
                episode, t = episode + 1, 0
        follows[env] = episode, t
    store = None
    for first in range(0, steps, 8):
        part = slice(first, first + 8)
        last = shown[:, first + 8] if first + 8 < steps else follows

        def seen(x):
            return Seen(jnp.asarray(x, jnp.float32), jnp.zeros((*x.shape[:-1], 1, 0)))

        block = Block(
            steps=Played(
                jnp.asarray(shown[:, part, 1:, None], jnp.float32), jnp.asarray(shown[:, part, 1], jnp.float32)
            ),
            observed=seen(shown[:, part]),
            observed_after=seen(last),
            final=seen(after[:, part]),
            terminated=jnp.asarray(terminated[:, part]),
            truncated=jnp.asarray(truncated[:, part]),
            start=(),
        )
        store = new_store(LAYOUT, block) if store is None else store
        store = add_block(LAYOUT, store, block)
    return store


def windows(length: int, number: int = 200):
    """Windows at random places of the store."""
    store = store_of_counts()
    places = draw_steps(LAYOUT, store.head, jax.random.key(0), (number,), ahead=length - 1)
    return jax.jit(lambda: read_windows(LAYOUT, store.head, store.contents, places, length))()


def test_no_window_mixes_episodes() -> None:
    read = windows(5)
    segments = read_segments(SPEC, IDENTITY, read)
    np.testing.assert_array_equal(segments.is_valid, ~np.asarray(read.terminated))  # what follows is not stored
    padded = 0
    for first in range(3):
        window = read_window(segments, 3, first)
        kept = jnp.flatnonzero(window.weight)
        window = jax.tree.map(lambda x, kept=kept: x[kept], window)
        target = np.asarray(window.target)
        for h in range(3):
            state, action = np.asarray(window.states[:, h]), np.asarray(window.actions[:, h, 0, 0]) * 100
            known = target[:, 1] >= 3 - h  # that many steps of the episode come before the target
            np.testing.assert_array_equal(state[known], np.stack([target[:, 0], target[:, 1] - 3 + h], 1)[known])
            np.testing.assert_allclose(action[known], (target[:, 1] - 3 + h)[known], atol=1e-5)
            assert not state[~known].any() and not action[~known].any()
            padded += (~known).sum()
    assert padded > 50


def test_sequences_know_where_episodes_start() -> None:
    sequences = read_sequences(SPEC, IDENTITY, windows(6))
    state, start = np.asarray(sequences.state), np.asarray(sequences.start)
    assert start[:, 0].all()
    np.testing.assert_array_equal(start[:, 1:], state[:, 1:, 0] != state[:, :-1, 0])
    np.testing.assert_array_equal(sequences.reward, state[..., 1])
    # Of the episodes that end, those with odd numbers terminate.
    ends = np.concatenate([start[:, 1:], np.zeros_like(start[:, :1])], 1)
    np.testing.assert_array_equal(np.asarray(sequences.terminated)[ends], state[ends][:, 0] % 2 == 1)


def test_starts_are_states_with_their_past() -> None:
    starts = read_starts(SPEC, windows(3))
    state, known = np.asarray(starts.state), np.asarray(starts.is_known)
    assert known[:, -1].all()
    for h in range(2):
        np.testing.assert_array_equal(known[:, h], state[:, -1, 1] >= 2 - h)
        same = known[:, h]
        np.testing.assert_array_equal(state[same, h, 0], state[same, -1, 0])
        np.testing.assert_allclose(np.asarray(starts.action)[same, h, 0, 0] * 100, state[same, h, 1], atol=1e-5)
        assert not np.asarray(starts.action)[~same, h].any()


def test_the_normalizer_is_the_mean_and_variance_of_everything() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(3.0, 2.0, (n, 3)).astype(np.float32) for n in (7, 20, 50)]
    for part in parts:
        part[:, 2] = 1000.1  # never varies
    normalizer = Normalizer.create(3)
    np.testing.assert_array_equal(normalizer.normalize(jnp.ones((2, 3))), 1.0)
    for part in parts:
        normalizer = normalizer.update(jnp.asarray(part))
    together = np.concatenate(parts)
    expected = (together - together.mean(0)) / np.sqrt(together.var(0) + 1e-8)
    found = np.asarray(normalizer.normalize(jnp.asarray(together)))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-4)
    assert not found[:, 2].any()
    np.testing.assert_allclose(normalizer.denormalize(jnp.asarray(found)), together, rtol=1e-5)
