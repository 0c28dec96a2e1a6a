"""The refresh of episodic memory is measured in tiny settings, both ways of passing backwards on equal data."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _common, _tables, episodic

TINY = {"obs_size": 3, "action_size": 2, "chunk_size": 7}


def test_refreshes_are_measured():
    rows = episodic.measure(20, (2,), ("none", "4-3"), repetitions=2, **TINY)
    assert [(r["critics"], r["method"]) for r in rows] == [(c, m) for c in ("none", "4-3") for m in episodic.METHODS]
    assert [r["flop"] for r in rows] == [0, 0] + [2 * 20 * 4 * (5 * 4 + 4 * 3 + 3)] * 2
    assert all(r["seconds"] > 0 and r["transitions_per_s"] > 0 for r in rows) and rows[0]["ratio"] == 1
    assert "| 4-3" in _tables.render(episodic.table_of(rows))


def test_both_methods_give_the_same_targets():
    found = []
    for method in episodic.METHODS:
        refresh, arguments, _ = episodic.refresh_of("4-3", method, 2, 20, **TINY)
        found.append(jax.jit(refresh)(*arguments))
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.isfinite(found[0]).all()


def test_the_page_and_the_options():
    text = _common.README.read_text(encoding="utf-8").splitlines()
    assert all(text.count(f"<!-- table:episodic {end} -->") == 1 for end in ("begin", "end"))
    for change, message in (
        ({"critics": ("wide",)}, "critics must be 'none' or widths such as 400-300, got 'wide'"),
        ({"num_envs": (7,)}, "must divide among 7 environments, got 100000"),
        ({"chunk_size": 0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            episodic.Args(**change)
