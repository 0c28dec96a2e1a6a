"""TensorBoard and Weights & Biases: the rows of the run, over environment steps, each once, however often it was killed."""

import json
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from runner_tools import UPDATES, Recorder, toy

from jaxmarl_suite.analysis import load_run
from jaxmarl_suite.runner import WandbOptions, resume, run

pytestmark = pytest.mark.usefixtures("toys", "few_at_a_time")


class Killed(Exception):
    """The process is gone: what is raised here is not caught, and saves nothing."""


def kill_at(calls: int) -> Recorder:
    def on_rows(seen: int) -> None:
        if seen == calls:
            raise Killed

    return Recorder(on_rows)


def expected(run_dir: Path, lane: int) -> dict[tuple[str, int], list[float]]:
    """What is to be seen of a lane: tag and step, and the values there."""
    rows = [row for row in load_run(run_dir).rows if row.lane == lane]
    return {
        (f"{row.kind}/{name}", row.env_steps): [pytest.approx(value, rel=1e-6)]
        for row in rows
        for name, value in row.metrics.items()
        if value == value
    }


def events(path: Path) -> list[Any]:
    """The events of a file: records of a length, its checksum, the bytes and their checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def seen_by_tensorboard(folder: Path) -> dict[tuple[str, int], list[float]]:
    """Values by tag and step of one of its runs: a start that is not the first hides what is at its step and later."""
    values: dict[tuple[str, int], list[float]] = {}
    has_started = False
    for path in sorted(folder.glob("events.*")):
        for event in events(path):
            if event.session_log.status == event.session_log.START:
                if has_started:
                    values = {at: found for at, found in values.items() if at[1] < event.step}
                has_started = True
            for one in event.summary.value:
                values.setdefault((one.tag, event.step), []).append(one.simple_value)
    return values


def seen_of_lane(run_dir: Path, lane: int) -> dict[tuple[str, int], list[float]]:
    folder = run_dir / "tensorboard" / f"lane-{lane:04d}"
    return seen_by_tensorboard(folder) | seen_by_tensorboard(folder / "absolute")


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run_dir = run(toy(seeds=2), run_dir=tmp_path / "run", sinks=("tensorboard",))
    assert sorted(path.name for path in (run_dir / "tensorboard").iterdir()) == ["lane-0000", "lane-0001"]
    for lane in range(2):
        assert seen_of_lane(run_dir, lane) == expected(run_dir, lane)
    assert json.loads((run_dir / "config.json").read_text())["sinks"] == ["tensorboard"]
    before = sorted((run_dir / "tensorboard").rglob("*"))
    resume(run_dir)  # a finished run stays as it is
    assert sorted((run_dir / "tensorboard").rglob("*")) == before


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e6], ids=["from a checkpoint", "from the start"])
def test_tensorboard_shows_every_step_once_after_kills(checkpoint_seconds: float, tmp_path: Path) -> None:
    """Three processes end without saving, the last one after the absolute rows; they begin within a second."""
    pytest.importorskip("tensorboardX")
    experiment = toy(seeds=2, grid={"best_at": [6.0]}, checkpoint_seconds=checkpoint_seconds)
    with pytest.raises(Killed):
        run(experiment, run_dir=tmp_path / "run", sinks=("tensorboard",), listener=kill_at(5))
    with pytest.raises(Killed):
        resume(tmp_path / "run", listener=kill_at(4))
    left = UPDATES - 7 if checkpoint_seconds == 0.0 else UPDATES  # of 4 and then 3 updates there is a checkpoint
    with pytest.raises(Killed):
        resume(tmp_path / "run", listener=kill_at(left + 1))
    run_dir = resume(tmp_path / "run")
    for lane in range(2):
        found = seen_of_lane(run_dir, lane)
        assert found == expected(run_dir, lane)
        assert [step for tag, step in found if tag == "train/learner/clock"] == [4 * (k + 1) for k in range(UPDATES)]
        assert [step for tag, step in found if tag == "absolute/return"] == [24], "the step of the best policy"


class FakeWandb(types.ModuleType):
    """Records what is called, with the arguments that the package has."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[FakeRun] = []

    def init(
        self,
        *,
        project: str,
        group: str | None,
        tags: list[str],
        dir: str,
        config: dict[str, Any],
        name: str,
        id: str,
        resume: str,
        reinit: str = "return_previous",
    ) -> "FakeRun":
        assert Path(dir).is_dir() and resume in ("allow", "never", "must", "auto")
        assert reinit == "create_new" or all(one.is_finished for one in self.runs), "one run at a time otherwise"
        self.runs.append(FakeRun(project, config, name, id, resume, group, tags))
        return self.runs[-1]


