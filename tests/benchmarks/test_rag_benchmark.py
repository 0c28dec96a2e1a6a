"""`bench rag` measures in a tiny setting."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _tables, rag

SMALL = {"sessions": 900, "windows": 2, "n_agents": 2, "capacity": 16}


@pytest.mark.parametrize(
    ("env_id", "options", "per_step"), [("rag/cache-L1", {"rounds": 20}, 2), ("rag/serve-L2", {"requests": 6}, None)]
)
def test_measures(env_id, options, per_step):
    row = rag.measure(env_id, 3, 4, 2, {**SMALL, **options})
    assert row["steps_per_s"] > 0 and row["python_steps_per_s"] > 0 and row["ratio"] > 0
    if per_step:
        assert row["python_served_per_s"] == pytest.approx(per_step * row["python_steps_per_s"])
        assert row["served_per_s"] == pytest.approx(per_step * row["steps_per_s"], rel=0.2)
    assert f"| {env_id}" in _tables.render(rag.table_of([row]))
    json.dumps(row)
    with pytest.raises(ValueError, match=r"ids must be rag/..., got 'matrix/xor'"):
        rag.Args(ids=("matrix/xor",))
