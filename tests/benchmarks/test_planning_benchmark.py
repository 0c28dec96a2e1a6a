"""An update of planning is measured in parts, in tiny settings."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _common, _tables, planning

SETTINGS = {
    "num_envs": "2", "rollout_length": "4", "gradient_steps": "3", "capacity": "64", "batch_size": "4",
    "warmup_steps": "8", "unroll_steps": "2", "n_step": "2", "num_simulations": "2", "num_samples": "2", "num_bins": "5",
    "width": "4", "hidden": "4", "head_hidden": "4", "predictor_hidden": "4", "communication_layers": "0",
}  # fmt: skip


@pytest.mark.slow
def test_the_parts_of_an_update_are_measured():
    row = planning.measure("matrix/M1", SETTINGS, 1)
    assert (row["steps"], row["gradient_steps"]) == (8, 3)
    assert sum(row[f"{part}_share"] for part in planning.PARTS) == pytest.approx(1.0)
    assert row["steps_per_s"] == pytest.approx(8 / row["update_seconds"]) and row["compile_seconds"] > 0
    assert "| matrix/M1" in _tables.render(planning.table_of([row]))
    json.dumps(row)


def test_the_page_and_the_options():
    text = _common.README.read_text(encoding="utf-8").splitlines()
    assert all(text.count(f"<!-- table:planning {end} -->") == 1 for end in ("begin", "end"))
    for change, message in (
        ({"envs": ()}, "envs needs at least one value"),
        ({"set": ("width",)}, "settings are FIELD=VALUE, got 'width'"),
        ({"repetitions": 0}, "repetitions must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            planning.Args(**change)
