"""Evaluation is exact and on time; phases share the steps."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from runner_tools import UPDATES, final_arrays, metrics, rows, toy

from jaxmarl_suite.algorithms import Algorithm, Phase
from jaxmarl_suite.analysis import load_run, summarize
from jaxmarl_suite.analysis.style import format_share
from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import Experiment, TrainOptions, evaluate, run
from jaxmarl_suite.runner._experiment import Group
from jaxmarl_suite.runner._schedule import lasting_steps, plan_phases
from jaxmarl_suite.runner._train import total_env_steps

pytestmark = pytest.mark.usefixtures("toys")


@pytest.mark.parametrize(("env", "action"), [("countdown", 1), ("endless", 1), ("countdown", 2)])
def test_a_known_policy_has_its_known_return(env: str, action: int, tmp_path: Path) -> None:
    """Every step pays 2 x action; steps after the end would pay -100."""
    run_dir = run(toy(env=env, changes={"action": action}, seeds=2, eval_max_steps=9), run_dir=tmp_path / "run")
    lengths = set()
    for lane in range(2):
        for found in metrics(run_dir, "eval", lane) + metrics(run_dir, "absolute", lane):
            names = {"left", "return", "length"}
            assert found.keys() == names | {f"lazy/{name}" for name in names}
            assert found["return"] == 2 * action * found["length"]
            assert found["lazy/return"] == 0.0
            assert found["lazy/length"] == found["length"], "the same episodes for every policy"
            assert found["left"] == 0.0, "that of the end of the episode"
            assert 1 <= found["length"] <= 4
            lengths.add(found["length"])
    assert len(lengths) > 3, "every evaluation and seed has its own episodes"


def test_an_endless_episode_is_cut(tmp_path: Path) -> None:
    run_dir = run(
        toy(env="endless", grid={"env.longest": [10**6]}, eval_max_steps=3, evaluations=1), run_dir=tmp_path / "run"
    )
    (found,) = metrics(run_dir, "eval")
    assert (found["return"], found["length"]) == (6.0, 3.0)
    shares = [row["cut"] for kind in ("eval", "absolute") for row in rows(run_dir, kind).values()]
    assert shares == [{"return": 1.0, "lazy/return": 1.0}] * 2


def test_the_share_of_episodes_that_were_cut_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of lengths 1, 2 and 3 the last is cut after two steps, and then `left` is 1, not 0: its mean is the share."""
    run_dir = run(toy(env="endless", grid={"env.longest": [3, 2]}, eval_max_steps=2, seeds=2), run_dir=tmp_path / "run")
    for kind in ("eval", "absolute"):
        for lane in range(4):
            for row in rows(run_dir, kind, lane).values():
                left = row["metrics"]["left"]
                assert row.get("cut", {}) == ({"return": left, "lazy/return": left} if left > 0 else {})
    last = [found[-1]["left"] for found in (metrics(run_dir, "eval", lane) for lane in range(4))]
    assert min(last[:2]) > 0 and last[2:] == [0, 0], "nothing is said where nothing was cut"
    table = {(row.label, row.policy): row.cut for row in summarize(load_run(run_dir))}
    for policy in ("", "lazy"):
        assert table["toy env.longest=3", policy] == pytest.approx(np.mean(last[:2])), table
        assert table["toy env.longest=2", policy] == 0.0
    (summary, *_) = json.loads((run_dir / "summary.json").read_text())["lanes"]
    assert summary["eval"]["cut"]["return"] == last[0] and "metrics" in summary["absolute"]

    found = evaluate(run_dir, episodes=16)
    assert all(one.cut.get("return", 0.0) == one.metrics["left"] for one in found)
    assert any(one.cut for one in found) and not any(one.cut for one in found if one.lane > 1)
    share = format_share(float(np.mean(last[:2])))
    for command, shown in (
        ("table", share),
        ("resume", share),
        ("eval --episodes 16", format_share(found[0].cut["return"])),
    ):
        assert main([*command.split(), str(run_dir)]) == 0
        out = capsys.readouterr().out
        assert shown in out and "cut" in out, out


def test_the_absolute_metric_is_that_of_the_best_policy(tmp_path: Path) -> None:
    """After 6 updates the policy pays 4 a step, before and later 2; lane 2 is never better. Of equals the latest counts."""
    experiment = toy(grid={"best_at": [6.0, 9.0, -1.0, 5.0], "env.longest": [1]})
    run_dir = run(experiment, run_dir=tmp_path / "run")
    assert [[m["return"] for m in metrics(run_dir, "eval", lane)] for lane in range(4)] == [
        [2.0, 4.0, 2.0, 2.0],
        [2.0, 2.0, 4.0, 2.0],
        [2.0, 2.0, 2.0, 2.0],
        [2.0, 2.0, 2.0, 2.0],  # between two evaluations nobody looks
    ]
    absolute = list(rows(run_dir, "absolute").values())
    assert [row["metrics"]["return"] for row in absolute] == [4.0, 4.0, 2.0, 2.0]
    assert [row["env_steps"] for row in absolute] == [24, 36, 48, 48]
    assert all(row["episodes"] == 8 and row["update"] == UPDATES for row in absolute)


