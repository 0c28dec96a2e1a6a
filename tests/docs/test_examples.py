"""The examples of the documentation: its pages show exactly these files, and they run and learn."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxmarl_envs import palette
from PIL import Image

from jaxmarl_suite.analysis import load_run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
MARKED_BLOCK = re.compile(r"<!-- example:(\S+) -->\n+```python\n(.*?)```", re.DOTALL)


def test_pages_show_every_example_as_it_is():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {path: text for page in pages for path, text in MARKED_BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert shown == {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in EXAMPLES}


@pytest.fixture(scope="module")
def final_returns(tmp_path_factory):
    """Runs an example as a user would: `(printed text, [L] returns of the last evaluation)`."""

    def run(name):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, str(ROOT / "docs" / "examples" / f"{name}.py")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        (run_folder,) = (folder / "runs").iterdir()
        return done.stdout, load_run(run_folder).curve("return").values[:, -1]

    return run


def test_own_environment_keeps_the_protocol_and_is_learned(final_returns):
    text, returns = final_returns("own_environment")
    assert "line/meet: ok" in text
    # The best is 1 less 0.1 for each step before the last; random play gets 0.35.
    assert returns.shape == (4,) and np.all(returns > 0.9) and np.all(returns <= 1)


def test_own_algorithm_learns_and_is_swept(final_returns):
    text, returns = final_returns("own_algorithm")
    assert "learning_rate=0.5" in text
    # Uniform play pays -3.4 on average. Independent gradients turn away from the optimum, 11, to a safer joint action.
    assert returns.shape == (16,) and np.all(returns >= 5) and np.all(returns < 11)


@pytest.mark.slow
def test_own_network_learns(final_returns):
    text, returns = final_returns("own_network")
    assert "mappo-attention" in text
    # As above: a safer joint action than the optimum. Uniform play pays -3.4.
    assert returns.shape == (4,) and np.all(returns >= 5) and np.all(returns < 11)


def test_own_actor_critic_learns_from_public_parts(final_returns):
    text, returns = final_returns("own_actor_critic")
    assert "central-a2c" in text
    np.testing.assert_allclose(returns, 8.0)  # the optimum; the first stage's safe choice pays 7


def test_the_page_of_building_blocks_names_what_there_is():
    """Every name in its table is public where the table says."""
    page = (ROOT / "docs" / "building_blocks.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2:4] for line in page.splitlines() if line.startswith("| ") and "`jaxmarl_suite" in line]
    assert len(rows) == 14
    for modules, names in rows:
        found: set[str] = set()
        for module in re.findall(r"`([\w.]+)`", modules):
            full = module if module.startswith("jaxmarl") else f"jaxmarl_suite.algorithms{module}"
            found |= set(importlib.import_module(full).__all__)
        named = set(re.findall(r"`(\w+)[`.]", names)) - {"jaxmarl_envs", "VectorEnv"}
        assert named and named <= found, named - found


def test_own_viewer_draws_an_episode(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "examples" / "own_viewer.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (0, "drawn: meet.gif\n"), done.stderr
    with Image.open(tmp_path / "meet.gif") as picture:
        assert picture.n_frames > 2  # an episode of several steps
        colors = {color for _, color in picture.convert("RGB").getcolors(maxcolors=2**24)}
    for color in (*palette.AGENTS[:2], palette.RULE):
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert min(np.abs(wanted - np.array(one)).max() for one in colors) < 12  # a GIF has 256 colors


@pytest.mark.slow
def test_planning_pays_with_simulations(tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "examples" / "planning.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"(\d+) simulations: return (-?[\d.]+) of 32", done.stdout)
    assert [int(simulations) for simulations, _ in found] == [1, 12, 60]
    chance, few, many = (float(value) for _, value in found)
    # Uniform play gets 4 (8 - 4 * 12) / 9 = -17.8 on average.
    assert abs(chance + 17.8) < 4 and chance < few < many and many > 25
