"""Datasets of steps: the one form in which experience is stored for learning without playing.

A dataset is a Vault whose items are T steps in time order, episode after episode. Each step has its own next
observation, from before any restart. Actions and rewards are those of the environment, neither normalized nor scaled.
The task's reward lies apart as `hidden_reward`, so that learners without rewards never have to open it.

| item | [T, ...] | |
| --- | --- | --- |
| `obs`, `next_obs` | [N, *obs_shape] float32 | |
| `state`, `next_state` | [G] float32 | left out if there is no global state, or if it was not recorded |
| `mask`, `next_mask` | [N, A] bool | discrete actions only |
| `action` | [N] int32, or [N, D] float32 | |
| `last_action` | [N] int32 | discrete actions only: of the step before, -1 at the start of an episode |
| `hidden_reward` | [N] float32 | |
| `terminated` | [] bool | values are zero afterwards |
| `truncated` | [] bool | cut by a time limit or where recording stopped: values are bootstrapped |
| `episode` | [] int32 | number of the episode |
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.replay._vault import Dataset

REWARD = "hidden_reward"
KIND = "steps"
NO_ACTION = -1
"""Last action at the start of an episode; its one-hot encoding is all zeros."""
_TOLERANCE = 1e-4
"""Of bounds of actions, relative to their range."""

Items = dict[str, np.ndarray]


def step_shapes(spec: EnvSpec) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of every item of one step by name."""
    n = spec.n_agents
    observed: dict[str, tuple[tuple[int, ...], Any]] = {
        "obs": ((n, *spec.obs_shape), np.float32),
        "state": ((spec.state_size,), np.float32),
        "mask": ((n, spec.num_actions), np.bool_),
    }
    action = ((n,), np.int32) if spec.is_discrete else ((n, spec.action_dim), np.float32)
    return {
        **observed,
        "action": action,
        **({"last_action": ((n,), np.int32)} if spec.is_discrete else {}),
        REWARD: ((n,), np.float32),
        "terminated": ((), np.bool_),
        "truncated": ((), np.bool_),
        "episode": ((), np.int32),
        **{f"next_{name}": kind for name, kind in observed.items()},
    }


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The items of a dataset, and which of its episodes were recorded from start to end."""

    items: Items  # [T, ...]
    is_whole: np.ndarray  # [K] bool, by episode


def join_streams(streams: Items, *, begins: np.ndarray, counts: np.ndarray | None = None) -> Recorded:
    """Streams of steps one after another, as a dataset. Where recording stopped inside an episode, it is truncated.

    Args:
      streams: [E, T, ...] by name, without `episode`; steps of each stream are in time order.
      begins: [E] bool, whether the first step of a stream is the first of an episode.
      counts: [E, T] bool, steps to keep; None for all.

    Raises:
      ValueError: no step is left.
    """
    shape = streams["terminated"].shape
    counts = np.ones(shape, bool) if counts is None else counts
    ended = streams["terminated"] | streams["truncated"]
    followed = np.concatenate([counts[:, 1:], np.zeros((shape[0], 1), bool)], axis=1)
    # An episode is whole if its first step begins one, and it ends by itself.
    first = np.concatenate([begins[:, None], ended[:, :-1]], axis=1)
    flat = {name: array[counts] for name, array in streams.items()}
    if not len(flat["terminated"]):
        raise ValueError("there are no steps to store yet: the run has collected none")
    is_cut = (~ended & ~followed)[counts]
    flat["truncated"] = flat["truncated"] | is_cut
    last = flat["terminated"] | flat["truncated"]
    starts = np.concatenate([[True], last[:-1]])
    flat["episode"] = np.cumsum(starts, dtype=np.int32) - np.int32(1)
    return Recorded(flat, first[counts][starts] & ~is_cut[last])


def concatenate(parts: list[Recorded]) -> Recorded:
    """Datasets one after another; episodes are numbered anew."""
    items = {name: np.concatenate([part.items[name] for part in parts]) for name in parts[0].items}
    offsets = np.cumsum([0, *(len(part.is_whole) for part in parts[:-1])])
    items["episode"] = np.concatenate([part.items["episode"] + at for part, at in zip(parts, offsets)]).astype(np.int32)
    return Recorded(items, np.concatenate([part.is_whole for part in parts]))


def episode_returns(items: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`(returns, lengths)` [K] of all episodes: undiscounted, averaged over agents."""
    episode, reward = np.asarray(items["episode"]), np.asarray(items[REWARD], np.float64).mean(-1)
    return np.bincount(episode, reward), np.bincount(episode)


