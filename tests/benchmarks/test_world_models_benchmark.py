"""Play in world models is measured in a tiny setting."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _common, _tables, world_models


def test_play_is_measured():
    row = world_models.measure("ensemble", 2, 2, 1)
    assert row["imagined_per_s"] > 0 and row["real_per_s"] > 0 and row["compile_seconds"] > 0
    assert row["ms_per_step"] * row["imagined_per_s"] == pytest.approx(2 * 1e3)
    assert "| ensemble" in _tables.render(world_models.table_of([row]))
    json.dumps(row)


def test_the_page_and_the_options():
    text = _common.README.read_text(encoding="utf-8").splitlines()
    assert all(text.count(f"<!-- table:world_models {end} -->") == 1 for end in ("begin", "end"))
    for change, message in (
        ({"kinds": ("mlp",)}, "kinds must be among single, cumulative, joint, ensemble, tokens, got 'mlp'"),
        ({"agents": (0,)}, r"agents must be positive, got \(0,\)"),
        ({"batch": 0}, "batch must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            world_models.Args(**change)
