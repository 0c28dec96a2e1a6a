"""Phases that never act, counted in updates, and what they leave: in the same run, and to start another one from."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jaxmarl_envs
import library_toy
import numpy as np
import pytest
from library_toy import ENV_STEPS, OFFLINE_UPDATES
from runner_tools import Recorder, assert_same_arrays, final_arrays, rows, tiny, toy

from jaxmarl_suite.algorithms import Algorithm, Phase
from jaxmarl_suite.analysis import load_run, plot, summarize
from jaxmarl_suite.cli import main
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
from jaxmarl_suite.runner._artifacts import find_starts, read_start
from jaxmarl_suite.runner._schedule import lasting_steps

pytestmark = pytest.mark.usefixtures("toys", "named")
PLAY_UPDATES = 6


@pytest.fixture
def named() -> Any:
    """The method of two phases has a name."""
    with library_toy.registered():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored numbers."""
    return library_toy.write_data(tmp_path_factory.mktemp("data") / "numbers")


def library(data: Path | None, *, env: str = "counting/countdown", grid: Any = None, **options: Any) -> Experiment:
    """Ten updates without a step, then six of play."""
    settings = {name: options.pop(name) for name in ("offline_updates", "entries", "rate") if name in options}
    chosen = {
        "total_steps": PLAY_UPDATES * ENV_STEPS,
        "evaluations": 2,
        "eval_episodes": 4,
        "absolute_episodes": 4,
        "log_rows": 5,
        "checkpoint_seconds": 1e6,
        "data": None if data is None else str(data),
    }
    return Experiment("library-toy", env, settings, {}, grid or {}, TrainOptions(**{**chosen, **options}))