def summarize(recorded: Recorded) -> dict[str, Any]:
    """Size and returns for a card, as JSON values. Returns and lengths are those of whole episodes; null without any."""
    returns, lengths = episode_returns(recorded.items)
    returns, lengths = returns[recorded.is_whole], lengths[recorded.is_whole]
    found: dict[str, Any] = {"size": len(recorded.items["episode"]), "episodes": len(returns)}
    values = (returns.mean(), returns.std(), returns.min(), returns.max()) if len(returns) else (None,) * 4
    names = ("mean", "std", "min", "max")
    found["returns"] = {name: None if value is None else float(value) for name, value in zip(names, values)}
    found["mean_length"] = float(np.mean(lengths)) if len(lengths) else None
    return found


def describe_spec(spec: EnvSpec) -> dict[str, Any]:
    """The layout of observations and actions, as JSON values for a card."""
    return {
        "n_agents": spec.n_agents,
        "obs_shape": list(spec.obs_shape),
        "state_size": spec.state_size,
        "num_actions": spec.num_actions,
        "action_dim": spec.action_dim,
        "action_bounds": [float(bound) for bound in spec.action_bounds],
    }


def without_rewards(dataset: Dataset) -> Dataset:
    """The dataset for a learner that must not know the task: `hidden_reward` is not in it."""
    return Dataset(dataset.path, {k: v for k, v in dataset.items.items() if k != REWARD}, dataset.about)


def read_steps(dataset: Dataset, spec: EnvSpec, *, rewards: bool = True) -> dict[str, Any]:
    """The items of a dataset of steps, checked against the environment that a learner is for.

    Args:
      dataset: as read from a Vault.
      spec: of the learner's environment. Items that `spec` has no entries for are left out.
      rewards: whether `hidden_reward` is read; otherwise it is neither checked nor returned.

    Raises:
      ValueError: the data is of another environment or layout, lacks an item, has steps missing inside an episode, or
        numbers that are not finite or out of bounds.
    """
    where = f"stored replay {str(dataset.path)!r}"
    if dataset.about.get("kind") != KIND:
        raise ValueError(f'{where} is no dataset of steps; "jaxmarl-suite dataset make" and "import" make them')
    if dataset.about.get("env") != spec.id:
        raise ValueError(f"{where} is of {dataset.about.get('env')!r}, got environment {spec.id!r}")
    layout, ours = dataset.about.get("layout") or {}, describe_spec(spec)
    for name in ("n_agents", "obs_shape", "num_actions", "action_dim", "action_bounds"):
        if layout.get(name) != ours[name]:
            raise ValueError(f"{where} has {name} {layout.get(name)}, {spec.id!r} has {ours[name]}")
    found = {}
    for name, (shape, dtype) in step_shapes(spec).items():
        if 0 in shape or (name == REWARD and not rewards):
            continue
        array = dataset.items.get(name)
        if array is None and name == REWARD:
            raise ValueError(f"{where} has no rewards for this phase: {REWARD!r} is not open to it")
        if array is None or array.shape[1:] != shape or array.dtype != dtype:
            got = "nothing" if array is None else f"{array.dtype} {array.shape[1:]}"
            hint = ""
            if array is None and name == "state":
                hint = " (it was not recorded; learners with context 'observations' do without)"
            needs = f"{spec.id!r} needs {np.dtype(dtype).name} {shape}"
            raise ValueError(f"{where} has {got} for {name!r}, {needs}{hint}")
        found[name] = array
    check_items(where, {name: np.asarray(array) for name, array in found.items()}, spec)
    return found


def check_items(where: str, items: Mapping[str, np.ndarray], spec: EnvSpec) -> None:
    """Rejects steps that are missing, out of bounds or not finite.

    Args:
      where: name of the source, for messages.
      items: [T, ...] by name; rewards may be absent.
      spec: of their environment.

    Raises:
      ValueError: naming the item and the first step at fault.
    """

    def reject(bad: np.ndarray, text: str) -> None:
        rows = bad.reshape(len(bad), -1).any(axis=1)
        if rows.any():
            raise ValueError(f"{where} {text} at step {int(np.argmax(rows))}")

    for name, array in items.items():
        if np.issubdtype(array.dtype, np.floating):
            reject(~np.isfinite(array), f"has a number in {name!r} that is not finite")
    action = items["action"]
    low, high = (0, spec.num_actions - 1) if spec.is_discrete else spec.action_bounds
    slack = 0.0 if spec.is_discrete else _TOLERANCE * (high - low)
    reject((action < low - slack) | (action > high + slack), f"has an action outside [{low:g}, {high:g}]")
    ended, episode = items["terminated"] | items["truncated"], items["episode"]
    if not ended[-1]:
        raise ValueError(f"{where} stops inside an episode: its last step is neither terminated nor truncated")
    reject(ended[:-1] != (np.diff(episode) != 0), "has an episode whose end is not marked (terminated or truncated)")
    is_hole = (items["next_obs"][:-1] != items["obs"][1:]).reshape(len(ended) - 1, -1).any(axis=1) & ~ended[:-1]
    reject(is_hole, "has a hole inside an episode, the next observation is not that of the next step,")
