"""A few kills of the soak that has many: `jaxmarl-suite bench kill-soak`."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _tables, kill_soak


@pytest.mark.slow
def test_killed_runs_end_like_undisturbed_ones(tmp_path: Path) -> None:
    rows = kill_soak.soak("mappo", 2, 1, tmp_path)
    assert sum(row["kills"] for row in rows) >= 2 and not any(row["differs"] for row in rows), rows
    assert "| mappo " in _tables.render(kill_soak.table_of(rows))


@pytest.mark.slow
def test_all_the_kills(tmp_path: Path) -> None:
    rows = [row for method in kill_soak.METHODS for row in kill_soak.soak(method, 12, 0, tmp_path / method)]
    assert sum(row["kills"] for row in rows) >= 60 and not any(row["differs"] for row in rows), rows


def test_a_difference_is_seen(tmp_path: Path) -> None:
    """In rows, in the summary, in an array; and a run that fails is not taken for a whole one."""
    one = {
        "arrays": {0: [("float32", (1,), b"0000")]},
        "rows": {("eval", 0, "learn", 1): {"x": 1.0}},
        "summary": {"a": 1},
    }
    assert kill_soak.differences(one, {**one}) == []
    assert kill_soak.differences(one, {**one, "arrays": {0: [("float32", (1,), b"0001")]}, "summary": {"a": 2}}) == [
        *("arrays", "summary")
    ]
    assert kill_soak.differences(one, {**one, "rows": {}}) == ["rows"]
    whole = kill_soak.Ended(0, 1.0, "20")
    run_dir = tmp_path / "run"
    (tmp_path / "run").write_text("no folder")
    description = kill_soak.experiment("mappo")
    outcomes = kill_soak.trial(run_dir, description, whole, 1, random.Random(0), first=True)
    assert outcomes and all(outcome.startswith("FAILED: ") and "not an empty folder" in outcome for outcome in outcomes)
