"""The study's command runs end to end on tiny sizes and leaves a valid page, results and figure."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "gem_theory"


def run(folder, *options):
    command = [sys.executable, "-m", "experiments.gem_theory", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, timeout=300, capture_output=True, text=True)


@pytest.mark.slow
def test_command_rewrites_tables_and_figure(tmp_path):
    shutil.copy(STUDY / "README.md", tmp_path)
    done = run(tmp_path, "--num-draws", "40", "--num-mdps", "1", "--num-episodes", "2")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("40 trajectories a cell") == 2 and text.count("1 MDPs a row") == 1
    assert len(text.splitlines()) == len((STUDY / "README.md").read_text(encoding="utf-8").splitlines())
    results = json.loads((tmp_path / "results.json").read_text())
    assert {name: len(results[name]) for name in ("bias", "tabular", "chain")} == {"bias": 44, "tabular": 6, "chain": 4}
    assert [row["refreshes"] for row in results["chain"]] == [1, 3, 10, 50]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_holds_the_stored_results():
    """Numbers on the page are those of results.json, and lie within 0.02 of the independent computation."""
    text = (STUDY / "README.md").read_text(encoding="utf-8")
    results = json.loads((STUDY / "results.json").read_text())
    for row in results["bias"]:
        assert f"{row['sampled']:+.3f} / ".replace("-0.000", "+0.000") in text
        if row["reference"] is not None:
            assert abs(row["sampled"] - row["reference"]) < 0.02 and abs(row["exact"] - row["reference"]) < 0.02
    for row in results["tabular"]:
        assert f"{row['last_excess']:+.4f} | " in text


def test_sizes_that_cannot_be_are_refused(tmp_path):
    done = run(tmp_path, "--num-draws", "30")
    assert done.returncode == 1 and "num_draws must be a positive multiple of 20" in done.stderr
