"""`bench peers` measures our side alone in a tiny setting, and says what is wrong with a checkout."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _common, _peer, _tables, peers
from jaxmarl_suite.cli import main as cli
from tests.envs.adapter_tools import needs

TINY = {"num_envs": "2", "rollout_length": "2", "epochs": "1", "minibatches": "1", "hidden": "(4,)"}


@needs("jaxmarl")
@pytest.mark.slow
def test_without_a_checkout_ours_are_measured():
    rows, found, skipped = peers.measure(peers.CONTESTS["ippo"], (2,), settings=TINY, updates=3, repetitions=2)
    (row,) = rows
    assert skipped == "no checkout given" and found["usable_cores"] >= 1
    assert (row["who"], row["seeds"], row["ratio"], row["is_finite"]) == ("ours", 2, None, True)
    assert 0 < row["env_steps_per_s"] <= row["best_env_steps_per_s"] and row["env_steps_per_cpu_s"] > 0
    assert row["compile_wall_seconds"] > 0 and row["peak_rss_bytes"] > 2**20
    assert "num_envs=2" in row["settings"] and "| ippo " in _tables.render(peers.table_of(rows))
    assert not peers.targets_of(rows)
    json.dumps(rows)


def test_targets_are_of_neighboring_rows():
    peer = {"algorithm": "qmix", "who": peers.PEER, "seeds": 1, "ratio": 1.0, "compile_wall_seconds": 8.0}
    one = {**peer, "who": peers.OURS, "ratio": 1.4, "compile_wall_seconds": 6.0}
    rows = [peer, one, {**one, "seeds": 4, "ratio": 3.5}]
    found = [(t["value"], t["bound"], t["is_met"]) for t in peers.targets_of(rows)]
    assert found == [(1.4, 1.5, False), (0.75, 1.0, True), (3.5, 3.0, True)]


def test_a_wrong_checkout_is_told_before_measuring(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"must be a checkout of JaxMARL with baselines/IPPO/ippo_ff_mpe.py, got .*"):
        peers.Args(checkout=tmp_path)
    assert cli(["bench", "peers", "--checkout", str(tmp_path)]) == 2
    assert "must be a checkout of JaxMARL" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least one value"):
        peers.Args(contests=())


@pytest.fixture
def checkout(tmp_path):
    """A folder with the scripts' files, which need a package that does not exist."""
    for script in _peer.SCRIPTS.values():
        for file in (script.file, script.config):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("import no_such_package\n" if file.endswith(".py") else "{}\n")
    return tmp_path


def test_a_package_that_a_script_needs_is_missing(checkout, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "wandb", None)  # what stands in for it is gone after the test
    answer = peers._peer_worker({"checkout": str(checkout), "contest": "ippo", "sizes": {}, "start": 1, "updates": 1})
    assert answer({"do": "start"}) == {"skipped": "ModuleNotFoundError: No module named 'no_such_package'"}


def test_the_checkout_is_written_with_the_result(checkout):
    args, found = peers.Args(checkout=checkout, json=checkout / "out.json"), _common.machine()
    found |= {"platform": "cpu", "devices": 1, "device": "cpu", "system": "Linux", "python": "3"}
    _common.finish("peers", args, found, [peers.table_of([])])
    assert json.loads(args.json.read_text())["options"]["checkout"] == str(checkout)
