"""Stored replay on disk: what is written is read, and what is damaged is refused."""

import json
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
