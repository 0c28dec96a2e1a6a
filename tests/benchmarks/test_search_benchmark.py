"""Searches are measured in tiny settings."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _common, _tables, search


def test_searches_are_measured():
    row = search.measure("trivial", "2-4-3-2", 2)
    assert row["simulations_per_s"] == pytest.approx(4 * row["searches_per_s"]) and row["searches_per_s"] > 0
    assert row["model_ratio"] > 0 and row["mean_ratio"] > 0 and row["compile_seconds"] > 0
    # 5 nodes: 25 returns of 5 bytes; 36 bytes, 3 slots of 9 numbers and a state of 8 numbers each.
    assert row["formula_bytes"] == 25 * 5 + 5 * (36 + 3 * 9 * 4 + 32)
    assert "| trivial" in _tables.render(search.table_of([row]))
    json.dumps(row)


def test_targets_are_those_of_one_size():
    size = dict(zip(("batch", "simulations", "samples", "agents"), search.FLOOR_SIZE))
    rows = [
        {"model": "team", **size, "model_ratio": 1.5, "mean_ratio": 9.0},
        {"model": "trivial", **size, "model_ratio": 9.0, "mean_ratio": 3.0},
        {"model": "team", **size, "batch": 1, "model_ratio": 9.0, "mean_ratio": 9.0},
    ]
    assert [(t["value"], t["is_met"]) for t in search.targets_of(rows)] == [(1.5, True), (3.0, False)]


def test_the_page_and_the_options():
    text = _common.README.read_text(encoding="utf-8").splitlines()
    assert all(text.count(f"<!-- table:search {end} -->") == 1 for end in ("begin", "end"))
    for change, message in (
        ({"models": ("large",)}, "models must be among trivial, team, got 'large'"),
        (
            {"sizes": ("8-4-5-2",)},
            "sizes must be SEARCHES-SIMULATIONS-SAMPLES-AGENTS such as 128-50-10-3, got '8-4-5-2'",
        ),
        ({"sizes": ("8-4",)}, "got '8-4'"),
        ({"repetitions": 0}, "repetitions must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            search.Args(**change)
