"""Policies are evaluated in an environment of its own: held-out windows, larger teams, other numbers."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_tools import Recorder, metrics, rows, tiny_config, toy

from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import (
    Experiment,
    Interrupted,
    TrainOptions,
    evaluate,
    evaluate_rules,
    restore_policies,
    resume,
    run,
)

pytestmark = pytest.mark.usefixtures("toys")
RAG: dict[str, Any] = {"sessions": 900, "windows": 2, "n_agents": 2, "capacity": 16, "rounds": 20}
QUICK = TrainOptions(total_steps=48, evaluations=4, eval_episodes=4, absolute_episodes=4, log_rows=4)


def rag(**changes: Any) -> Experiment:
    """The toy always plays action 1: it admits in place of what was used longest ago."""
    return dataclasses.replace(
        Experiment("toy-without-floats", "rag/cache-L1", env_options=RAG, options=QUICK), **changes
    )


def costs(run_dir: Path) -> list[float]:
    return [found["cost"] for kind in ("eval", "absolute") for found in metrics(run_dir, kind)]


def test_rag_is_evaluated_on_held_out_windows_by_default(tmp_path: Path) -> None:
    (group,) = rag().groups()
    assert not np.array_equal(group.lanes[0].env_params.windows[0], group.lanes[0].eval_params.windows[0])
    held_out = run(rag(), run_dir=tmp_path / "held_out")
    seen = run(rag(eval_env_options={"split": "train"}), run_dir=tmp_path / "seen")
    tested = run(rag(eval_env_options={"split": "test", "peer_cost": 0.5}), run_dir=tmp_path / "tested")
    train_rows = [rows(path, "train") for path in (held_out, seen, tested)]
    assert train_rows[0] == train_rows[1] == train_rows[2], "training is the same"
    assert len({tuple(costs(path)) for path in (held_out, seen, tested)}) == 3
    stored = [json.loads((path / "config.json").read_text())["eval_env_options"] for path in (held_out, seen, tested)]
    assert stored == [{"split": "validation"}, {"split": "train"}, {"split": "test", "peer_cost": 0.5}]
    assert Experiment.from_json(json.loads((tested / "config.json").read_text())).evaluation_options == stored[2]

    # `eval` plays where the run was evaluated, or where it is told to.
    (found,) = [one.metrics["cost"] for one in evaluate(held_out, episodes=4) if one.policy == "final"]
    (same,) = [
        one.metrics["cost"]
        for one in evaluate(seen, episodes=4, eval_env_options={"split": "validation"})
        if one.policy == "final"
    ]
    (other,) = [one.metrics["cost"] for one in evaluate(seen, episodes=4) if one.policy == "final"]
    assert found == same != other
    (trained,) = restore_policies(held_out)
    assert trained.group.eval_env.unwrapped.n_docs and trained.lanes[0].eval_params.windows.shape[0] == 2
    # The episodes are those that rules are evaluated on with the same windows.
    rule = evaluate_rules("rag/cache-L1", ("lru",), env_options={**RAG, "split": "validation"}, episodes=4)
    assert rule["lru"].keys() == {"cost", "local_hit", "peer_hit", "return", "length"}


def test_an_interrupted_run_is_evaluated_on_where_it_began(tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, checkpoint_seconds=1e6)
    whole = run(rag(options=options, eval_env_options={"split": "test"}), run_dir=tmp_path / "whole")
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGTERM) if calls == 2 else None)
    with pytest.raises(Interrupted):
        run(rag(options=options, eval_env_options={"split": "test"}), run_dir=tmp_path / "stopped", listener=stop)
    assert "policies are evaluated with --eval-env.split test" in stop.said
    with pytest.raises(ValueError, match=r"eval_env_options\.split is 'test' in the run, got 'validation'"):
        resume(tmp_path / "stopped", experiment=rag(options=options))
    assert rows(resume(tmp_path / "stopped")) == rows(whole)


def test_a_run_of_a_version_before_goes_on_as_it_began(tmp_path: Path) -> None:
    """It was evaluated where it was trained."""
    stored = rag().to_json()
    del stored["eval_env_options"]
    assert Experiment.from_json(stored).evaluation_options == {"split": "train"}
    stored["env_options"]["split"] = "all"
    assert Experiment.from_json(stored).evaluation_options == {"split": "all"}
    run_dir = run(toy(), run_dir=tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text())
    assert config.pop("eval_env_options") == {}
    (run_dir / "config.json").write_text(json.dumps(config))
    assert resume(run_dir, experiment=toy()) == run_dir


def test_a_larger_team_is_evaluated(tmp_path: Path) -> None:
    """Every step pays the sum of the actions, all 1, and 2 in the sixth update: returns grow with the team."""
    experiment = dataclasses.replace(
        toy(changes={"best_at": 6.0}, seeds=2), eval_env_options={"agents": 5, "bonus": 3.0}
    )
    (group,) = experiment.groups()
    assert group.env.spec.n_agents == 2 and group.eval_env.spec.n_agents == 5
    run_dir = run(experiment, run_dir=tmp_path / "run")
    for lane in range(2):
        found = metrics(run_dir, "eval", lane)
        assert [row["return"] / row["length"] for row in found] == [8, 13, 8, 8]
        assert [row["return"] / row["length"] for row in metrics(run_dir, "absolute", lane)] == [13]
    assert main(["eval", str(run_dir), "--render", str(tmp_path / "episode.png")]) == 2, "it has no picture"


def test_a_larger_team_for_each_point_of_a_grid() -> None:
    """Options of evaluations go before the grid; lanes are in one group where both environments agree."""
    experiment = toy(grid={"env.bonus": [0.0, 1.0], "env.longest": [2, 4]})
    groups = dataclasses.replace(experiment, eval_env_options={"bonus": 7.0, "agents": 3}).groups()
    assert len(groups) == 2
    for group, longest in zip(groups, (2, 4)):
        assert [float(lane.env_params.bonus) for lane in group.lanes] == [0.0, 1.0]
        assert [float(lane.eval_params.bonus) for lane in group.lanes] == [7.0, 7.0]
        assert (group.eval_env.unwrapped.longest, group.eval_env.unwrapped.agents) == (longest, 3)


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (
            rag(eval_env_options={"actions": "sampled"}),
            r"policies cannot be evaluated in rag/cache-L1 with --eval-env.split validation --eval-env.actions sampled: "
            r"obs_shape is \(90,\) there, and \(30,\) in training",
        ),
        (
            Experiment("ippo", "rag/cache-L1", tiny_config("ippo"), RAG, {}, QUICK, {"n_agents": 3}),
            "policies of ippo cannot be evaluated where n_agents is 3, as it is 2 in training: '.*' would have shape "
            r"\(33, .*\), and has \(32, ",
        ),
        (
            rag(eval_env_options={"spilt": "test"}),
            "unknown option 'spilt'.*environment of evaluations: --eval-env.split",
        ),
        (
            rag(eval_env_options={"split": "tests"}),
            "split must be .*environment of evaluations: --eval-env.split",
        ),
    ],
    ids=["observations", "policies", "option", "value"],
)
def test_environments_that_policies_cannot_act_in_are_refused(
    experiment: Experiment, message: str, tmp_path: Path
) -> None:
    if experiment.algorithm == "ippo":
        experiment = dataclasses.replace(experiment, options=dataclasses.replace(QUICK, total_steps=320))
    with pytest.raises(ValueError, match=message):
        run(experiment, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_environments_are_equal_nothing_is_made_twice() -> None:
    (group,) = dataclasses.replace(toy(), eval_env_options={"bonus": 2.0}).groups()
    assert group.eval_env is group.env and group.eval_phases is group.phases
    (group,) = toy().groups()
    assert group.lanes[0].eval_params is group.lanes[0].env_params
