"""Stored replay on disk: what is written is read, and what is damaged is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmarl_suite.replay import SCHEMA, read_vault, write_vault

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
    assert dict(dataset.about) == ABOUT
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
    with pytest.raises(ValueError, match=r"no stored replay in .*record RUN"):
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