@pytest.mark.parametrize(("episodes", "expected"), [(0, None), (20, 24)])
def test_absolute_episodes_come_in_whole_batches(episodes: int, expected: int | None, tmp_path: Path) -> None:
    found = rows(run(toy(absolute_episodes=episodes), run_dir=tmp_path / "run"), "absolute").values()
    assert [row["episodes"] for row in found] == ([expected] if expected else [])


def test_phases_follow_one_another(tmp_path: Path) -> None:
    """0.7 of 48 steps in updates of 4, the rest in updates of 8."""
    run_dir = run(toy(changes={"two_phases": True}), run_dir=tmp_path / "run")
    train = [(row["phase"], row["update"], row["env_steps"]) for row in rows(run_dir, "train").values()]
    assert train == [("first", u, 4 * u) for u in range(1, 9)] + [("second", u, 32 + 8 * u) for u in (1, 2)]
    evaluations = [(row["phase"], row["env_steps"]) for row in rows(run_dir, "eval").values()]
    assert evaluations == [("first", 12), ("first", 24), ("second", 40), ("second", 48)]
    clocks = [found["learner/clock"] for found in metrics(run_dir, "train")]
    assert clocks == [*range(8), 0, 1], "every phase has its own clock"
    weights = [found["learner/weight"] for found in metrics(run_dir, "train")]
    begun_with = [
        array for array in final_arrays(run_dir) if array.shape == (1,) and array[0] == np.float32(weights[7])
    ]
    assert begun_with, "the second phase starts from the last state of the first"


def a_group(sizes: list[int], fractions: list[float]) -> Group:
    """A group of which nothing but the phases' lengths is known."""
    phases = tuple(
        Phase(str(i), Algorithm(*[None] * 5, env_steps_per_update=size), fraction)  # type: ignore[arg-type]
        for i, (size, fraction) in enumerate(zip(sizes, fractions))
    )
    experiment: Experiment = toy()
    return Group(experiment.spec, None, None, (), phases, None, phases)  # type: ignore[arg-type]


@hypothesis_settings(max_examples=200, deadline=None, derandomize=True)
@given(
    phases=st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 1.0)), min_size=1, max_size=3),
    beyond=st.integers(0, 2000),
    evaluations=st.integers(1, 30),
    log_rows=st.integers(1, 30),
)
def test_schedules_hold_their_promises(phases, beyond: int, evaluations: int, log_rows: int) -> None:
    sizes, fractions = map(list, zip(*phases))
    total = sum(sizes) + beyond
    options = TrainOptions(total_steps=total, evaluations=evaluations, log_rows=log_rows)
    plans = plan_phases(a_group(sizes, fractions), options)
    done = 0
    marks = []
    for plan, size in zip(plans, sizes):
        assert plan.first_step == done and plan.updates >= 1 and plan.env_steps_per_update == size
        done += plan.updates * size
        assert plan.log_at[-1] == plan.updates, "no row is left half-finished"
        assert all(0 < u <= plan.updates for u in (*plan.log_at, *plan.eval_at))
        marks += [plan.env_steps(u) for u in plan.eval_at]
        update, stops = 0, []
        while update < plan.updates:
            update = plan.next_stop(update)
            stops.append(update)
        assert {*plan.log_at, *plan.eval_at} <= set(stops)
    assert total - sizes[-1] < done <= total, "as many steps as fit, never more"
    assert marks == sorted(set(marks)) and marks[-1] == done, "the end is evaluated"
    assert len(marks) <= evaluations + 1
    for number in {0, 1, min(2, evaluations), min(5, evaluations), evaluations}:
        lasting = sorted(lasting_steps(plans, number))
        places = [-1, *(marks.index(step) for step in lasting)]
        assert len(lasting) == min(number, len(marks)) and (not lasting or places[-1] == len(marks) - 1)
        assert np.ptp(np.diff(places)) <= 1 if lasting else True, "at equal distances"
    # Evaluation k is after the first update that reaches k/K of the steps.
    for mark in marks[:-1]:
        k = int(mark * evaluations / total + 1e-9)
        assert k >= 1 and mark - k * total / evaluations < max(sizes) + 1e-6


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one update a phase \(4 \+ 8 environment steps for toy"):
        toy(changes={"two_phases": True}, total_steps=11).groups()
    assert total_env_steps(toy(changes={"two_phases": True}, total_steps=12, seeds=2)) == 2 * 12