class FakeRun:
    """A run of it; a log call without a step of its own is the next step."""

    def __init__(self, *how: Any) -> None:
        self.project, self.config, self.name, self.id, self.resume, self.group, self.tags = how
        self.step_metrics: dict[str, str | None] = {}
        self.logged: list[dict[str, float]] = []
        self.is_finished = False

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        assert not self.logged, "it counts for what is logged later"
        self.step_metrics[name] = step_metric

    def log(self, data: dict[str, float]) -> None:
        self.logged.append(data)

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_draws_over_environment_steps_in_one_run(wandb: FakeWandb, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(toy(seeds=2), run_dir=tmp_path / "run", sinks=("wandb",), listener=kill_at(5))
    run_dir = resume(tmp_path / "run")
    first, second = wandb.runs
    assert first.id == second.id == json.loads((run_dir / "wandb.json").read_text())["id"]
    assert {one.resume for one in wandb.runs} == {"allow"}
    assert all(one.step_metrics == {"env_steps": None, "*": "env_steps"} for one in wandb.runs)
    assert first.is_finished and second.is_finished
    assert (second.project, second.name, second.config["algorithm"]) == ("jaxmarl-suite", "run", "toy")
    assert (second.group, second.tags) == (None, []) and "wandb" not in json.loads(
        (run_dir / "config.json").read_text()
    )
    for lane in range(2):
        seen: dict[tuple[str, int], list[float]] = {}
        for data in second.logged:
            for name, value in data.items():
                if name.startswith(f"lane-{lane:04d}/"):
                    seen.setdefault((name.partition("/")[2], data["env_steps"]), []).append(value)
        assert seen == expected(run_dir, lane)


def test_every_wandb_run_has_an_id_of_its_own(wandb: FakeWandb, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(toy(), run_dir=tmp_path / name, sinks=("wandb",))
    assert len({one.id for one in wandb.runs}) == 2
    resume(tmp_path / "one")  # finished: nothing to log
    assert len(wandb.runs) == 2


def test_project_group_tags_and_a_wandb_run_per_seed(wandb: FakeWandb, tmp_path: Path) -> None:
    options = WandbOptions(project="mine", tags=("a", "b"), run_per_seed=True)
    experiment = toy(seeds=2, grid={"best_at": [3.0, 6.0]})
    with pytest.raises(Killed):
        run(experiment, run_dir=tmp_path / "run", sinks=("wandb",), wandb=options, listener=kill_at(5))
    begun, one_id = [one.id for one in wandb.runs], json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    assert all(one.is_finished for one in wandb.runs)
    run_dir = resume(tmp_path / "run")
    again = wandb.runs[len(begun) :]
    assert [one.id for one in again] == [f"{one_id}-{lane:04d}" for lane in range(4)] and set(begun) <= {
        one.id for one in again
    }
    assert {(one.project, one.group, *one.tags) for one in wandb.runs} == {("mine", "run", "a", "b")}
    assert [one.name for one in again] == [f"run-lane-{lane:04d}" for lane in range(4)]
    settings = [(one.config["seed"], one.config["overrides"]["best_at"], one.config["algorithm"]) for one in again]
    assert settings == [(0, 3.0, "toy"), (1, 3.0, "toy"), (0, 6.0, "toy"), (1, 6.0, "toy")]
    for lane, one in enumerate(again):
        seen: dict[tuple[str, int], list[float]] = {}
        for data in one.logged:
            for name, value in data.items():
                if name != "env_steps":
                    seen.setdefault((name, data["env_steps"]), []).append(value)
        assert seen == expected(run_dir, lane)
    with pytest.raises(ValueError, match=r"wandb.project is 'mine' in the run, got 'yours'"):
        resume(run_dir, wandb=WandbOptions(project="yours", tags=("a", "b"), run_per_seed=True))


def test_wandb_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need the sink"):
        run(toy(), run_dir=tmp_path / "run", wandb=WandbOptions(project="mine"))
    wrong: list[dict[str, Any]] = [
        {"project": ""},
        {"group": 3},
        {"tags": "ab"},
        {"tags": [1]},
        {"run_per_seed": "yes"},
    ]
    for one in wrong:
        with pytest.raises(ValueError, match=f"wandb {next(iter(one))} must be"):
            WandbOptions(**one)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"id'])
def test_a_damaged_id_is_replaced(wandb: FakeWandb, tmp_path: Path, text: str) -> None:
    with pytest.raises(Killed):
        run(toy(), run_dir=tmp_path / "run", sinks=("wandb",), listener=kill_at(2))
    (tmp_path / "run" / "wandb.json").write_text(text)
    resume(tmp_path / "run")
    assert wandb.runs[-1].id == json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]


def test_a_refused_run_leaves_nothing_of_a_sink(wandb: FakeWandb, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GiB may be used"):
        run(toy(memory_gib=1e-9), run_dir=tmp_path / "run", sinks=("wandb", "tensorboard"))
    assert not wandb.runs and not (tmp_path / "run").exists()
