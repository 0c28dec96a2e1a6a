"""Datasets of steps: how streams become one, cards, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from dataset_tools import GAME, LINE, about_of, random_data, random_streams

from jaxmarl_suite.replay import (
    REWARD,
    Dataset,
    Recorded,
    concatenate,
    join_streams,
    read_steps,
    summarize,
    without_rewards,
)
from jaxmarl_suite.replay._steps import episode_returns


def dataset(items: dict[str, np.ndarray], spec=LINE, **changes) -> Dataset:
    return Dataset(Path("data"), items, {**about_of(spec, len(items["episode"])), **changes})


def test_streams_follow_each_other_and_stop_where_recording_did():
    streams = random_streams(LINE, 3, 8)
    found = join_streams(streams, begins=np.array([True, False, True]))
    items = found.items
    assert len(items["episode"]) == 24
    for name in streams:
        if name != "truncated":
            np.testing.assert_array_equal(items[name], streams[name].reshape(24, *streams[name].shape[2:]))
    ended = items["terminated"] | items["truncated"]
    by_hand = (streams["terminated"] | streams["truncated"]).copy()
    open_ends = ~by_hand[:, -1]
    by_hand[:, -1] = True
    np.testing.assert_array_equal(ended, by_hand.ravel())
    numbers = np.concatenate([[0], np.cumsum(ended)[:-1]])
    np.testing.assert_array_equal(items["episode"], numbers)
    # Partial: the first of a stream that begins anywhere, the last of one that goes on.
    partial = {numbers[8]} | {numbers[8 * k + 7] for k in range(3) if open_ends[k]}
    assert set(np.flatnonzero(~found.is_whole)) == partial and open_ends.any()


def test_steps_that_do_not_count_leave_no_transition():
    streams = random_streams(LINE, 1, 6, limit=10)
    streams["terminated"][:] = False
    counts = np.array([[True, True, False, True, True, True]])
    items = join_streams(streams, begins=np.ones(1, bool), counts=counts).items
    np.testing.assert_array_equal(items["truncated"], [False, True, False, False, True])
    np.testing.assert_array_equal(items["episode"], [0, 0, 1, 1, 1])
    read_steps(dataset(items), LINE)
    with pytest.raises(ValueError, match="there are no steps to store yet"):
        join_streams(streams, begins=np.ones(1, bool), counts=np.zeros((1, 6), bool))


def test_cards_count_whole_episodes_only():
    reward = np.array([[1.0, 3.0], [2.0, 4.0], [5.0, 5.0], [7.0, 9.0]], np.float32)
    items = {"episode": np.array([0, 0, 1, 2], np.int32), REWARD: reward}
    returns, lengths = episode_returns(items)
    assert returns.tolist() == [5.0, 5.0, 8.0] and lengths.tolist() == [2, 1, 1]
    card = summarize(Recorded(items, np.array([True, False, True])))
    assert card == {
        "size": 4,
        "episodes": 2,
        "returns": {"mean": 6.5, "std": 1.5, "min": 5.0, "max": 8.0},
        "mean_length": 1.5,
    }
    assert summarize(Recorded(items, np.zeros(3, bool)))["returns"]["mean"] is None


def test_parts_are_numbered_anew():
    one, two = random_data(GAME), random_data(GAME, seed=1)
    both = concatenate([one, two])
    np.testing.assert_array_equal(both.items["obs"], np.concatenate([one.items["obs"], two.items["obs"]]))
    assert both.items["episode"].max() + 1 == len(both.is_whole) == len(one.is_whole) + len(two.is_whole)
    read_steps(dataset(both.items, GAME), GAME)


@pytest.mark.parametrize("spec", [LINE, GAME], ids=["continuous", "discrete"])
def test_what_fits_is_read(spec):
    items = random_data(spec).items
    found = read_steps(dataset(items, spec), spec)
    assert found.keys() == items.keys()
    without_state = read_steps(dataset(items, spec), spec.replace(state_size=0))
    assert found.keys() - without_state.keys() == {"state", "next_state"}


def test_closed_rewards_are_never_opened():
    """Neither checked nor returned, and asking for them is an error."""
    items = random_data(LINE).items
    closed = without_rewards(dataset({**items, REWARD: np.full_like(items[REWARD], np.nan)}))
    assert REWARD not in closed.items
    assert REWARD not in read_steps(closed, LINE, rewards=False)
    with pytest.raises(ValueError, match="has no rewards for this phase: 'hidden_reward' is not open to it"):
        read_steps(closed, LINE)


def changed(name, row, value):
    def change(items):
        array = items[name].copy()
        array[row] = value
        return {**items, name: array}

    return change


def shortened(items):
    """Without one step inside an episode."""
    inside = np.flatnonzero(np.diff(items["episode"]) == 0)[0]
    return {name: np.delete(array, inside + 1 if inside else 1, axis=0) for name, array in items.items()}


BAD = {
    "NaN in observations": (changed("obs", 3, np.nan), "has a number in 'obs' that is not finite at step 3"),
    "NaN in rewards": (changed(REWARD, 5, np.inf), "has a number in 'hidden_reward' that is not finite at step 5"),
    "actions out of bounds": (changed("action", 2, 3.1), r"has an action outside \[-1, 3\] at step 2"),
    "a hole": (shortened, "has an episode whose end is not marked|has a hole inside an episode"),
    "no end": (lambda items: {name: array[:-1] for name, array in items.items()}, "stops inside an episode|whose end"),
    "no terminals": (lambda items: {k: v for k, v in items.items() if k != "terminated"}, "nothing for 'terminated'"),
    "no timeouts": (lambda items: {k: v for k, v in items.items() if k != "truncated"}, "nothing for 'truncated'"),
    "another dtype": (lambda items: {**items, "obs": items["obs"].astype(np.float64)}, "has float64 .* for 'obs'"),
    "another shape": (lambda items: {**items, "action": items["action"][..., 0]}, r"has float32 \(1,\) for 'action'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_named(kind):
    change, message = BAD[kind]
    items = random_data(LINE, num=1, length=11, seed=3).items
    with pytest.raises(ValueError, match=message) as error:
        read_steps(dataset(change(items)), LINE)
    assert "\n" not in str(error.value) and "'data'" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": None}, "is no dataset of steps"),
        ({"env": "line/2"}, "is of 'line/2', got environment 'line/1'"),
        ({"layout": {}}, "has n_agents None, 'line/1' has 1"),
    ],
)
def test_cards_of_others_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        read_steps(dataset(random_data(LINE).items, **changes), LINE)


def test_another_layout_is_refused():
    wider = dataclasses.replace(LINE, action_bounds=(-2.0, 3.0))
    with pytest.raises(ValueError, match=r"has action_bounds \[-1.0, 3.0\], 'line/1' has \[-2.0, 3.0\]"):
        read_steps(dataset(random_data(LINE).items), wider)
    with pytest.raises(ValueError, match=r"has obs_shape \[1\], 'line/1' has \[2\]"):
        read_steps(dataset(random_data(LINE).items), dataclasses.replace(LINE, obs_shape=(2,)))
