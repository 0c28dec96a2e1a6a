"""The study's command runs end to end on tiny sizes and leaves a valid page, results and figure."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "policy_gradient_theory"


@pytest.mark.slow
def test_command_rewrites_tables_and_figure(tmp_path):
    shutil.copy(STUDY / "README.md", tmp_path)
    command = [sys.executable, "-m", "experiments.policy_gradient_theory", "--folder", str(tmp_path)]
    command += ["--num-seeds", "4", "--num-games", "2", "--plateau-steps", "10", "100", "1000"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("4 seeds per cell") == text.count("2 games per row") == 1
    assert len(text.splitlines()) == len((STUDY / "README.md").read_text(encoding="utf-8").splitlines())
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["named_games"]) == 10 and len(results["random_games"]) == 5
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
