"""What the runner promises, on environments with windows among their parameters and costly resets."""

import signal
from pathlib import Path
from typing import Any

import pytest
from runner_tools import Recorder, assert_same_arrays, final_arrays, lane_rows, rows, tiny_config

from jaxmarl_suite.runner import Experiment, Interrupted, TrainOptions, resume, run

TASKS: dict[str, dict[str, Any]] = {
    "rag/cache-L1": {"sessions": 900, "windows": 3, "n_agents": 2, "capacity": 8, "rounds": 5},
    "rag/serve-L2": {"sessions": 900, "windows": 3, "n_agents": 2, "capacity": 16, "requests": 3},
}


def experiment(env: str, **options: Any) -> Experiment:
    chosen = TrainOptions(
        total_steps=12 * 32, evaluations=3, eval_episodes=4, absolute_episodes=4, log_rows=12, checkpoint_seconds=1e6,
        **options,
    )  # fmt: skip
    return Experiment("mappo", env, tiny_config("mappo"), TASKS[env], {}, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("env", TASKS)
def test_lanes_and_interruptions(env: str, tmp_path: Path) -> None:
    single = run(experiment(env, first_seed=1), run_dir=tmp_path / "single")
    sweep = run(experiment(env, seeds=2), run_dir=tmp_path / "sweep")
    assert_same_arrays([array[1:] for array in final_arrays(sweep)], final_arrays(single))
    assert lane_rows(sweep, 1) == lane_rows(single, 0) != lane_rows(sweep, 0)
    stop = Recorder(lambda calls: signal.raise_signal(signal.SIGTERM) if calls == 2 else None)
    with pytest.raises(Interrupted):
        run(experiment(env, first_seed=1), run_dir=tmp_path / "stopped", listener=stop)
    resumed = resume(tmp_path / "stopped")
    assert_same_arrays(final_arrays(resumed), final_arrays(single))
    assert rows(resumed) == rows(single)
