"""`runs`: what a folder of runs looks like."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from folders import write_run

from jaxmarl_suite.runner import RunFolder
from tests.cli.conftest import TINY_MAPPO, Cli


def listed(cli: Cli, line: str = "runs") -> dict[str, dict[str, Any]]:
    return {entry["run"]: entry for entry in cli(f"{line} --json").json["runs"]}


def test_lists_runs_at_any_depth_latest_first(cli: Cli, in_tmp: Path) -> None:
    write_run(in_tmp / "runs/a", seeds=(0, 1), score=lambda p, s, g: 4.0 * g + s)
    sweep = write_run(
        in_tmp / "runs/deep/b", points=[{"clip": 0.1}, {"clip": 0.2}], score=lambda p, s, g: p, algorithm="vdn"
    )
    cut = write_run(in_tmp / "runs/c", seeds=(5,), is_finished=False, total_steps=1000)
    rows = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(rows[:6]))  # 400 of 1,000 steps
    now = time.time()
    for folder, seconds in ((in_tmp / "runs/a", 200000), (sweep, 5400), (cut, 190)):
        os.utime(folder / "metrics.jsonl", (now - seconds, now - seconds))
    write_run(sweep / "checkpoints/not-one")  # inside a run there are no runs
    outcome = cli("runs")
    assert outcome.code == 0, outcome.err
    head, *lines = [line.split("   ") for line in outcome.out.splitlines()[:4]]
    found = [[cell.strip() for cell in line if cell.strip()] for line in (head, *lines)]
    assert found == [
        ["run", "algorithm", "environment", "seeds", "steps", "last return", "status", "age"],
        ["runs/c", "tad-ppo", "matrix/climbing", "1", "400 / 1k", "4.50", "unfinished", "3 min"],
        ["runs/deep/b", "vdn", "matrix/climbing", "4 × 2 settings", "512k / 512k", "1.00", "finished", "2 h"],
        ["runs/a", "tad-ppo", "matrix/climbing", "2", "128k / 128k", "4.50", "finished", "2 d"],
    ]
    assert listed(cli, "runs runs/a")["runs/a"]["last_return"] == 4.5


def test_a_run_that_is_being_trained(cli: Cli, in_tmp: Path) -> None:
    """The summary of a resumed run is of the process before."""
    folder = write_run(in_tmp / "runs/a", is_finished=False)
    (folder / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    with RunFolder(folder).locked():
        assert listed(cli)["runs/a"]["status"] == "running"
        assert listed(cli)["runs/a"]["status"] == "running", "looking took nothing away"
    (folder / "lock").write_text("{}")  # left by a killed process
    assert listed(cli)["runs/a"]["status"] == "interrupted"
    with RunFolder(folder).locked():
        pass


def test_a_damaged_run_hides_no_others(cli: Cli, in_tmp: Path) -> None:
    write_run(in_tmp / "runs/a")
    (write_run(in_tmp / "runs/b") / "config.json").write_text("{")
    found = listed(cli)
    assert found["runs/a"]["status"] == "finished"
    assert found["runs/b"]["status"] == "damaged" and "config.json: not valid JSON" in found["runs/b"]["error"]
    assert "damaged: runs/b/config.json: not valid JSON" in " ".join(cli("runs").out.split())


@pytest.mark.parametrize("line", ["runs", "runs nowhere"])
def test_no_folder(cli: Cli, in_tmp: Path, line: str) -> None:
    assert "no folder" in cli(line).error
    (in_tmp / "runs").mkdir()
    (in_tmp / "nowhere").mkdir()
    assert cli(line).code == 0 and "no runs in" in cli(line).out and listed(cli, line) == {}


TINY_HALLWAY = f"--env hallway/2-2 {TINY_MAPPO}"


def test_the_first_metric_of_an_environment_is_shown_beside_the_return(cli: Cli, in_tmp: Path) -> None:
    outcome = cli(f"train mappo {TINY_HALLWAY} --run-dir mine")
    assert outcome.code == 0, outcome.err
    progress = next(line for line in outcome.out.splitlines() if line.startswith("100%"))
    assert re.search(r"return [\d.]+  win [\d.]+", progress)
    assert re.search(r"final return +best policy +final win +best win +", outcome.out)
    win = next(
        json.loads(line) for line in (in_tmp / "mine/metrics.jsonl").read_text().splitlines() if '"absolute"' in line
    )
    outcome = cli("eval mine --show win length")
    head, lane, *rest = outcome.out.splitlines()
    assert [cell.strip() for cell in head.split("  ") if cell.strip()] == [
        *(
            "lane",
            "seed",
            "final",
            "final win",
            "final length",
            "best",
            "best win",
            "best length",
            "of step",
            "optimum",
        ),
    ]
    assert "mean returns, win, length of 4 episodes" in " ".join(rest)
    assert 0.0 <= float(lane.split()[3]) <= 1.0 and set(win["metrics"]) == {"return", "length", "win"}
    assert "final win" not in cli("resume mine --show length").out
    assert "final length" in cli("resume mine --show length").out
    assert cli("eval mine --show wins").error.startswith(
        "--show: 'hallway/2-2' has no metric 'wins'; did you mean 'win'?"
    )
    assert "no metric 'loss'; there are: length, win" in cli(f"train mappo {TINY_HALLWAY} --show loss").error
    assert not (in_tmp / "runs").exists()