@pytest.fixture(scope="module")
def both(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two lanes through both phases."""
    from runner_toy import registered

    with registered(), library_toy.registered():
        return run(library(data, seeds=2), run_dir=tmp_path_factory.mktemp("both") / "run")


def of_phase(run_dir: Path, phase: str) -> dict[Any, Any]:
    """The rows of a phase, without the step that tells where in the run they are."""
    found = {key: row for key, row in rows(run_dir).items() if row["phase"] == phase}
    return {key: {name: value for name, value in row.items() if name != "step"} for key, row in found.items()}


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


def test_a_run_that_starts_from_the_artifact_is_the_second_half_of_the_one_that_left_it(
    both: Path, tmp_path: Path
) -> None:
    """Bit by bit: states, best policies, rows. Without the data; and without the other run, once it has begun."""
    source = tmp_path / "source"
    shutil.copytree(both, source)
    given = library(None, seeds=2, start_from=str(source), checkpoint_seconds=0.0)
    started = run(given, run_dir=tmp_path / "started")
    assert of_phase(started, "play") == of_phase(both, "play")
    assert {row["phase"] for row in rows(started).values()} == {"play"}
    pairs = list(zip(final_arrays(started), final_arrays(both), strict=True))
    (steps,) = [pair for pair in pairs if pair[0].tobytes() != pair[1].tobytes()]
    assert (steps[1] - steps[0]).tolist() == [OFFLINE_UPDATES] * 2, "but for the steps of their runs"
    config = json.loads((started / "config.json").read_text())
    assert config["train"]["start_from"] == str(source)
    about = {"run_dir": str(source), "phase": "library", "env_steps": 0}
    assert [lane["start"] for lane in config["lanes"]] == [{**about, "lane": 0}, {**about, "lane": 1}]

    shutil.rmtree(source)
    expected = rows(started)
    evaluations = evaluate(started, episodes=4)
    shutil.rmtree(started / "checkpoints")  # as if it had been killed before the first
    (started / "summary.json").unlink()
    resume(started)
    assert rows(started) == expected and evaluate(started, episodes=4) == evaluations


def test_what_a_killed_process_copied_is_replaced_and_nothing_of_the_users(both: Path, tmp_path: Path) -> None:
    given = library(None, seeds=2, start_from=str(both))
    mine, left = tmp_path / "mine", tmp_path / "left"
    for path in (mine / "start" / "notes.txt", tmp_path / "deep" / "start" / "000" / "notes.txt"):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(ValueError, match="is not an empty folder"):
            run(given, run_dir=path.parents[path.parts[::-1].index("start")])
        assert path.read_text() == "mine"
    (left / "start" / "000" / "0.orbax-checkpoint-tmp").mkdir(parents=True)
    assert of_phase(run(given, run_dir=left), "play") == of_phase(both, "play")


def test_one_lane_may_start_all(both: Path, tmp_path: Path) -> None:
    started = run(
        library(None, seeds=3, start_from=str(both), start_lane=1, lanes_at_once=2, lane_mode="vmap"),
        run_dir=tmp_path / "started",
    )
    assert read_start(RunFolder(started), 0).arrays[0].shape == (1, 3)
    (theirs,) = restore_policies(both)
    found = [weights for trained in restore_policies(started) for weights in trained.state.library.weights]
    assert len(found) == 3 and all(np.array_equal(w, theirs.state.library.weights[1]) for w in found)
    assert len({float(own) for trained in restore_policies(started) for own in trained.state.own}) == 3


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


def test_a_sweep_shares_the_phases(data: Path, tmp_path: Path) -> None:
    """Lanes of other settings learn other libraries; an artifact of each."""
    swept = run(library(data, grid={"rate": [0.5, 0.25]}), run_dir=tmp_path / "run")
    played = [row for key, row in of_phase(swept, "play").items() if key[0] == "train" and row["update"] == 6]
    assert len({row["metrics"]["learner/own"] for row in played}) == 2
    again = run(library(None, grid={"rate": [0.5, 0.25]}, start_from=str(swept)), run_dir=tmp_path / "again")
    assert of_phase(again, "play") == of_phase(swept, "play")
    waves = library(data, grid={"rate": [0.5, 0.25], "offline_updates": [10, 5]}, lanes_at_once=1)
    assert [len(group.lanes) for group in waves.groups()] == [2, 2]
    many = run(waves, run_dir=tmp_path / "many")
    assert len(list((many / "artifacts").iterdir())) == 4
    again = run(
        dataclasses.replace(waves, options=dataclasses.replace(waves.options, data=None, start_from=str(many))),
        run_dir=tmp_path / "again-many",
    )
    ours, theirs = of_phase(again, "play"), of_phase(many, "play")
    assert ours.keys() == theirs.keys()
    # Best policies are left out: in the whole run one of the first phase may be it.
    assert all(ours[key] == theirs[key] for key in ours if key[0] != "absolute")


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


def test_artifacts_of_other_lanes_may_have_other_shapes(data: Path, tmp_path: Path) -> None:
    """A grid over a size gives artifacts of several; each lane takes its own."""
    grid = {"entries": [2, 3]}
    source = run(library(data, grid=grid), run_dir=tmp_path / "source")
    again = run(library(None, grid=grid, start_from=str(source)), run_dir=tmp_path / "again")
    assert of_phase(again, "play") == of_phase(source, "play")


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_from": "nowhere"}, "'nowhere' is not a run folder"),
        (
            {"seeds": 3},
            r"has 2 lanes and this one 3; set start_lane \(0 to 1\) to the one whose artifact all of them take",
        ),
        ({"start_lane": 2}, r"has no lane 2; there are 0..1"),
        (
            {"start_lane": 0, "env": "counting/endless"},
            "is of 'counting/countdown' with options {}, got 'counting/endless'",
        ),
        (
            {"start_lane": 0, "grid": {"env.bonus": [0.0, 1.0]}},
            "'counting/countdown' with options {}, got 'counting/countdown' with {'bonus': 1.0}",
        ),
        (
            {"start_lane": 0, "entries": 4},
            r"artifact of phase 'library' of run .* has float32 \(3,\) for 'weights', library-toy needs float32 \(4,\)",
        ),
        ({"start_phase": "library"}, "cannot start with phase 'library'; with an artifact begin: play"),
        ({"start_from": None, "start_lane": 1}, "start_lane needs start_from"),
        ({"start_from": None}, r"phase 'library' of library-toy learns from stored data: .*--data"),
        ({"data": "numbers"}, "no phase of this run of library-toy takes data"),
    ],
)
def test_what_cannot_start_is_refused_before_a_file_is_written(
    settings: dict[str, Any], message: str, both: Path, data: Path, tmp_path: Path
) -> None:
    if settings.get("data"):
        settings = settings | {"data": str(data)}
    chosen = {"data": None, "seeds": 2, "start_from": str(both), **settings}
    with pytest.raises(ValueError, match=message):
        run(library(**chosen), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_artifacts_than_the_needed_one_are_refused(both: Path, data: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(both, unfinished)
    shutil.rmtree(unfinished / "artifacts")
    given = library(None, seeds=2, start_from=str(unfinished))
    with pytest.raises(
        ValueError, match="has no artifact of phase 'library' of lane 0; it is written when that phase is"
    ):
        run(given, run_dir=tmp_path / "run")
    with pytest.raises(
        ValueError, match="toy cannot start from another run: none of its phases begins with an artifact"
    ):
        toy(start_from=str(both), changes={"two_phases": True}).groups()
    with pytest.raises(ValueError, match="has no artifact of phase 'teach' of lane 0; it has one of phase 'library'"):
        other = dataclasses.replace(
            tiny("tad-ppo", seeds=2, start_from=str(both)), env="counting/countdown", env_options={}
        )
        find_starts(other, other.groups())
    odd = tmp_path / "odd"
    shutil.copytree(both, odd)
    config = json.loads((odd / "config.json").read_text())
    for lanes in ([1], [{"overrides": 3}]):
        (odd / "config.json").write_text(json.dumps(config | {"lanes": lanes}))
        with pytest.raises(ValueError, match=r"config\.json: 'lanes' must be a list of objects with overrides, got \["):
            run(library(None, seeds=1, start_from=str(odd)), run_dir=tmp_path / "run")
    damaged = tmp_path / "damaged"
    shutil.copytree(both, damaged)
    for path in (damaged / "artifacts").rglob("*"):
        if path.is_file() and path.stat().st_size > 40 and "d" in path.parts:
            path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ValueError, match="cannot be read"):
        run(library(None, seeds=2, start_from=str(damaged)), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


def test_the_command_line_plans_trains_and_starts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["library-toy", "--env", "counting/countdown", "--total-steps", "24", "--evaluations", "2"]
    common += ["--eval-episodes", "4", "--absolute-episodes", "4"]
    assert main(["--json", "plan", *common, "--data", str(data)]) == 0
    (program,) = json.loads(capsys.readouterr().out.splitlines()[-1])["programs"]
    assert [(phase["name"], phase["updates"], phase["env_steps_per_update"]) for phase in program["phases"]] == [
        ("library", 10, 0),
        ("play", 6, 4),
    ]
    assert main(["train", *common, "--data", str(data), "--run-dir", str(tmp_path / "run")]) == 0
    started = [*common, "--start-from", str(tmp_path / "run"), "--run-dir", str(tmp_path / "started")]
    assert main(["train", *started]) == 0
    assert of_phase(tmp_path / "started", "play") == of_phase(tmp_path / "run", "play")
    assert main(["train", *started, "--resume"]) == 0, "it is what it was"
    capsys.readouterr()
    assert main(["train", *common, "--start-from", str(data), "--run-dir", str(tmp_path / "r")]) == 2
    assert "is not a run folder" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_distillation_starts_from_the_teacher_of_another_run(tmp_path: Path) -> None:
    """It is that teacher to the end; and the same run again where the lengths agree."""
    whole = run(tiny("tad-ppo"), run_dir=tmp_path / "whole")
    (teach, distill) = plan_phases(tiny("tad-ppo").groups()[0], tiny("tad-ppo").options)
    steps = distill.updates * distill.env_steps_per_update
    started = run(tiny("tad-ppo", total_steps=steps, start_from=str(whole)), run_dir=tmp_path / "started")
    (theirs,), (ours,) = restore_policies(whole), restore_policies(started)
    for a, b in zip(jax.tree.leaves(theirs.state), jax.tree.leaves(ours.state), strict=True):
        a, b = (jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    losses = [
        [row["metrics"]["learner/distill_loss"] for row in rows(path, "train").values() if row["phase"] == "distill"][
            -1
        ]
        for path in (whole, started)
    ]
    assert losses[0] == losses[1]
    source = json.loads((started / "config.json").read_text())["lanes"][0]["start"]
    assert source == {"run_dir": str(whole), "phase": "teach", "env_steps": teach.env_steps(teach.updates), "lane": 0}
    assert rows(started, "eval").keys() and all(row["phase"] == "distill" for row in rows(started).values())
