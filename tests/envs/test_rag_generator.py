"""Generated traces: what they were fitted to, and that they are traces."""

import numpy as np
import pytest
from jaxmarl_envs.rag.trace import generate_trace, iter_trace, read_trace, write_generated
from jaxmarl_envs.rag.trace._statistics import (
    classes,
    dispersion,
    hit_table,
    locality_table,
    popularity,
    session_starts,
    statistics,
)

from tests.envs.rag_tools import FULL, SAMPLE, needs_full, needs_sample
from tests.envs.test_rag_reader import assert_same

TARGETS = {  # measured on the recorded trace
    "distinct": 3235,
    "most": 353,
    "once": 930,
    "top 1 %": 0.314,
    "top 5 %": 0.644,
    "top 10 %": 0.799,
    "LRU 64": 0.249,
    "LRU 256": 0.460,
    "LRU 512": 0.609,
    "LRU 64 shuffled": 0.107,
    "LRU 256 shuffled": 0.352,
    "reuse within 1 h": 0.313,
    "session overlap": 0.303,
}


def figures(trace):
    counts, hits = popularity(trace), hit_table(trace, (64, 256, 512))
    locality = locality_table(trace)
    shares = {f"top {p} %": counts[: round(83.02 * p)].sum() / counts.sum() for p in (1, 5, 10)}
    return {
        "distinct": (counts > 0).sum(),
        "most": counts[0],
        "once": (counts == 1).sum(),
        **shares,
        **{f"LRU {c}": hits[str(c)]["LRU"] for c in (64, 256, 512)},
        **{f"LRU {c} shuffled": hits[str(c)]["LRU shuffled"] for c in (64, 256)},
        "reuse within 1 h": locality["repeated within 1 h"],
        "session overlap": locality["overlap with the session's last request"],
    }


@pytest.mark.parametrize("seed", range(5))
def test_generated_traces_have_the_recorded_figures(seed):
    trace = generate_trace(seed=seed)
    found = figures(trace)
    assert found.keys() == TARGETS.keys() and len(TARGETS) == 13  # twelve, and the maximum
    off = {name: found[name] / target - 1 for name, target in TARGETS.items()}
    assert all(abs(value) <= (0.40 if name == "most" else 0.15) for name, value in off.items()), off
    assert abs(dispersion(session_starts(trace)) - 1) <= 0.1
    names, index = classes(trace)
    shares = np.bincount(index) / len(trace)
    assert sorted(names) == ["A", "B", "C"]
    np.testing.assert_allclose(shares, [0.767, 0.197, 0.036], atol=0.03)
    assert abs(trace.input_length.mean() / 2943.6 - 1) < 0.05
    assert abs(trace.output_length.mean() / 283.2 - 1) < 0.05


def test_generated_traces_are_read(tmp_path):
    count = write_generated(tmp_path / "trace", 12_000, seed=4)  # more than one piece
    assert count == sum(len(piece) for piece in iter_trace(tmp_path / "trace"))
    assert_same(read_trace(tmp_path / "trace"), generate_trace(12_000, seed=4))
    assert count > 16_384


def test_seeds_and_sizes():
    assert_same(generate_trace(30, seed=5), generate_trace(30, seed=5))
    assert not np.array_equal(generate_trace(30, seed=5).input_length[:9], generate_trace(30, seed=6).input_length[:9])
    assert len(generate_trace(1, seed=0)) >= 1
    for sessions, seed, words in (
        (0, 0, "got 0"),
        (10**9, 0, "got 1000000000"),
        (True, 0, "got True"),
        (1, -1, "got -1"),
    ):
        with pytest.raises(ValueError, match=words):
            generate_trace(sessions, seed)


def test_statistics_of_a_few_requests():
    for sessions in (1, 2, 9):
        tables = statistics(generate_trace(sessions, seed=2))
        assert {"classes", "lengths", "prompts", "load", "sessions", "reuse ceilings"} <= tables.keys()
        assert all(np.isfinite(v) for v in tables["load"].values())


@needs_sample
def test_statistics_of_the_sample():
    trace = read_trace(SAMPLE)
    names, index = classes(trace)
    assert dict(zip(names, np.bincount(index).tolist())) == {"A": 548, "C": 225, "B": 27}
    tables = statistics(trace)
    assert tables["skew"]["references"] == 3332 and tables["skew"]["distinct passages"] == 1202
    assert tables["sessions"]["sessions"] == 434
    assert tables["lengths"]["passage, corpus"]["p50"] == 255
    statistics(trace.overlay())


@needs_full
def test_the_full_trace_has_its_hit_table():
    hits = hit_table(read_trace(FULL))
    expected = {
        "LRU": (0.189, 0.249, 0.334, 0.460, 0.609),
        "LFU": (0.173, 0.265, 0.379, 0.516, 0.662),
        "LFU-DA": (0.221, 0.312, 0.421, 0.543, 0.675),
        "MIN": (0.378, 0.473, 0.579, 0.688, 0.788),
    }
    for policy, row in expected.items():
        np.testing.assert_allclose([hits[str(c)][policy] for c in (32, 64, 128, 256, 512)], row, atol=5e-4)
