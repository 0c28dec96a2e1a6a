"""The world model of a run beside its environment: from Python and on the command line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from runner_tools import tiny, tiny_config

from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import Experiment, TrainOptions, diagnose, run

pytestmark = pytest.mark.slow  # whole runs of methods that take long to compile


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on a line for two agents."""
    options = TrainOptions(total_steps=128, evaluations=1, eval_episodes=2, absolute_episodes=0, seeds=2)
    experiment = Experiment("mbppo-mlp", "line/2", tiny_config("mbppo-mlp"), {"limit": 5}, {}, options)
    return run(experiment, run_dir=tmp_path_factory.mktemp("diagnose") / "run")


def test_what_is_found(trained: Path) -> None:
    found = diagnose(trained, lane=1, samples=3, steps=4)
    assert found.true.shape == (3, 5, 1) and found.predicted.shape == found.error.shape == (3, 4, 1)
    assert found.gains.shape == (2,) and found.env_steps == 128
    assert np.isfinite(found.predicted).all() and (found.error > 0).any()
    # The true states are those of single episodes: a step moves the team by at most PUSH times the largest actions.
    assert np.abs(np.diff(found.true[..., 0], axis=1)).max() <= 0.5 * 2 * 2 + 1e-5


def test_on_the_command_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "model.png"
    arguments = ["--samples", "3", "--steps", "4", "--out", str(figure)]
    assert main(["model", str(trained), *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(result["error"]) == 4 and len(result["gains"]) == 2
    assert figure.stat().st_size > 1000


def test_what_cannot_be_tested(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"do not fit into episodes of 'line/2'.* accepted: up to 5"):
        diagnose(trained, steps=6)
    with pytest.raises(ValueError, match="samples and steps must be at least 1, got 0 and 4"):
        diagnose(trained, samples=0, steps=4)
    with pytest.raises(ValueError, match="no lane 7 with a checkpoint"):
        diagnose(trained, lane=7)
    other = dataclasses.replace(tiny("mappo").options, evaluations=1)
    plain = run(dataclasses.replace(tiny("mappo"), options=other), run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="mappo has no world model that could be tested"):
        diagnose(plain)
