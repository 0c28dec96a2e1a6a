"""Phases that never act, counted in updates, and the artifacts that they leave."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jaxmarl_envs
import library_toy
import numpy as np
import pytest
from library_toy import OFFLINE_UPDATES, library
from runner_tools import Recorder, assert_same_arrays, final_arrays, rows, toy

from jaxmarl_suite.algorithms import Algorithm, Phase
from jaxmarl_suite.analysis import load_run, plot, summarize
from jaxmarl_suite.runner import (
    Experiment,
    Group,
    RunFolder,
    TrainOptions,
    evaluate,
    plan_phases,
    restore_policies,
    resume,
    run,
    total_env_steps,
    total_steps,
)
from jaxmarl_suite.runner._artifacts import find_starts
from jaxmarl_suite.runner._schedule import lasting_steps

pytestmark = pytest.mark.usefixtures("toys", "named")


def test_a_phase_that_never_acts_is_counted_in_updates(both: Path) -> None:
    train = [(r["phase"], r["update"], r["env_steps"], r.get("step")) for r in rows(both, "train", 0).values()]
    offline = [("library", u, 0, u) for u in (2, 4, 6, 8, 10)]
    assert train == offline + [("play", u, 4 * u, 10 + 4 * u) for u in (2, 3, 4, 5, 6)]
    evaluated = [(r["phase"], r["update"], r["env_steps"]) for r in rows(both, "eval", 0).values()]
    assert evaluated == [("library", 5, 0), ("library", 10, 0), ("play", 3, 12), ("play", 6, 24)]
    (group,) = Experiment.read(RunFolder(both)).groups()
    assert [plan.played_before for plan in plan_phases(group, TrainOptions(total_steps=24))] == [0, 0]
    clocks = [row["metrics"]["learner/clock"] for row in rows(both, "train", 0).values()]
    assert clocks == [0.5, 2.5, 4.5, 6.5, 8.5, 0.5, 2, 3, 4, 5], "each phase has its own"
    played = [r["metrics"]["learner/played"] for r in rows(both, "train", 0).values() if r["phase"] == "play"]
    assert played == [2, 8, 12, 16, 20]


def test_evaluations_see_the_clock_of_the_update_that_made_the_policy(both: Path) -> None:
    """Also where environment steps stand still; of best policies, too, which are of the latest of equal evaluations."""
    for row in rows(both, "eval").values():
        assert row["metrics"]["return"] / row["metrics"]["length"] == 2 * ((row["update"] - 1) % 3)
    for found in evaluate(both, episodes=4):
        assert found.metrics["return"] / found.metrics["length"] in (2 * ((6 - 1) % 3), 2 * ((3 - 1) % 3))


def test_it_learns_from_the_data_and_leaves_a_library_that_is_never_changed(both: Path, data: Path) -> None:
    numbers = np.linspace(-1, 1, 7, dtype=np.float32)
    (trained,) = restore_policies(both)
    for place, lane in enumerate(trained.lanes):
        key = jax.random.fold_in(jaxmarl_envs.seed_key(lane.seed), 0)
        weights_key, _, key = jax.random.split(key, 3)
        expected = np.asarray(jax.random.normal(weights_key, (3,)))
        for _ in range(OFFLINE_UPDATES):
            draw_key, key = jax.random.split(key)
            expected = expected + 0.5 * (numbers[np.asarray(jax.random.randint(draw_key, (3,), 0, 7))] - expected)
        np.testing.assert_allclose(trained.state.library.weights[place], expected, rtol=1e-5)
    start = find_starts(
        library(None, seeds=2, start_from=str(both)), library(None, seeds=2, start_from=str(both)).groups()
    )
    assert start[0].arrays[0].tobytes() == np.asarray(trained.state.library.weights).tobytes()


class Killed(BaseException):
    """As by SIGKILL: nothing is saved."""


def kill_after(calls: int) -> Recorder:
    def on_rows(number: int) -> None:
        if number == calls:
            raise Killed

    return Recorder(on_rows)


@pytest.mark.parametrize("calls", [3, OFFLINE_UPDATES - 1, OFFLINE_UPDATES, OFFLINE_UPDATES + 2])
def test_a_run_that_is_killed_in_either_phase_goes_on_bitwise(
    calls: int, both: Path, data: Path, tmp_path: Path, few_at_a_time: None
) -> None:
    """A checkpoint of each update: environment steps alone would give those of the first phase one number.

    The first call is after two updates; the tenth comes when the library is written, before a checkpoint of play.
    """
    given = library(data, seeds=2, checkpoint_seconds=0.0, keep_checkpoints=100)
    recorder = kill_after(calls)
    with pytest.raises(Killed):
        run(given, run_dir=tmp_path / "run", listener=recorder)
    saved = sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints" / "000-00000").glob("[0-9]*"))
    assert saved[: OFFLINE_UPDATES - 1] == list(range(2, min(calls, OFFLINE_UPDATES) + 1))
    assert (tmp_path / "run" / "artifacts").exists() == (calls >= OFFLINE_UPDATES)
    again = Recorder()
    resume(tmp_path / "run", listener=again)
    phase = "library" if calls <= OFFLINE_UPDATES else "play"
    assert any(f"of phase '{phase}'" in line for line in again.said if line.startswith("continuing")), again.said
    assert rows(tmp_path / "run") == rows(both)
    assert_same_arrays(final_arrays(tmp_path / "run"), final_arrays(both))


def test_progress_counts_updates_without_steps(data: Path, tmp_path: Path) -> None:
    given, recorder = library(data, seeds=2), Recorder()
    assert total_env_steps(given) == 2 * 24 and total_steps(given) == 2 * (24 + 10)
    run(given, run_dir=tmp_path / "run", listener=recorder)
    assert recorder.env_steps == total_steps(given)
    assert "24 environment steps each, after 10 updates without any" in recorder.said[0]


def test_lasting_checkpoints_are_of_both_phases(data: Path, tmp_path: Path) -> None:
    given = library(data, lasting_checkpoints=2, keep_checkpoints=1)
    (group,) = given.groups()
    assert lasting_steps(plan_phases(group, given.options), 4) == {5, 10, 22, 34}
    run_dir = run(given, run_dir=tmp_path / "run")
    (early,) = restore_policies(run_dir, step=10)
    assert (early.phase, early.step, early.env_steps) == (0, 10, 0)
    with pytest.raises(ValueError, match="no checkpoint of step 7; there are 10, 34"):
        restore_policies(run_dir, step=7)


def a_plan(*sizes: int, **options: Any) -> list[Any]:
    phases = tuple(
        Phase(str(i), Algorithm(*[None] * 5, env_steps_per_update=size), updates=None if size else 7)  # type: ignore[arg-type]
        for i, size in enumerate(sizes)
    )
    return plan_phases(Group(toy().spec, None, None, (), phases, None, phases), TrainOptions(**options))  # type: ignore[arg-type]


def test_phases_without_steps_take_none_from_the_others() -> None:
    before, first, between, second, after = a_plan(0, 4, 0, 4, 0, total_steps=48, evaluations=4, log_rows=2)
    alone = a_plan(4, 4, total_steps=48, evaluations=4, log_rows=2)
    for plan, same in zip((first, second), alone):
        assert (plan.updates, plan.log_at, plan.first_env_step) == (same.updates, same.log_at, same.first_env_step)
    assert first.eval_at == alone[0].eval_at and second.eval_at == alone[1].eval_at
    assert [plan.first_step for plan in (before, first, between, second, after)] == [0, 7, 31, 38, 62]
    assert [plan.first_env_step for plan in (before, first, between, second, after)] == [0, 0, 24, 24, 48]
    assert before.eval_at == between.eval_at == after.eval_at == (2, 4, 6, 7) and before.log_at == (4, 7)
    (only,) = a_plan(0, total_steps=1, evaluations=1, log_rows=100)
    assert only.log_at == (1, 2, 3, 4, 5, 6, 7) and only.eval_at == (7,) and only.env_steps(7) == 0


def test_figures_and_tables_know_its_evaluations_apart(data: Path, both: Path, tmp_path: Path) -> None:
    """Two seeds in two runs, one of which stopped in the first phase: only what both have is shown."""
    whole = load_run(run(library(data), run_dir=tmp_path / "whole"))
    part_dir = tmp_path / "part"
    shutil.copytree(run(library(data, first_seed=1), run_dir=tmp_path / "other"), part_dir)
    kept = [line for line in (part_dir / "metrics.jsonl").read_text().splitlines() if '"update": 5, ' in line]
    (part_dir / "metrics.jsonl").write_text("\n".join(line for line in kept if '"library"' in line) + "\n")
    part = load_run(part_dir)
    from jaxmarl_suite.analysis.groups import group_runs

    (series,) = group_runs([whole, part])
    curve = series.curve("return")
    assert curve.updates.tolist() == [5] and curve.steps.tolist() == [5] and curve.env_steps.tolist() == [0]
    (series,) = group_runs([load_run(both)])
    assert series.curve("return").env_steps.tolist() == [0, 0, 12, 24]
    assert series.curve("return").steps.tolist() == [5, 10, 22, 34]
    assert plot([load_run(both)], tmp_path / "curves.png").stat().st_size > 0
    assert [row.env_steps for row in summarize([load_run(both)])] == [24]


def test_authors_are_told_of_budgets_that_cannot_be(data: Path) -> None:
    def refused(change: Any) -> str:
        def make(config: Any, env: Any, has_data: bool) -> Any:
            return change(*library_toy.make(config, env, has_data))

        with library_toy.registered("broken", make), pytest.raises(ValueError) as caught:
            dataclasses.replace(library(data), algorithm="broken").groups()
        return str(caught.value)

    assert "'library' of broken takes no environment steps: updates must be at least 1, got None" in refused(
        lambda first, then: (first._replace(updates=None), then)
    )
    assert "phase 'play' of broken takes environment steps" in refused(
        lambda first, then: (first, then._replace(updates=3))
    )
    assert "broken has phases 'play', 'play'" in refused(lambda first, then: (first._replace(name="play"), then))
