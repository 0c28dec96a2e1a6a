"""Small datasets, made without playing."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.replay import KIND, NO_ACTION, REWARD, SCHEMA, Recorded, describe_spec, join_streams, write_vault

LINE = EnvSpec("line/1", 1, obs_shape=(1,), action_dim=1, state_size=1, action_bounds=(-1.0, 3.0))
GAME = EnvSpec("test/game", 2, obs_shape=(3,), num_actions=4, state_size=2)


def random_streams(spec: EnvSpec, num: int, length: int, seed: int = 0, limit: int = 3) -> dict[str, np.ndarray]:
    """Streams [num, length, ...] of episodes of at most `limit` steps, some of which terminate earlier."""
    rng = np.random.default_rng(seed)
    n = spec.n_agents

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(num, length + 1, *shape)).astype(np.float32)

    seen = {"obs": normal(n, *spec.obs_shape), "state": normal(spec.state_size)}
    after = {"obs": normal(n, *spec.obs_shape), "state": normal(spec.state_size)}
    if spec.is_discrete:
        seen["mask"] = after["mask"] = np.ones((num, length + 1, n, spec.num_actions), bool)
        action: Any = rng.integers(spec.num_actions, size=(num, length, n)).astype(np.int32)
    else:
        action = rng.uniform(*spec.action_bounds, size=(num, length, n, spec.action_dim)).astype(np.float32)
    terminated, truncated = np.zeros((num, length), bool), np.zeros((num, length), bool)
    for stream in range(num):
        age = 0
        for step in range(length):
            age += 1
            terminated[stream, step] = rng.random() < 0.2
            truncated[stream, step] = age == limit and not terminated[stream, step]
            age = 0 if terminated[stream, step] or truncated[stream, step] else age
    ended = terminated | truncated

    def following(name: str) -> np.ndarray:
        end = ended.reshape(*ended.shape, *(1,) * (seen[name].ndim - 2))
        return np.where(end, after[name][:, 1:], seen[name][:, 1:])

    streams = {name: array[:, :-1] for name, array in seen.items()} | {f"next_{name}": following(name) for name in seen}
    if spec.is_discrete:
        before = np.where(ended[:, :-1, None], NO_ACTION, action[:, :-1])
        streams["last_action"] = np.concatenate([np.full_like(before[:, :1], NO_ACTION), before], axis=1)
    reward = rng.normal(size=(num, length, 1)).astype(np.float32)
    return streams | {
        "action": action,
        REWARD: np.broadcast_to(reward, (num, length, n)),
        "terminated": terminated,
        "truncated": truncated,
    }


def random_data(spec: EnvSpec, num: int = 2, length: int = 10, seed: int = 0) -> Recorded:
    """A small dataset."""
    return join_streams(random_streams(spec, num, length, seed), begins=np.ones(num, bool))


def about_of(spec: EnvSpec, size: int, **options: Any) -> dict[str, Any]:
    """What a card needs so that learners take the data."""
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "env": spec.id,
        "env_options": options,
        "layout": describe_spec(spec),
        "size": size,
    }


def write_random(path: Path, spec: EnvSpec, items: dict[str, np.ndarray] | None = None, **options: Any) -> Path:
    """Writes such a dataset; returns its path."""
    items = random_data(spec).items if items is None else items
    write_vault(path, items, about_of(spec, len(items["episode"]), **options))
    return path
