"""`bench rag` measures in a tiny setting."""

import json
import sys
from pathlib import Path

import jax
import jaxmarl_envs
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import _loops, _tables, rag, rag_trace

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


@pytest.mark.parametrize(("env_id", "options"), [("rag/cache-L1", {"rounds": 20}), ("rag/serve-L2", {"requests": 6})])
def test_the_bare_loop_plays_the_same_game(env_id, options):
    env = jaxmarl_envs.make(env_id, **SMALL, **options)
    played = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for make_loop in (_loops.our_loop, _loops.bare_loop):
            _, total, episodes = jax.jit(_loops.scanned(*make_loop(env, 16), 16, 60))(jax.random.key(1))
            played.append((float(total.mean()), np.asarray(episodes)))
    (ours, our_episodes), (bare, bare_episodes) = played
    assert ours < 0 and bare == pytest.approx(ours, rel=0.1)
    if env_id == "rag/cache-L1":  # every episode has 20 rounds
        assert our_episodes.tolist() == bare_episodes.tolist() == [3] * 16
    else:
        assert bare_episodes.sum() == pytest.approx(our_episodes.sum(), rel=0.2) and our_episodes.min() > 0


def test_traces_are_timed(tmp_path):
    rows = rag_trace.measure(60, str(tmp_path))
    assert [row["task"] for row in rows] == ["generate and write", "read", "read and summarize"]
    assert len({row["requests"] for row in rows}) == 1 and rows[0]["requests"] > 60
    assert all(row["seconds"] > 0 and row["peak_rss"] > 0 for row in rows) and not list(tmp_path.iterdir())
    assert "| generate and write" in _tables.render(rag_trace.table_of(rows))
    assert rag_trace.targets_of(rows) == []  # neither of the sizes that have one
    slow = [{**row, "sessions": rag_trace.RECORDED, "seconds": 4.0} for row in rows]
    assert [found["is_met"] for found in rag_trace.targets_of(slow)] == [False]
    with pytest.raises(ValueError, match="sessions must be positive"):
        rag_trace.Args(sessions=(0,))
