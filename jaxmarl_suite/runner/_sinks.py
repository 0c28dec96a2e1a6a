"""Sinks for rows behind one interface: JSONL always, TensorBoard and Weights & Biases on request."""

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxmarl_suite.runner._folder import RunFolder
from jaxmarl_suite.runner._options import WandbOptions

Row = Mapping[str, Any]
_FLUSH_SECONDS = 1
"""Interval after which TensorBoard's events are written; with the default, a killed process loses two minutes of them."""


class Sink(Protocol):
    """Receives the rows of a run as they are produced (see `analysis.load_run` for their fields)."""

    def write(self, rows: Sequence[Row]) -> None:
        """Receives some rows."""
        ...

    def close(self) -> None:
        """Closes the sink; no more rows will come."""
        ...


class JsonlSink:
    """Writes one JSON object per line, flushed after every call."""

    def __init__(self, path: Path) -> None:
        """Appends to `path`."""
        self._file = path.open("a", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        """Appends the rows; numbers that JSON cannot represent become null."""
        for row in rows:
            metrics = {k: v if v is not None and math.isfinite(v) else None for k, v in row["metrics"].items()}
            self._file.write(json.dumps({**row, "metrics": metrics}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardSink:
    """One TensorBoard run per lane, in `DIRECTORY/tensorboard`. Needs the extra `tensorboard`.

    From a lane's first row on, everything that an earlier process wrote is hidden, since a resumed run writes it
    again. Absolute rows have the step of their policy, which is earlier, so they have their own folder.
    """

    def __init__(self, directory: Path) -> None:
        """Imports tensorboardX; raises ValueError with the extra's name if it is missing."""
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
            # File names contain whole seconds, and a second file of the same name would replace the first.
            number = len(list(folder.glob("events.*"))) if folder.is_dir() else 0
            self._writers[folder] = self._summary_writer(
                str(folder), purge_step=purge_step, filename_suffix=f".{number:04d}", flush_secs=_FLUSH_SECONDS
            )
        return self._writers[folder]

    def write(self, rows: Sequence[Row]) -> None:
        """Adds every metric as a scalar over environment steps plus updates of phases that take none."""
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
    """Weights & Biases over environment steps: one run whose metrics are prefixed with their lane, or one per lane. Needs
    the extra `wandb`.

    An id is kept in `wandb.json`, so that a resumed run continues. Rows after the checkpoint are logged again, at the same
    environment steps.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], options: WandbOptions) -> None:
        """Imports wandb; raises ValueError with the extra's name if it is missing. Obeys WANDB_MODE=offline."""
        try:
            import wandb
        except ImportError as error:
            raise ValueError(f'the wandb sink needs wandb: pip install "jaxmarl-suite[wandb]" ({error})') from None
        self._directory, self._config, self._options = directory, dict(config), options
        self._wandb: Any = wandb
        self._runs: dict[int | None, Any] = {}  # by lane; None for all lanes

    def _start(self, lane: int | None) -> Any:
        """Starts a W&B run. Called for the first rows, so that a rejected run does not create one."""
        folder, options = RunFolder(self._directory), self._options
        try:
            run_id = str(folder.read("wandb.json")["id"])
        except (OSError, KeyError, ValueError):  # a new run, or one whose file is damaged
            run_id = secrets.token_hex(8)
            folder.write("wandb.json", {"id": run_id})
        name, group, config, more = self._directory.name, options.group, self._config, {}
        if lane is not None:
            run_id, name, group = f"{run_id}-{lane:04d}", f"{name}-lane-{lane:04d}", group or name
            config = config | next(one for one in folder.read("config.json")["lanes"] if one["lane"] == lane)
            more = {"reinit": "create_new"}  # beside those of the other lanes
        run = self._wandb.init(
            project=options.project, group=group, tags=list(options.tags), dir=str(self._directory), config=config,
            name=name, id=run_id, resume="allow", **more,
        )  # fmt: skip
        run.define_metric("env_steps")
        run.define_metric("*", step_metric="env_steps")  # otherwise the x-axis is the number of calls
        return run

    def write(self, rows: Sequence[Row]) -> None:
        """Logs rows of the same environment step in one call."""
        by_step: dict[tuple[int, int | None], dict[str, Any]] = {}
        for row in rows:
            lane, prefix = None, f"lane-{row['lane']:04d}/{row['kind']}"
            if self._options.run_per_seed:
                lane, prefix = row["lane"], row["kind"]
            entry = by_step.setdefault((_step(row), lane), {})
            entry |= {f"{prefix}/{k}": v for k, v in row["metrics"].items() if v is not None}
        for (step, lane), metrics in sorted(by_step.items()):
            if lane not in self._runs:
                self._runs[lane] = self._start(lane)
            self._runs[lane].log({**metrics, "env_steps": step})

    def close(self) -> None:
        """Closes the W&B runs."""
        for run in self._runs.values():
            run.finish()


def _step(row: Row) -> int:
    """The x-coordinate of a row: environment steps plus updates of phases that take none."""
    return int(row.get("step", row["env_steps"]))


def make_sinks(
    names: tuple[str, ...], directory: Path, config: Mapping[str, Any], wandb: WandbOptions | None = None
) -> list[Sink]:
    """The JSONL sink and the sinks called `names`.

    Raises:
      ValueError: an unknown name, or a sink's package is missing.
    """
    known: dict[str, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoardSink(directory),
        "wandb": lambda: WandbSink(directory, config, wandb or WandbOptions()),
    }
    for name in names:
        if name not in known:
            raise ValueError(f"unknown sink {name!r}; there are: {', '.join(known)} (JSONL is always written)")
    extra: list[Sink] = [known[name]() for name in names]
    return [JsonlSink(directory / "metrics.jsonl"), *extra]
