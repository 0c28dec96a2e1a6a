"""Stored replay on disk: what is written is read, and what is damaged is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmarl_suite.replay import SCHEMA, find_vaults, read_about, read_vault, write_vault

ITEMS = {
    "obs": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "action": np.arange(4, dtype=np.int32),
    "mask": np.array([True, False, True, True]),
    "state": np.zeros((4, 0), np.float32),
}
ABOUT = {"schema": SCHEMA, "env": "matrix/xor", "size": 4}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    dataset = read_vault(tmp_path / "data")
    assert dataset.size == 4
    about = dict(dataset.about)
    assert about.pop("digests").keys() == {"obs", "action", "mask"}
    assert about == ABOUT
    assert read_about(tmp_path / "data") == dict(dataset.about)
    assert set(dataset.items) == {"obs", "action", "mask"}  # an array without entries holds nothing
    for name, array in dataset.items.items():
        assert array.dtype == ITEMS[name].dtype
        np.testing.assert_array_equal(array, ITEMS[name])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    with pytest.raises(ValueError, match="exists; name a folder that does not"):
        write_vault(tmp_path / "data", ITEMS, ABOUT)


def test_items_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arrays of one length"):
        write_vault(tmp_path / "data", {"a": np.zeros(3), "b": np.zeros(4)}, ABOUT)


def test_a_folder_without_a_vault_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no stored replay in .*dataset make RUN"):
        read_vault(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, {**ABOUT, "schema": SCHEMA + 1})
    with pytest.raises(ValueError, match=f"has schema {SCHEMA + 1}; this version reads {SCHEMA}"):
        read_vault(tmp_path / "data")


def test_a_vault_of_another_program_is_refused(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    (metadata,) = (tmp_path / "data").rglob("metadata.json")
    content = json.loads(metadata.read_text(encoding="utf-8"))
    del content["about"]
    metadata.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="was not written by jaxmarl-suite"):
        read_vault(tmp_path / "data")


def test_a_damaged_vault_is_refused(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    parts = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.name != "metadata.json"]
    assert parts
    for part in parts:
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        read_vault(tmp_path / "data")


def test_values_that_do_not_match_the_card_are_noticed(tmp_path: Path) -> None:
    """The description of one Vault beside the arrays of another of the same shapes."""
    for name, items in (("data", ITEMS), ("other", {**ITEMS, "action": ITEMS["action"] + np.int32(1)})):
        write_vault(tmp_path / name, items, ABOUT)
    ours, theirs = (next((tmp_path / name).rglob("metadata.json")) for name in ("data", "other"))
    shutil.copy(theirs, ours)
    with pytest.raises(ValueError, match="is damaged: 'action' does not match its digest"):
        read_vault(tmp_path / "data")
    assert read_vault(tmp_path / "other").items["action"].tolist() == [1, 2, 3, 4]


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    """Whichever file is gone: arrays are as they were, or the Vault is refused (TensorStore fills holes with zeros)."""
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    whole, refused = tmp_path / "data", 0
    for part in [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]:
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        (copy / part).unlink()
        try:
            for name, array in read_vault(copy).items.items():
                np.testing.assert_array_equal(array, ITEMS[name])
        except ValueError as error:
            assert str(copy) in str(error)
            refused += 1
        shutil.rmtree(copy)
    assert refused >= 3


def test_vaults_are_found(tmp_path: Path) -> None:
    for name in ("b", "a/c", ".a.1-2.tmp"):
        write_vault(tmp_path / name, ITEMS, ABOUT)
    (tmp_path / "bad" / "replay" / "0").mkdir(parents=True)
    (tmp_path / "bad" / "replay" / "0" / "metadata.json").write_text("{")
    found, problems = find_vaults(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path, _ in found] == ["a/c", "b"]
    assert len(problems) == 1 and "bad" in problems[0]


def test_missing_items_are_noticed(tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, {**ABOUT, "size": 5})
    with pytest.raises(ValueError, match="should hold 5 items"):
        read_vault(tmp_path / "data")


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
import flashbax.vault
from jaxmarl_suite.replay import read_vault, write_vault
from test_vault import ABOUT, ITEMS

root, found = Path(sys.argv[1]), []

def fork(work):
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    work()
    os._exit(0)

def write(path, operation):
    count = 0
    def hook(event, arguments):
        nonlocal count
        changes = event in ("os.mkdir", "os.rename", "os.rmdir") or (event == "open" and arguments[2] & os.O_CREAT)
        if changes and str(arguments[0]).startswith(str(root)):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    write_vault(path, ITEMS, ABOUT)

def read(path):
    os._exit(0 if read_vault(path).size == 4 else 1)

while not found or found[-1] != "written":
    path = root / str(len(found)) / "data"
    path.parent.mkdir()
    code = fork(lambda: write(path, len(found) + 1))
    was_there = path.exists()
    again = fork(lambda: write_vault(path, ITEMS, ABOUT)) if not was_there else 0
    is_whole = again == 0 and fork(lambda: read(path)) == 0
    found.append("written" if code == 0 else f"killed, {'there' if was_there else 'not there'}, whole: {is_whole}")
print(json.dumps(found))
"""


def test_a_vault_is_whole_or_not_there(tmp_path: Path) -> None:
    """Killed before any operation on files: what there is afterwards is in nobody's way."""
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 4 and found[-1] == "written"
    assert set(found[:-1]) == {"killed, not there, whole: True"}


def test_what_is_being_written_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure leaves nothing, and a folder that came into being meanwhile stays."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    (tmp_path / "data" / "thesis.tex").write_text("all of it")
    with pytest.raises(OSError, match="not empty"):
        write_vault(tmp_path / "data", ITEMS, ABOUT)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "thesis.tex"]


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", ["[]", "{}", "", DEEP, {"about": "[]"}, {"about": DEEP}, {"about": 3}])
def test_a_description_that_is_none_is_refused(content: str | dict[str, str], tmp_path: Path) -> None:
    write_vault(tmp_path / "data", ITEMS, ABOUT)
    (metadata,) = (tmp_path / "data").rglob("metadata.json")
    if isinstance(content, dict):
        content = json.dumps({**json.loads(metadata.read_text(encoding="utf-8")), **content})
    metadata.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="was not written by jaxmarl-suite"):
        read_vault(tmp_path / "data")
