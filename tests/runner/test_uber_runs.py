"""UBER's two phases as runs: resumed in either, joined by an artifact, evaluated as a library."""

import dataclasses
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from dataset_tools import LINE, random_data, write_random
from runner_tools import Recorder, assert_same_arrays, final_arrays, line_data, rows, tiny

from jaxmarl_suite.replay import REWARD
from jaxmarl_suite.runner import Interrupted, plan_phases, restore_policies, resume, run

pytestmark = pytest.mark.slow  # whole runs of methods that take long to compile


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve updates of the library, then four of play."""
    return run(tiny("uber"), run_dir=tmp_path_factory.mktemp("uber") / "run")


@pytest.mark.parametrize("after", [5, 12, 14])
def test_a_run_is_resumed_in_either_phase(whole: Path, after: int, few_at_a_time: None, tmp_path: Path) -> None:
    recorder = Recorder(lambda calls: signal.raise_signal(signal.SIGTERM) if calls == after else None)
    with pytest.raises(Interrupted):
        run(tiny("uber"), run_dir=tmp_path / "run", listener=recorder)
    resume(tmp_path / "run", experiment=tiny("uber"))
    assert_same_arrays(final_arrays(tmp_path / "run"), final_arrays(whole))
    assert rows(tmp_path / "run") == rows(whole)


def test_rows_show_the_composite_the_own_policy_and_the_library(whole: Path) -> None:
    found = [row for row in rows(whole).values() if row["kind"] == "eval"]
    library, online = ([row["metrics"] for row in found if row["phase"] == phase] for phase in ("library", "online"))
    assert all({"return", "own/return", *(f"library-{i}/return" for i in range(3))} <= row.keys() for row in library)
    assert all({"return", "own/return"} <= row.keys() and "library-0/return" not in row for row in online)
    last = [row for row in rows(whole).values() if row["kind"] == "train" and row["phase"] == "online"][-1]["metrics"]
    assert 0 <= last["learner/acts_own"] <= last["learner/acts_most"] <= 1 and last["learner/choice_entropy"] >= 0


def test_the_second_phase_starts_from_another_run_without_data(whole: Path, tmp_path: Path) -> None:
    """With the same lengths it is the same, bit for bit; and the library fits a task with other episodes."""
    steps = tiny("uber").options.total_steps
    alone = run(tiny("uber", start_from=str(whole), data=None, total_steps=steps), run_dir=tmp_path / "alone")
    ours, theirs = (
        # The best policy of the whole run may be one of its first phase.
        {k: r["metrics"] for k, r in rows(p).items() if k[2] == "online" and r["kind"] != "absolute"}
        for p in (whole, alone)
    )
    assert ours == theirs
    other = dataclasses.replace(tiny("uber", start_from=str(whole), data=None), env_options={"limit": 5})
    (trained,) = restore_policies(run(other, run_dir=tmp_path / "other"))
    (first,) = restore_policies(whole)
    jax.tree.map(np.testing.assert_array_equal, trained.final["library"], first.final["library"])


def test_rewards_in_the_data_change_nothing_in_the_library(whole: Path, tmp_path: Path) -> None:
    """Filled with NaN, the same run, bit for bit; a library of the reward refuses them."""
    items = random_data(LINE, 4, 12).items
    blank = write_random(tmp_path / "data", LINE, {**items, REWARD: np.full_like(items[REWARD], np.nan)}, limit=3)
    again = run(tiny("uber", data=str(blank)), run_dir=tmp_path / "run")
    assert_same_arrays(final_arrays(again), final_arrays(whole))
    assert rows(again) == rows(whole)
    with pytest.raises(ValueError, match="has a number in 'hidden_reward' that is not finite at step 0"):
        tiny("uber", data=str(blank), changes={"library": "reward"}).groups()


def test_a_library_of_another_size_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the artifact of phase 'library' of run .* uber needs float32 \(4, "):
        run(tiny("uber", start_from=str(whole), data=None, changes={"num_intents": 4}), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_phases_have_their_own_lengths() -> None:
    plans = plan_phases(tiny("uber").groups()[0], tiny("uber").options)
    assert [(plan.name, plan.updates, plan.env_steps_per_update) for plan in plans] == [
        ("library", 12, 0),
        ("online", 4, 32),
    ]
    with pytest.raises(ValueError, match="phase 'library' of uber learns from stored data"):
        tiny("uber", data=None).groups()
    with pytest.raises(ValueError, match="no phase of this run of uber takes data"):
        tiny("uber", data=line_data(), start_from="anywhere").groups()
