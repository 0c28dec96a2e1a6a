"""What the runner promises for every algorithm."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from runner_tools import (
    UPDATES,
    Recorder,
    assert_close_rows,
    assert_same_arrays,
    final_arrays,
    lane_rows,
    rows,
    run_steps,
    tiny,
    toy,
)

from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Diverged, Interrupted, _compile, _wave, plan_phases, resume, run

Trained = Callable[[str, str], Path]
FIRST_UPDATES = 3
# One method of each core stands for the others, which are with the slow tests. Those that plan, or learn in a model, compile
# longest and are all there; what they keep in a replay, and when they learn, is kept and decided as in qplex and gem.
LEARNS_NOTHING = ("mcts",)
QUICK = ("mappo", "tad-ppo", "qplex", "gem", "td3-bc")
INTERRUPTS = (1, 5, 10, 11, 12)


def every(standing: tuple[str, ...]) -> list[Any]:
    """All that learn, those that do not stand for others marked as slow."""
    names = (n for n in algorithms.names() if n not in LEARNS_NOTHING)
    return [n if n in standing else pytest.param(n, marks=pytest.mark.slow) for n in names]


def interrupts() -> list[Any]:
    """Names and times; those at a boundary of phases only of methods that have one."""
    shown = {
        "mappo": (5,),
        "tad-ppo": INTERRUPTS,
        "qplex": (1, 5, 12),
        "gem": (5, 12),
        "td3-bc": (5, 12),
    }
    names = [n for n in algorithms.names() if n not in LEARNS_NOTHING]
    return [
        pytest.param(n, after, marks=() if after in shown.get(n, ()) else pytest.mark.slow)
        for n in names
        for after in INTERRUPTS
    ]


@pytest.fixture(scope="module", params=every(QUICK))
def name(request: pytest.FixtureRequest) -> str:
    """Every algorithm; all tests of one before those of the next, so that its programs are at hand."""
    return request.param


def first_rows(run_dir: Path, lane: int = 0) -> dict:
    """Rows of the first few updates of the first phase."""
    found = lane_rows(run_dir, lane)
    first_phase = next(iter(found))[1]
    return {k: row for k, row in found.items() if k[1] == first_phase and row["update"] <= FIRST_UPDATES}


def test_a_lane_of_a_sweep_equals_the_same_seed_alone_bit_by_bit(name: str, trained: Trained) -> None:
    sweep, single = trained(name, "sweep"), trained(name, "single")
    assert_same_arrays([array[3:] for array in final_arrays(sweep)], final_arrays(single))
    assert lane_rows(sweep, 3) == lane_rows(single, 0)
    assert lane_rows(sweep, 2) != lane_rows(single, 0), "other seeds take another course"
    kinds = [row["kind"] for row in rows(single).values()]
    plans = plan_phases(tiny(name).groups()[0], tiny(name).options)
    assert kinds.count("train") == sum(plan.updates for plan in plans) >= UPDATES
    assert kinds.count("eval") == sum(len(plan.eval_at) for plan in plans) >= 4 and kinds.count("absolute") == 1


def test_settings_reach_the_update(name: str, trained: Trained, tmp_path: Path) -> None:
    base = tiny(name).base_config
    rates = [base.learning_rate, 3e-3, base.learning_rate, str(base.learning_rate)]
    run_dir = run(tiny(name, grid={"learning_rate": rates}, first_seed=3), run_dir=tmp_path / "run")
    lanes = [lane_rows(run_dir, lane) for lane in range(4)]
    assert lanes[0] == lanes[2] == lanes[3] != lanes[1]
    assert lanes[0] == lane_rows(trained(name, "single"), 0), "a point with the settings of a run without a grid"


def test_a_hopeless_learning_rate_is_noticed(name: str, tmp_path: Path) -> None:
    experiment = tiny(name, grid={"learning_rate": [1e-3, 2e-3, 1e-3, 1e38]}, first_seed=7)
    with pytest.raises(Diverged, match=r"of seed 7 \(learning_rate=1e\+38\) is not finite since update [0-3] of"):
        run(experiment, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints" / "000-00000").iterdir()), "nothing bad is saved"


# One program per placement.
@pytest.mark.parametrize("name", every(("mappo",)), indirect=True, scope="module")
@pytest.mark.parametrize("variant", ["batched", "environments spread"])
def test_other_placements_give_the_same_first_updates(name: str, variant: str, trained: Trained) -> None:
    """A lane batched with others, two on each of two devices; environments of a lane spread over two devices."""
    other = first_rows(trained(name, variant), lane=3 if variant == "batched" else 0)
    single = first_rows(trained(name, "single"))
    assert [kind for kind, _, _ in single] == ["train"] * FIRST_UPDATES + ["eval"]
    assert_close_rows(other, single)


@pytest.mark.optimized
@pytest.mark.parametrize("name", [pytest.param("mappo", marks=pytest.mark.slow), "bc"])
def test_optimized_programs_keep_lanes_apart_bit_by_bit(name: str, tmp_path: Path) -> None:
    """As above, with programs as users run them instead of those that compile quickly."""
    sweep, single = tiny(name, seeds=3, devices=1), tiny(name, first_seed=2, devices=1, eval_episodes=5)
    together, alone = (run(e, run_dir=tmp_path / str(e.options.seeds)) for e in (sweep, single))
    ours, theirs = (
        [row for row in lane_rows(d, k).values() if row["kind"] == "train"] for d, k in ((together, 2), (alone, 0))
    )
    assert ours == theirs and len(ours) == UPDATES


@pytest.mark.parametrize("mode", ["vmap", "envs"])
def test_two_devices_give_what_one_gives(mode: str, toys: None, tmp_path: Path) -> None:
    one, two = (
        run(toy(seeds=2, lane_mode=mode, devices=devices), run_dir=tmp_path / str(devices)) for devices in (1, 2)
    )
    for lane in range(2):
        assert_close_rows(lane_rows(one, lane), lane_rows(two, lane))


def test_the_lengths_of_chunks_change_nothing(
    name: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row at the end, so that nothing but the clock cuts the chunks.
    experiment = tiny(name, first_seed=3, log_rows=1, evaluations=1)
    ends, calls = [], []
    for seconds in (1e-9, 1e9):
        monkeypatch.setattr(_wave, "_CHUNK_SECONDS", seconds)
        recorder = Recorder()
        ends.append(run(experiment, run_dir=tmp_path / str(seconds), listener=recorder))
        calls.append(recorder.calls)
    assert calls[0] > calls[1] + UPDATES // 3
    assert_same_arrays(final_arrays(ends[0]), final_arrays(ends[1]))
    assert rows(ends[0]) == rows(ends[1])
    # Nor does it matter how often a run is looked at.
    (group,) = experiment.groups()
    learner = len(jax.tree.leaves(_compile.choose_wave(group, experiment.options)[1][-1].state_shape))
    assert_same_arrays(final_arrays(ends[0])[:learner], final_arrays(trained(name, "single"))[:learner])


@pytest.mark.parametrize(("name", "after"), interrupts(), indirect=["name"], scope="module")
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    name: str, after: int, trained: Trained, few_at_a_time: None, tmp_path: Path
) -> None:
    """In two phases 10 is the boundary (0.8 of 12 updates, rounded), 11 within the second one, 12 the end."""
    experiment = tiny(name, first_seed=3)
    recorder = Recorder(lambda calls: signal.raise_signal(signal.SIGTERM) if calls == after else None)
    with pytest.raises(Interrupted, match="jaxmarl-suite resume"):
        run(experiment, run_dir=tmp_path / "run", listener=recorder)
    assert recorder.calls == after
    again = Recorder()
    run_dir = resume(tmp_path / "run", experiment=experiment, listener=again)
    assert any(line.startswith("continuing at update") for line in again.said)
    assert recorder.env_steps + again.env_steps == run_steps(experiment)
    whole = trained(name, "single")
    assert_same_arrays(final_arrays(run_dir), final_arrays(whole))
    assert rows(run_dir) == rows(whole)


def test_a_second_sweep_and_a_resume_compile_nothing(
    name: str, compilations: Any, few_at_a_time: None, tmp_path: Path
) -> None:
    def stopped_and_resumed(seed: int, rate: float) -> None:
        stop = Recorder(lambda calls: signal.raise_signal(signal.SIGINT) if calls == UPDATES - 1 else None)
        experiment = tiny(name, changes={"learning_rate": rate}, first_seed=seed)
        with pytest.raises(Interrupted):
            run(experiment, run_dir=tmp_path / str(seed), listener=stop)
        resume(tmp_path / str(seed))

    stopped_and_resumed(40, 1e-3)
    before = len(compilations.names)
    stopped_and_resumed(50, 2e-3)
    assert compilations.names[before:] == []


def test_a_chunk_is_one_program_that_reuses_its_buffers(name: str) -> None:
    (group,) = tiny(name, first_seed=3).groups()
    _, programs, _ = _compile.choose_wave(group, tiny(name).options)
    assert len(programs) == len(group.phases)
    for phase, stored in zip(programs, group.data, strict=True):
        memory = phase.memory
        state_bytes = memory["arguments"] - sum(x.nbytes for x in jax.tree.leaves(stored))  # data is only read
        assert memory["aliased"] > 0.5 * state_bytes, "learner and totals are donated"
        assert memory["total"] == memory["arguments"] + memory["outputs"] + memory["temporaries"]
        assert memory["outputs"] < 0.5 * state_bytes
