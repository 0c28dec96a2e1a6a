"""Where rows go: JSONL always, TensorBoard and Weights & Biases on request, behind one interface."""

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxmarl_suite.runner._folder import RunFolder

Row = Mapping[str, Any]
_FLUSH_SECONDS = 1
"""After which TensorBoard's events are on disk; by default two minutes of them are lost when a process is killed."""


class Sink(Protocol):
    """Takes the rows of a run as they come (see `analysis.load_run` for their fields)."""

    def write(self, rows: Sequence[Row]) -> None:
        """Takes some rows."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class JsonlSink:
    """One JSON object a line, flushed after every call."""

    def __init__(self, path: Path) -> None:
        """Appends to `path`."""
        self._file = path.open("a", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        """Appends the rows; numbers that JSON does not have become null."""
        for row in rows:
            metrics = {k: v if v is not None and math.isfinite(v) else None for k, v in row["metrics"].items()}
            self._file.write(json.dumps({**row, "metrics": metrics}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardSink:
    """One TensorBoard run per lane, below `DIRECTORY/tensorboard`. Needs the extra `tensorboard`.

    The steps of a lane begin where its first row is: what an earlier process wrote from there on is hidden, as a resumed run
    writes it again. Absolute rows are at the step of their policy, somewhere before, and so in a folder of their own.
    """

    def __init__(self, directory: Path) -> None:
        """Imports tensorboardX; raises ValueError naming the extra where it is missing."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ValueError(
                f'the tensorboard sink needs tensorboardX: pip install "jaxmarl-suite[tensorboard]" ({error})'
            ) from None
        self._summary_writer = SummaryWriter
        self._directory = directory / "tensorboard"
        self._writers: dict[Path, Any] = {}

    def _writer(self, row: Row) -> Any:
        folder = self._directory / f"lane-{row['lane']:04d}"
        purge_step = _step(row)
        if row["kind"] == "absolute":
            folder, purge_step = folder / "absolute", 0
        if folder not in self._writers:
            # Names of files hold whole seconds, and a second file of the same name would replace the first.
            number = len(list(folder.glob("events.*"))) if folder.is_dir() else 0
            self._writers[folder] = self._summary_writer(
                str(folder), purge_step=purge_step, filename_suffix=f".{number:04d}", flush_secs=_FLUSH_SECONDS
            )
        return self._writers[folder]

    def write(self, rows: Sequence[Row]) -> None:
        """Adds every metric as a scalar over environment steps, and updates of phases that take none."""
        for row in rows:
            writer = self._writer(row)
            for name, value in row["metrics"].items():
                if value is not None:
                    writer.add_scalar(f"{row['kind']}/{name}", value, _step(row))

    def close(self) -> None:
        """Flushes every lane."""
        for writer in self._writers.values():
            writer.close()


class WandbSink:
    """One Weights & Biases run over environment steps; metrics are prefixed with their lane. Needs the extra `wandb`.

    Its id is kept in `wandb.json`, so that a resumed run goes on where it was. What came after the checkpoint comes again,
    at the same environment steps.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        """Imports wandb; raises ValueError naming the extra where it is missing. Obeys WANDB_MODE=offline."""
        try:
            import wandb
        except ImportError as error:
            raise ValueError(f'the wandb sink needs wandb: pip install "jaxmarl-suite[wandb]" ({error})') from None
        self._directory, self._config = directory, dict(config)
        self._wandb: Any = wandb
        self._run: Any = None

    def _start(self) -> Any:
        """The W&B run. Begun with the first rows: where a run is refused, there is none."""
        folder = RunFolder(self._directory)
        try:
            run_id = str(folder.read("wandb.json")["id"])
        except (OSError, KeyError, ValueError):  # a new run, or one whose file is damaged
            run_id = secrets.token_hex(8)
            folder.write("wandb.json", {"id": run_id})
        run = self._wandb.init(
            project="jaxmarl-suite", dir=str(self._directory), config=self._config, name=self._directory.name,
            id=run_id, resume="allow",
        )  # fmt: skip
        run.define_metric("env_steps")
        run.define_metric("*", step_metric="env_steps")  # or the axis is the number of calls
        return run

    def write(self, rows: Sequence[Row]) -> None:
        """Logs rows of the same environment step together."""
        if rows and self._run is None:
            self._run = self._start()
        by_step: dict[int, dict[str, Any]] = {}
        for row in rows:
            prefix = f"lane-{row['lane']:04d}/{row['kind']}"
            entry = by_step.setdefault(_step(row), {})
            entry |= {f"{prefix}/{k}": v for k, v in row["metrics"].items() if v is not None}
        for step, metrics in sorted(by_step.items()):
            self._run.log({**metrics, "env_steps": step})

    def close(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._run.finish()


def _step(row: Row) -> int:
    """What a row is drawn over: environment steps, and updates of phases that take none."""
    return int(row.get("step", row["env_steps"]))


def make_sinks(names: tuple[str, ...], directory: Path, config: Mapping[str, Any]) -> list[Sink]:
    """The sinks called `names`, after the JSONL one.

    Raises:
      ValueError: for an unknown name, or where a sink's package is missing.
    """
    known: dict[str, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoardSink(directory),
        "wandb": lambda: WandbSink(directory, config),
    }
    for name in names:
        if name not in known:
            raise ValueError(f"unknown sink {name!r}; there are: {', '.join(known)} (JSONL is always written)")
    extra: list[Sink] = [known[name]() for name in names]
    return [JsonlSink(directory / "metrics.jsonl"), *extra]
