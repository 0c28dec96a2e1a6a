"""The study's command runs end to end on tiny sizes and leaves a valid page, results and figure."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "experiments" / "value_factorization"


def run(folder, *options):
    command = [sys.executable, "-m", "experiments.value_factorization", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, timeout=300, capture_output=True, text=True)


def test_command_rewrites_tables_and_figure(tmp_path):
    shutil.copy(STUDY / "README.md", tmp_path)
    done = run(tmp_path, "--num-seeds", "3", "--descent-steps", "20", "--parts", "tabular")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("Seeds 0 to 2, 20 steps") == 2
    assert len(text.splitlines()) == len((STUDY / "README.md").read_text(encoding="utf-8").splitlines())
    results = json.loads((tmp_path / "results_tabular.json").read_text(encoding="utf-8"))
    sizes = {name: len(results[name]) for name in ("gamma", "epsilon", "class", "game", "descent", "weight")}
    assert sizes == {"gamma": 7, "epsilon": 8, "class": 2, "game": 9, "descent": 14, "weight": 24}
    assert (tmp_path / "tabular.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_part_is_refused(tmp_path):
    done = run(tmp_path, "--parts", "deeper")
    assert done.returncode == 1 and "unknown parts deeper; accepted: tabular" in done.stderr
